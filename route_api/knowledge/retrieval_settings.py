"""Our retrieval parameters -> Dify's `retrieval_model`. Pure functions.

We always send the whole retrieval model. Dify 1.8.1 replaces the stored model by an incomplete one and deletes it if a
PATCH has none (tests/contract/DIFFERENCES.md, 23 and 24); every version answers 500 to a search with an incomplete
model (tests/contract/README.md, 12).
"""

from typing import Any

from ..dify.records import EmbeddingModel
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
"""The names of our retrieval parameters, with the defaults of the API document."""

NO_RERANKING_MODEL = {"reranking_provider_name": "", "reranking_model_name": ""}


def retrieval_model(settings: Json, *, embedding: EmbeddingModel | None, stored: Json | None = None) -> Json:
    """Build a whole retrieval model for Dify.

    :param settings: the caller's parameters; those that are missing come from `stored`, then from :data:`DEFAULTS`
    :param embedding: the dataset's embedding model, which the weights of a hybrid search must name
    :param stored: the dataset's `retrieval_model_dict`
    :raises ValidationFailed: reranking is asked for and the dataset has no rerank model
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


def weights_object(vector_weight: float, embedding: EmbeddingModel | None) -> Json:
    """Build Dify's `weights` (as in tests/contract/dify-1.8.1/datasets/create-all-fields.json).

    :param vector_weight: the weight of the vector search in a hybrid search, 0 to 1; the rest is for keywords
    """
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
    """Choose how Dify merges the results: by the rerank model, or by weights that name the embedding model."""
    if values["reranking_enable"] and (stored.get("reranking_model") or {}).get("reranking_model_name"):
        return "reranking_model"
    named = weights["vector_setting"].get("embedding_model_name")
    return "weighted_score" if values["search_method"] == "hybrid_search" and named else None


def search_method_for(technique: str, search_method: str | None) -> str:
    """Choose the search method of a kb; an economy index can search by keywords only.

    :param technique: Dify's `indexing_technique`
    :param search_method: the caller's choice
    :raises ValidationFailed: the caller's choice is not possible with this indexing technique
    """
    if technique != "economy":
        return search_method or DEFAULTS["search_method"]
    if search_method not in (None, "keyword_search"):
        raise ValidationFailed(
            f"search_method {search_method} needs indexing_technique high_quality; an economy kb has keyword_search"
            " only."
        )
    return "keyword_search"
