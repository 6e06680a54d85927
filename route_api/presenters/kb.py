"""Dify's datasets -> the knowledge bases of our answers, `kb/…`."""

from typing import Any

from ..schemas.kb import DEFAULT_VECTOR_WEIGHT
from .formats import http_date

Json = dict[str, Any]

PARSER_CONFIG: Json = {
    "graphrag": {"community": True, "entity_types": [], "method": "", "resolution": True, "use_graphrag": True},
    "layout_recognize": "",
}
"""RAGFlow's parser settings of a kb. Dify has none of them, so the values are those of the API document's examples."""


def kb_row(dataset: Json, chunk_num: int = 0) -> Json:
    """Build a row of `kb/list`.

    Dify does not count the tokens of a dataset (tests/contract/FINDINGS.md, d). So `token_num` is its count of
    characters, as in the API document.

    :param chunk_num: the number of chunks, which Dify's dataset lacks too; 0 if it is not known, as in the API document
    """
    return {
        "avatar": "",
        "chunk_num": chunk_num,
        "description": dataset.get("description") or "",
        "doc_num": dataset.get("document_count") or 0,
        "embd_id": embedding_id(dataset),
        "id": dataset["id"],
        "language": "Chinese",
        "name": dataset["name"],
        "nickname": dataset.get("author_name") or "",
        "parser_id": "naive",
        "permission": dataset.get("permission") or "only_me",
        "token_num": dataset.get("word_count") or 0,
        "update_time": dataset.get("updated_at") or dataset.get("created_at") or 0,
    }


def kb_detail(dataset: Json, chunk_num: int = 0) -> Json:
    """Build the answer of `kb/detail`: the row, and the settings as `kb/update` takes them, for a form that shows them.

    A text is empty, and a number 0, if Dify has no value.

    :param chunk_num: that of :func:`kb_row`
    """
    retrieval_model = dataset.get("retrieval_model_dict") or {}
    return {
        **kb_row(dataset, chunk_num),
        "indexing_technique": dataset.get("indexing_technique") or "",
        "score_threshold_enabled": bool(retrieval_model.get("score_threshold_enabled")),
        "search_method": retrieval_model.get("search_method") or "",
        **retrieval_numbers(retrieval_model),
        "auth_list": [],
        "manager_list": dataset.get("partial_member_list") or [],
        "pagerank": 0,
        "parser_config": PARSER_CONFIG,
    }


def kb_updated(dataset: Json, chunk_num: int = 0) -> Json:
    """Build the answer of `kb/update`: the whole row, and the retrieval settings as Dify has stored them.

    :param chunk_num: that of :func:`kb_row`
    """
    retrieval_model = dataset.get("retrieval_model_dict") or {}
    created_at = dataset.get("created_at") or 0
    updated_at = dataset.get("updated_at") or created_at
    return {
        **kb_row(dataset, chunk_num),
        "create_date": http_date(created_at),
        "create_time": created_at,
        "created_by": dataset.get("created_by") or "",
        "pagerank": 0,
        "parser_config": {"auto_keywords": 0, "auto_questions": 0, **PARSER_CONFIG, "raptor": {"use_raptor": True}},
        "status": "1",
        "tenant_id": "",
        "update_date": http_date(updated_at),
        **retrieval_numbers(retrieval_model),
    }


def kb_created(dataset: Json) -> Json:
    """Build the answer of `kb/create`. RAGFlow's UI reads `kb_id`, the API document has `id`."""
    return {
        "description": dataset.get("description") or "",
        "id": dataset["id"],
        "kb_id": dataset["id"],
        "name": dataset["name"],
    }


def embedding_id(dataset: Json) -> str:
    """Write the embedding model as RAGFlow does, `model@provider`; empty while the dataset has none."""
    model, provider = dataset.get("embedding_model"), dataset.get("embedding_model_provider")
    return f"{model}@{provider}" if model and provider else model or ""


def retrieval_numbers(retrieval_model: Json) -> Json:
    """Read the numbers of a stored retrieval model, under the names of RAGFlow's UI."""
    return {
        "similarity_threshold": retrieval_model.get("score_threshold") or 0.0,
        "top_k": retrieval_model.get("top_k") or 0,
        "vector_similarity_weight": vector_weight(retrieval_model),
    }


def vector_weight(retrieval_model: Json) -> float:
    """Read the weight of the vector search, 0 to 1, from a stored retrieval model; the rest is for keywords."""
    vector_setting = (retrieval_model.get("weights") or {}).get("vector_setting") or {}
    weight = vector_setting.get("vector_weight")
    return DEFAULT_VECTOR_WEIGHT if weight is None else float(weight)
