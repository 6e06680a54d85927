"""Parameters of `kb/create` and `kb/update` -> the bodies that we send to Dify. Only the models may ask Dify."""

from typing import Any

from ..dify.records import EmbeddingModel, embedding_model
from ..errors import ValidationFailed
from ..languages import Sentence
from .retrieval_settings import DEFAULTS, retrieval_model, search_method_for
from .workspace_models import WorkspaceModels

Json = dict[str, Any]

DIFY_PERMISSIONS = {"me": "only_me", "team": "all_team_members"}
"""RAGFlow's names of permissions -> Dify's."""


def create_dataset_body(parameters: Json, models: WorkspaceModels) -> Json:
    """Build the body of Dify's `POST /v1/datasets`. It holds every setting, so a failed call leaves nothing behind.

    :param parameters: the validated parameters of `kb/create`
    :raises ValidationFailed: the search method or a model cannot be used
    :raises NotSupported: a model is needed that nobody has named and the workspace does not tell
    """
    technique = parameters.get("indexing_technique", "high_quality")
    method = search_method_for(technique, parameters.get("search_method"))
    embedding = None
    if technique == "high_quality":
        embedding = find_embedding_model(parameters.get("embedding_model"), models.configured)
        if embedding is None and method == "hybrid_search":
            embedding = _model_of_weights(parameters, models)
    settings = {key: parameters[key] for key in DEFAULTS if key in parameters}
    settings["search_method"] = method
    body = {
        "name": parameters["name"],
        "description": parameters["description"],
        "indexing_technique": technique,
        "permission": DIFY_PERMISSIONS.get(parameters["permission"], parameters["permission"]),
        "provider": "vendor",
        "retrieval_model": retrieval_model(settings, embedding=embedding, find_rerank_model=models.needed_rerank),
    }
    if embedding:
        body["embedding_model"], body["embedding_model_provider"] = embedding
    return body


def update_dataset_body(parameters: Json, dataset: Json, models: WorkspaceModels) -> Json:
    """Build the body of Dify's `PATCH /v1/datasets/{id}`: the given parameters and the whole retrieval model.

    :param parameters: the validated parameters of `kb/update`
    :param dataset: the dataset as Dify has it now
    :raises ValidationFailed: the search method or a model cannot be used
    :raises NotSupported: a model is needed that nobody has named and the workspace does not tell
    """
    technique: str = parameters.get("indexing_technique") or dataset.get("indexing_technique") or "high_quality"
    embedding = embedding_model(dataset)
    body: Json = {key: parameters[key] for key in ("name", "description") if key in parameters}
    if "permission" in parameters:
        body["permission"] = DIFY_PERMISSIONS.get(parameters["permission"], parameters["permission"])
    if technique == "high_quality" and ("embedding_model" in parameters or "indexing_technique" in parameters):
        embedding = find_embedding_model(parameters.get("embedding_model"), embedding or models.configured)
        # Without a model Dify fails with a 500 where it has to index the kb anew.
        embedding = embedding or models.needed_embedding("indexing_technique high_quality")
        body["embedding_model"], body["embedding_model_provider"] = embedding
    if "indexing_technique" in parameters:
        body["indexing_technique"] = technique
    settings = {key: parameters[key] for key in DEFAULTS if key in parameters}
    stored = dict(dataset.get("retrieval_model_dict") or {})
    if "search_method" in parameters or technique != dataset.get("indexing_technique"):
        settings["search_method"] = search_method_for(technique, parameters.get("search_method"))
    method = settings.get("search_method") or stored.get("search_method")
    if embedding is None and technique == "high_quality" and method == "hybrid_search":
        embedding = models.configured or _model_of_weights(parameters, models)
    body["retrieval_model"] = retrieval_model(
        settings, embedding=embedding, stored=stored, find_rerank_model=models.needed_rerank
    )
    return body


def _model_of_weights(parameters: Json, models: WorkspaceModels) -> EmbeddingModel | None:
    """The model that the weights of a hybrid search must name: Dify ignores weights that name none.

    :returns: None if it cannot be known and the caller chose no weights
    """
    return models.needed_embedding("weights") if "weights" in parameters else models.embedding()


def find_embedding_model(name: str | None, known: EmbeddingModel | None) -> EmbeddingModel | None:
    """Find the embedding model that the parameter `embedding_model` names.

    :param name: `model@provider`, or the model's name alone, or None
    :param known: the model that is used if `name` is None, and whose provider is used if `name` has none
    :raises ValidationFailed: `name` has no provider and is not the name of `known`
    """
    if name is None:
        return known
    model, at, provider = name.partition("@")
    if at and model and provider:
        return model, provider
    if known and known[0] == name:
        return known
    raise ValidationFailed(
        Sentence(
            "embedding_model '{name}' must name its provider too, as in bge-m3:latest@langgenius/ollama/ollama.",
            name=name,
        )
    )
