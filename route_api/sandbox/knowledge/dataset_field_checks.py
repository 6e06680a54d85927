"""Checks and defaults of dataset fields that several routes share. The error texts are Dify's."""

import json
from collections.abc import Mapping
from sqlite3 import Row
from typing import Any

from ..errors import SandboxError
from ..model.available_models import PROVIDER, default_model, find_model, is_our_provider
from ..request_fields import RequestFields

SEARCH_METHODS = ("semantic_search", "full_text_search", "hybrid_search", "keyword_search")


def limited_text(body: RequestFields, field: str, lowest: int, highest: int) -> str:
    """Return the value of a required string of `lowest` to `highest` characters.

    :raises SandboxError: 400, if its length is outside (datasets/create-name-41-chars, create-name-empty)
    """
    text = body.text(field)
    if len(text) < lowest:
        plural = "" if lowest == 1 else "s"
        body.refuse(field, f"String should have at least {lowest} character{plural}", "string_too_short", text)
    if len(text) > highest:
        body.refuse(field, f"String should have at most {highest} characters", "string_too_long", text)
    return text


def check_retrieval_model(model: str, value: object) -> dict[str, Any]:
    """Check a retrieval_model and return it with all fields. A missing optional field is null.

    :param model: the name of Dify's pydantic model; the error text contains it
    :raises SandboxError: 400 (datasets/create-partial-retrieval-model, create-bad-search-method)
    """
    prefix = "retrieval_model."
    given = value if isinstance(value, Mapping) else {}
    fields = RequestFields(model, {f"{prefix}{name}": item for name, item in given.items()})
    weights = given.get("weights")
    if weights is not None and not isinstance(weights, Mapping):
        text = "Input should be a valid dictionary or instance of WeightModel"
        fields.refuse(f"{prefix}weights", text, "model_type", weights)
    return {
        "search_method": fields.choice(f"{prefix}search_method", SEARCH_METHODS, "enum"),
        "reranking_enable": bool(fields.required(f"{prefix}reranking_enable")),
        "reranking_mode": given.get("reranking_mode"),
        "reranking_model": given.get("reranking_model") or NO_RERANKING_MODEL,
        "weights": weights,
        "top_k": fields.number(f"{prefix}top_k", 2, 1, 2**31 - 1),
        "score_threshold_enabled": bool(fields.required(f"{prefix}score_threshold_enabled")),
        "score_threshold": given.get("score_threshold"),
    }


NO_RERANKING_MODEL = {"reranking_provider_name": "", "reranking_model_name": ""}


def default_retrieval_model(indexing_technique: str | None, top_k: int = 2) -> dict[str, Any]:
    """Return the retrieval_model of a dataset that stores none (datasets/get-fresh-name-only, get-qa-model)."""
    return {
        "search_method": "semantic_search" if indexing_technique == "high_quality" else "keyword_search",
        "reranking_enable": False,
        "reranking_mode": None,
        "reranking_model": NO_RERANKING_MODEL,
        "weights": None,
        "top_k": top_k,
        "score_threshold_enabled": False,
        "score_threshold": None,
    }


def stored_retrieval_model(dataset: Row) -> dict[str, Any]:
    """Return how a dataset is searched unless a request says otherwise."""
    stored = dataset["retrieval_model"]
    return json.loads(stored) if stored else default_retrieval_model(dataset["indexing_technique"])


def require_model(model_type: str, provider: object, name: object) -> None:
    """Check that the workspace has this model.

    :raises SandboxError: 400, if not (datasets/create-unknown-embedding-model, create-unknown-embedding-provider)
    """
    if not is_our_provider(provider):
        raise SandboxError(400, "invalid_param", f"Provider {provider} does not exist.")
    if find_model(name, model_type) is None:
        raise SandboxError(400, "invalid_param", f"Model {name} credentials is not initialized.")


def named_embedding_model(fields: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the embedding columns that a request names, or {} if it names none.

    :raises SandboxError: 400, if the workspace does not have this model
    """
    model, provider = fields.get("embedding_model"), fields.get("embedding_model_provider")
    if not model or not provider:
        return {}
    require_model("text-embedding", provider, model)
    return {"embedding_model": model, "embedding_model_provider": provider}


def embedding_columns(technique: str | None, named: dict[str, str | None]) -> dict[str, str | None]:
    """Return the embedding columns for an indexing technique.

    :param named: the columns that the request named; if it is {}, the default model is used
    """
    if technique != "high_quality":
        return {"embedding_model": None, "embedding_model_provider": None}
    default = default_model("text-embedding")
    return named or {
        "embedding_model": default.name if default else None,
        "embedding_model_provider": PROVIDER if default else None,
    }
