"""Our retrieval parameters <-> Dify's `retrieval_model`. Pure functions.

Dify wants the whole model or none: 1.8.1 wipes what a PATCH leaves out, and either version answers 500 to a retrieve
with an incomplete one (DIFFERENCES 23, 24; contract README, 11 and 12).
"""

from typing import Any

from ..errors import ValidationFailed
from ..schemas.kb import DEFAULT_SCORE_THRESHOLD, DEFAULT_TOP_K, DEFAULT_VECTOR_WEIGHT

Json = dict[str, Any]

DEFAULTS: Json = {
    "search_method": "semantic_search",
    "reranking_enable": False,
    "score_threshold_enabled": False,
    "score_threshold": DEFAULT_SCORE_THRESHOLD,
    "top_k": DEFAULT_TOP_K,
    "weights": DEFAULT_VECTOR_WEIGHT,
}
"""The API document's defaults, by our names."""

NO_RERANKING_MODEL = {"reranking_provider_name": "", "reranking_model_name": ""}


def retrieval_model(settings: Json, *, embedding: tuple[str, str] | None, stored: Json | None = None) -> Json:
    """A whole retrieval model for Dify.

    :param settings: what the caller gave, by our names; the rest comes from `stored`, then from :data:`DEFAULTS`
    :param embedding: model and provider of the dataset, which the weights of a hybrid search must name
    :param stored: the dataset's `retrieval_model_dict`
    :raises ValidationFailed: reranking is asked for where nothing could rerank
    """
    stored = {key: value for key, value in (stored or {}).items() if value is not None}
    values = {**DEFAULTS, **{key: stored[key] for key in DEFAULTS if key in stored}, **settings}
    weights = values["weights"]
    if isinstance(weights, (int, float)):
        weights = weights_object(float(weights), embedding)
    mode = _reranking_mode(values, weights, stored)
    if values["reranking_enable"] and mode is None:
        raise ValidationFailed("reranking_enable needs a rerank model; choose one for this kb in Dify first.")
    return {
        "search_method": values["search_method"],
        "reranking_enable": values["reranking_enable"],
        "reranking_mode": mode,
        "reranking_model": stored.get("reranking_model") or NO_RERANKING_MODEL,
        "weights": weights,
        "top_k": values["top_k"],
        "score_threshold_enabled": values["score_threshold_enabled"],
        "score_threshold": values["score_threshold"],
    }


def weights_object(vector_weight: float, embedding: tuple[str, str] | None) -> Json:
    """Dify's form of one number, the share of meaning against words (datasets/create-all-fields)."""
    model, provider = embedding or ("", "")
    return {
        "weight_type": "customized",
        "vector_setting": {
            "vector_weight": vector_weight,
            "embedding_provider_name": provider,
            "embedding_model_name": model,
        },
        "keyword_setting": {"keyword_weight": round(1 - vector_weight, 6)},
    }


def _reranking_mode(values: Json, weights: Json, stored: Json) -> str | None:
    """Hybrid search without a rerank model merges its two lists by weights, which name the embedding model."""
    if values["reranking_enable"] and (stored.get("reranking_model") or {}).get("reranking_model_name"):
        return "reranking_model"
    named = weights["vector_setting"].get("embedding_model_name")
    return "weighted_score" if values["search_method"] == "hybrid_search" and named else None


def method_for(technique: str, search_method: str | None) -> str:
    """The search method of a kb with this indexing technique: an economy index knows keywords only.

    :raises ValidationFailed: the two do not go together
    """
    if technique != "economy":
        return search_method or DEFAULTS["search_method"]
    if search_method not in (None, "keyword_search"):
        raise ValidationFailed(
            f"search_method {search_method} needs indexing_technique high_quality; an economy kb has keyword_search"
            " only."
        )
    return "keyword_search"
