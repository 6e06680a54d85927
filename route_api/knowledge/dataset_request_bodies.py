"""Parameters of `kb/create` and `kb/update` -> the bodies that we send to Dify. Pure functions for `views/kb.py`."""

from typing import Any

from ..dify.records import EmbeddingModel, embedding_model
from ..errors import ValidationFailed
from .retrieval_settings import DEFAULTS, retrieval_model, search_method_for

Json = dict[str, Any]

DIFY_PERMISSIONS = {"me": "only_me", "team": "all_team_members"}
"""RAGFlow's names of permissions -> Dify's."""


def create_dataset_body(parameters: Json, configured: EmbeddingModel | None) -> Json:
    """Build the body of Dify's `POST /v1/datasets`. It holds every setting, so a failed call leaves nothing behind.

    :param parameters: the validated parameters of `kb/create`
    :param configured: the embedding model of our settings; None leaves the choice to Dify's default model
    :raises ValidationFailed: the search method or the embedding model cannot be used
    """
    technique = parameters.get("indexing_technique", "high_quality")
    embedding = None
    if technique == "high_quality":
        embedding = find_embedding_model(parameters.get("embedding_model"), configured)
    settings = {key: parameters[key] for key in DEFAULTS if key in parameters}
    settings["search_method"] = search_method_for(technique, parameters.get("search_method"))
    body = {
        "name": parameters["name"],
        "description": parameters["description"],
        "indexing_technique": technique,
        "permission": DIFY_PERMISSIONS.get(parameters["permission"], parameters["permission"]),
        "provider": "vendor",
        "retrieval_model": retrieval_model(settings, embedding=embedding),
    }
    if embedding:
        body["embedding_model"], body["embedding_model_provider"] = embedding
    return body


def update_dataset_body(parameters: Json, dataset: Json, configured: EmbeddingModel | None) -> Json:
    """Build the body of Dify's `PATCH /v1/datasets/{id}`: the given parameters and the whole retrieval model.

    :param parameters: the validated parameters of `kb/update`
    :param dataset: the dataset as Dify has it now
    :param configured: the embedding model of our settings, used if the dataset has none
    :raises ValidationFailed: the search method or the embedding model cannot be used
    """
    technique: str = parameters.get("indexing_technique") or dataset.get("indexing_technique") or "high_quality"
    embedding = embedding_model(dataset)
    body: Json = {key: parameters[key] for key in ("name", "description") if key in parameters}
    if "permission" in parameters:
        body["permission"] = DIFY_PERMISSIONS.get(parameters["permission"], parameters["permission"])
    if technique == "high_quality" and ("embedding_model" in parameters or "indexing_technique" in parameters):
        embedding = find_embedding_model(parameters.get("embedding_model"), embedding or configured)
        if embedding:
            body["embedding_model"], body["embedding_model_provider"] = embedding
    if "indexing_technique" in parameters:
        body["indexing_technique"] = technique
    settings = {key: parameters[key] for key in DEFAULTS if key in parameters}
    stored = dict(dataset.get("retrieval_model_dict") or {})
    if "search_method" in parameters or technique != dataset.get("indexing_technique"):
        settings["search_method"] = search_method_for(technique, parameters.get("search_method"))
    body["retrieval_model"] = retrieval_model(settings, embedding=embedding, stored=stored)
    return body


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
        f"embedding_model '{name}' must name its provider too, as in bge-m3:latest@langgenius/ollama/ollama."
    )
