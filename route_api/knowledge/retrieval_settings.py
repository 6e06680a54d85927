"""Our retrieval parameters -> Dify's `retrieval_model`. Pure functions.

We always send the whole retrieval model. Dify 1.8.1 replaces the stored model by an incomplete one and deletes it if a
PATCH has none (tests/contract/DIFFERENCES.md, 23 and 24); every version answers 500 to a search with an incomplete
model (tests/contract/README.md, 12).
"""

from collections.abc import Callable
from typing import Any

from ..dify.records import EmbeddingModel, RerankModel
from ..errors import ValidationFailed
from ..languages import Sentence
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


def retrieval_model(
    settings: Json,
    *,
    embedding: EmbeddingModel | None,
    stored: Json | None = None,
    find_rerank_model: Callable[[], RerankModel] | None = None,
) -> Json:
    """Build a whole retrieval model for Dify.

    :param settings: the caller's parameters; those that are missing come from `stored`, then from :data:`DEFAULTS`
    :param embedding: the dataset's embedding model, which the weights of a hybrid search must name
    :param stored: the dataset's `retrieval_model_dict`
    :param find_rerank_model: called if the caller switches reranking on and the dataset has no rerank model
    """
    stored = {key: value for key, value in (stored or {}).items() if value is not None}
    values = {**DEFAULTS, **{key: stored[key] for key in DEFAULTS if key in stored}, **settings}
    weights = values["weights"]
    if not isinstance(weights, (int, float)) and embedding and not _names_model(weights):
        weights = weights["vector_setting"].get("vector_weight", DEFAULT_VECTOR_WEIGHT)  # Dify ignores these weights.
    if isinstance(weights, (int, float)):
        weights = weights_object(float(weights), embedding)
    rerank_model = stored.get("reranking_model") or NO_RERANKING_MODEL
    if settings.get("reranking_enable") and not rerank_model.get("reranking_model_name") and find_rerank_model:
        name, provider = find_rerank_model()
        rerank_model = {"reranking_provider_name": provider, "reranking_model_name": name}
    return {
        "search_method": values["search_method"],
        "reranking_enable": values["reranking_enable"],
        "reranking_mode": _reranking_mode(settings, values, weights, stored, rerank_model),
        "reranking_model": rerank_model,
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


def _reranking_mode(settings: Json, values: Json, weights: Json, stored: Json, rerank_model: Json) -> str | None:
    """Choose how Dify merges the results: by the rerank model, or by weights that name the embedding model.

    A kb that was set up on Dify's page may have reranking on and merge by weights all the same (recorded in
    tests/contract/ as retrieve/hybrid-weighted-reranking-enable-true). It keeps that until the caller switches
    reranking.
    """
    keeps_weights = stored.get("reranking_mode") == "weighted_score" and "reranking_enable" not in settings
    if values["reranking_enable"] and rerank_model.get("reranking_model_name") and not keeps_weights:
        return "reranking_model"
    return "weighted_score" if values["search_method"] == "hybrid_search" and _names_model(weights) else None


def _names_model(weights: Json) -> bool:
    return bool(weights["vector_setting"].get("embedding_model_name"))


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
            Sentence(
                "search_method {search_method} needs indexing_technique high_quality; an economy kb has"
                " keyword_search only.",
                search_method=search_method,
            )
        )
    return "keyword_search"
