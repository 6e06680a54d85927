"""What creating and changing a knowledge base takes in Dify's words. Pure functions, used by `views/kb.py`."""

from typing import Any

from ..dify.records import embedding_model
from ..errors import ValidationFailed
from .retrieval_settings import DEFAULTS, method_for, retrieval_model

Json = dict[str, Any]
Embedding = tuple[str, str] | None
"""Model and provider; None leaves the choice to Dify's default model."""

DIFY_PERMISSIONS = {"me": "only_me", "team": "all_team_members"}
"""RAGFlow's words for a permission -> Dify's."""


def dataset_to_create(wanted: Json, configured: Embedding) -> Json:
    """The body of Dify's dataset creation, which is one call: a failure leaves nothing behind.

    :param wanted: the checked parameters of `kb/create`
    :param configured: the embedding model of the settings
    """
    technique = wanted.get("indexing_technique", "high_quality")
    embedding = chosen_embedding(wanted.get("embedding_model"), configured) if technique == "high_quality" else None
    settings = {key: wanted[key] for key in DEFAULTS if key in wanted}
    settings["search_method"] = method_for(technique, wanted.get("search_method"))
    body = {
        "name": wanted["name"],
        "description": wanted["description"],
        "indexing_technique": technique,
        "permission": DIFY_PERMISSIONS.get(wanted["permission"], wanted["permission"]),
        "provider": "vendor",
        "retrieval_model": retrieval_model(settings, embedding=embedding),
    }
    if embedding:
        body["embedding_model"], body["embedding_model_provider"] = embedding
    return body


def dataset_changes(wanted: Json, dataset: Json, configured: Embedding) -> Json:
    """The body of Dify's dataset PATCH: what the caller names, and the whole retrieval model, merged.

    :param wanted: the checked parameters of `kb/update`
    :param dataset: the dataset as Dify has it now
    """
    technique: str = wanted.get("indexing_technique") or dataset.get("indexing_technique") or "high_quality"
    embedding = embedding_model(dataset)
    changes: Json = {key: wanted[key] for key in ("name", "description") if key in wanted}
    if "permission" in wanted:
        changes["permission"] = DIFY_PERMISSIONS.get(wanted["permission"], wanted["permission"])
    if technique == "high_quality" and ("embedding_model" in wanted or "indexing_technique" in wanted):
        embedding = chosen_embedding(wanted.get("embedding_model"), embedding or configured)
        if embedding:
            changes["embedding_model"], changes["embedding_model_provider"] = embedding
    if "indexing_technique" in wanted:
        changes["indexing_technique"] = technique
    settings = {key: wanted[key] for key in DEFAULTS if key in wanted}
    stored = dict(dataset.get("retrieval_model_dict") or {})
    if "search_method" in wanted or technique != dataset.get("indexing_technique"):
        settings["search_method"] = method_for(technique, wanted.get("search_method"))
    changes["retrieval_model"] = retrieval_model(settings, embedding=embedding, stored=stored)
    return changes


def chosen_embedding(name: str | None, known: Embedding) -> Embedding:
    """The model that `embedding_model` means: `model@provider`, or the bare name of the one that we know anyway.

    :raises ValidationFailed: a bare name whose provider nobody told us
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
