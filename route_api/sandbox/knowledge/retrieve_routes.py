"""The route `/v1/datasets/{id}/retrieve`, and its other path `hit-testing`.

As in Dify, `keyword_search` finds nothing in a high_quality dataset, and the other methods are refused where no
document was ever indexed for them.
"""

import uuid
from collections.abc import Mapping
from sqlite3 import Connection, Row
from typing import Any

from flask import Blueprint, request

from ..access.account_table import account_id_and_name
from ..access.api_key_check import require_dataset_key
from ..errors import SandboxError
from ..request_fields import RequestFields
from ..store import Store, current_store
from ..text.search_tokens import coverage
from ..version import is_1_16
from .dataset_field_checks import SEARCH_METHODS, limited_text, require_model, stored_retrieval_model
from .dataset_table import open_dataset
from .metadata_filter import parse_filter
from .metadata_table import document_values
from .search_methods import Passage, Search, find_passages, weights_of
from .segment_payloads import retrieved_payload
from .segment_table import child_chunks

MAX_QUERY = 250

blueprint = Blueprint("retrieve", __name__)


@blueprint.post("/v1/datasets/<uuid:dataset_id>/retrieve")
@blueprint.post("/v1/datasets/<uuid:dataset_id>/hit-testing", endpoint="hit_testing")
@require_dataset_key
def retrieve(dataset_id: uuid.UUID) -> dict[str, Any]:
    """Find the passages of a dataset that fit a question best."""
    dataset = open_dataset(dataset_id)
    body = RequestFields("HitTestingPayload", request.get_json())
    query = limited_text(body, "query", 0, MAX_QUERY)
    if not query:
        raise SandboxError(400, "invalid_param", "Query or attachment_ids is required")
    model = body.fields.get("retrieval_model") or stored_retrieval_model(dataset)
    store = current_store()
    passages = find_records(store, dataset, query, model)
    records = [_record(store, dataset, query, passage) for passage in passages]
    return {"query": {"content": query}, "records": [record for record in records if record is not None]}


def find_records(store: Store, dataset: Row, query: str, model: Mapping[str, Any]) -> list[Passage]:
    """Find passages as the retrieval_model `model` demands.

    :raises SandboxError: 400 for a wrong field, 500 for a missing field, as in Dify
    """
    method, top_k = model.get("search_method"), model.get("top_k", 4)
    if is_1_16() and isinstance(top_k, str) and top_k.isdecimal():
        top_k = int(top_k)
    if not isinstance(top_k, int) or top_k < 1:
        raise SandboxError(400, "invalid_param", "top_k must be a positive integer")
    threshold = _threshold(model)
    _check_reranking(model)
    if method not in SEARCH_METHODS and is_1_16():
        names = ", ".join(map(repr, SEARCH_METHODS))
        payload = RequestFields("HitTestingPayload", {})
        payload.refuse("retrieval_model.search_method", f"Input should be one of {names}", "enum", method)
    if method not in SEARCH_METHODS:
        raise SandboxError(400, "invalid_param", f"'{method}' is not a valid RetrievalMethod")
    document_ids = _passing_documents(store, dataset, model.get("metadata_filtering_conditions"))
    if document_ids is not None and not document_ids:
        return []
    is_high_quality = dataset["indexing_technique"] == "high_quality"
    if method == "keyword_search" and is_high_quality:
        return []
    if method != "keyword_search" and not (is_high_quality and dataset["ever_indexed"]):
        relation = f"embedding_vector_index_{dataset['id'].replace('-', '_')}_nod"
        raise SandboxError(400, "invalid_param", f'relation "{relation}" does not exist\n')
    search = Search(str(method), top_k, document_ids, *weights_of(model))
    return [passage for passage in find_passages(store, dataset["id"], query, search) if passage.score >= threshold]


def _threshold(model: Mapping[str, Any]) -> float:
    """Return the least score. It may be a string; null means zero (retrieve/threshold-string, threshold-null-on)."""
    for name in ("reranking_enable", "score_threshold_enabled"):
        if name not in model and is_1_16():
            RequestFields("HitTestingPayload", {}).refuse(f"retrieval_model.{name}", "Field required", "missing", model)
        if name not in model:
            raise SandboxError(500, "internal_server_error", f"'{name}'")
    if not model["score_threshold_enabled"]:
        return 0.0
    try:
        return float(model.get("score_threshold") or 0.0)
    except (TypeError, ValueError) as error:
        raise SandboxError(400, "invalid_param", str(error)) from error


def _check_reranking(model: Mapping[str, Any]) -> None:
    """Refuse a rerank model: the sandbox has none (retrieve/semantic-reranking-model-unknown)."""
    if model["reranking_enable"] and model.get("reranking_mode") == "reranking_model":
        named = model.get("reranking_model") or {}
        if named.get("reranking_model_name"):
            require_model("rerank", named.get("reranking_provider_name"), named["reranking_model_name"])


def _passing_documents(store: Store, dataset: Row, conditions: Mapping[str, Any] | None) -> list[str] | None:
    """Return the ids of the documents that fulfil a metadata filter, or None if there is no filter."""
    passes = parse_filter(conditions) if conditions else None
    if passes is None:
        return None
    rows = store.connection().execute("SELECT * FROM document WHERE dataset_id = ?", (dataset["id"],))
    uploader = account_id_and_name(store)[1]
    return [row["id"] for row in rows if passes(document_values(dataset, row, uploader) or {})]


def _record(store: Store, dataset: Row, query: str, passage: Passage) -> dict[str, Any] | None:
    """A passage as Dify shows it, or None if its document was deleted since the search."""
    connection = store.connection()
    segment = passage.segment
    document = connection.execute("SELECT * FROM document WHERE id = ?", (segment["document_id"],)).fetchone()
    if document is None:
        return None
    return {
        "segment": {
            **retrieved_payload(segment),
            **({"sign_content": None} if is_1_16() else {}),
            "document": {
                "id": document["id"],
                "data_source_type": "upload_file",
                "name": document["name"],
                "doc_type": None,
                "doc_metadata": document_values(dataset, document, account_id_and_name(store)[1]),
            },
        },
        "child_chunks": _matching_children(connection, segment["id"], query),
        "score": passage.score,
        "tsne_position": None,
        "files": [] if is_1_16() else None,
        "summary": None,
    }


def _matching_children(connection: Connection, segment_id: str, query: str) -> list[dict[str, Any]] | None:
    """Return the child chunks that share tokens with the question, best first, or None if the segment has no
    children."""
    children = child_chunks(connection, segment_id)
    if not children:
        return [] if is_1_16() else None
    scored = [(coverage(child["content"], query), child) for child in children]
    scored.sort(key=lambda pair: -pair[0])
    return [
        {"id": child["id"], "content": child["content"], "position": child["position"], "score": score}
        for score, child in scored
        if score > 0
    ]
