"""The routes `/v1/datasets/{id}/documents/{id}/segments`: list, create, show, change and delete segments."""

import json
import uuid
from collections.abc import Mapping
from sqlite3 import Row
from typing import Any

from flask import Blueprint, Response, jsonify, request

from ..access.api_key_check import require_dataset_key
from ..errors import SandboxError
from ..page_parameters import contains_pattern, requested_page_or_default
from ..request_fields import RequestFields
from ..store import current_store
from ..text.splitting import Chunk
from ..version import deleted, is_1_16
from .dataset_table import open_dataset
from .document_table import find_document
from .segment_payloads import segment_payload
from .segment_table import add_segments, change_segment, delete_segments, find_segment, switch_segments

SEGMENTS = "/v1/datasets/<uuid:dataset_id>/documents/<uuid:document_id>/segments"
FIELD = "segment.enabled"
SEGMENT_STATUSES = {"waiting", "indexing", "completed", "error", "paused", "re_segment"}

blueprint = Blueprint("segments", __name__)


def _document(dataset_id: uuid.UUID, document_id: uuid.UUID) -> Row:
    return find_document(current_store(), open_dataset(dataset_id)["id"], document_id)


@blueprint.get(SEGMENTS)
@require_dataset_key
def list_segments(dataset_id: uuid.UUID, document_id: uuid.UUID) -> dict[str, Any]:
    """List a document's segments in their order."""
    document = _document(dataset_id, document_id)
    page = requested_page_or_default()
    where, values = "document_id = ? AND content LIKE ? ESCAPE '\\'", [document["id"]]
    values.append(contains_pattern(request.args.get("keyword", "")))
    if statuses := request.args.getlist("status"):
        if is_1_16() and not set(statuses) <= SEGMENT_STATUSES:
            raise SandboxError(500, "unknown", "Internal Server Error")  # segments/list-status-unknown
        where += " AND status IN (SELECT value FROM json_each(?))"
        values.append(json.dumps(statuses))
    connection = current_store().connection()
    total = connection.execute(f"SELECT count(*) FROM segment WHERE {where}", values).fetchone()[0]
    rows = connection.execute(
        f"SELECT * FROM segment WHERE {where} ORDER BY position, seq LIMIT ? OFFSET ?",
        (*values, page.rows, page.offset),
    ).fetchall()
    answer = page.answer([segment_payload(connection, row) for row in rows], total)
    return {**answer, "doc_form": document["doc_form"]}


@blueprint.post(SEGMENTS)
@require_dataset_key
def create_segments(dataset_id: uuid.UUID, document_id: uuid.UUID) -> Any:
    """Append segments to a document."""
    document = _document(dataset_id, document_id)
    if document["indexing_status"] != "completed":
        raise SandboxError(404, "not_found", "Document is not completed.")
    if not document["enabled"]:
        raise SandboxError(404, "not_found", "Document is disabled.")
    items = request.get_json().get("segments")
    if not items:
        return jsonify({"error": "Segments is required"}), 400
    chunks = [checked_chunk(document, item) for item in items]
    store = current_store()
    rows = add_segments(store, document, chunks)
    data = [segment_payload(store.connection(), row) for row in rows]
    return {"data": data, "doc_form": document["doc_form"]}


def checked_chunk(document: Row, item: Mapping[str, Any]) -> Chunk:
    """Check a sent segment.

    :raises SandboxError: 400, if it has no content, or no answer in a qa_model document
    """
    content, answer = str(item.get("content") or "").strip(), item.get("answer")
    if document["doc_form"] == "qa_model" and not answer:
        raise SandboxError(400, "invalid_param", "Answer is required")
    if not content:
        raise SandboxError(400, "invalid_param", "Content is empty")
    return Chunk(content, answer, keywords=tuple(item.get("keywords") or ()))


@blueprint.get(f"{SEGMENTS}/<uuid:segment_id>")
@require_dataset_key
def get_segment(dataset_id: uuid.UUID, document_id: uuid.UUID, segment_id: uuid.UUID) -> dict[str, Any]:
    """Show one segment."""
    document = _document(dataset_id, document_id)
    return _answer(document, segment_id)


def _answer(document: Row, segment_id: uuid.UUID) -> dict[str, Any]:
    store = current_store()
    segment = find_segment(store, document["id"], segment_id)
    return {"data": segment_payload(store.connection(), segment), "doc_form": document["doc_form"]}


@blueprint.post(f"{SEGMENTS}/<uuid:segment_id>")
@require_dataset_key
def update_segment(dataset_id: uuid.UUID, document_id: uuid.UUID, segment_id: uuid.UUID) -> dict[str, Any]:
    """Change a segment's text, or enable or disable it. An empty content is ignored (segments/update-empty-content)."""
    document = _document(dataset_id, document_id)
    store = current_store()
    segment = find_segment(store, document["id"], segment_id)
    fields = RequestFields("SegmentUpdatePayload", request.get_json()).mapping("segment")
    # A wrong type: segments/update-bad-type
    enabled = RequestFields("SegmentUpdatePayload", {FIELD: fields.get("enabled")}).boolean(FIELD)
    if not segment["enabled"] and not enabled:
        raise SandboxError(400, "invalid_param", "Can't update disabled segment")
    if enabled is not None and enabled != bool(segment["enabled"]):
        switch_segments(store, document["id"], [segment["id"]], enabled)
    if enabled is not False and (fields.get("content") or fields.get("answer")):
        keywords = fields.get("keywords")
        if keywords is None and segment["keywords"] is not None:
            keywords = json.loads(segment["keywords"])
        chunk = Chunk(
            fields.get("content") or segment["content"],
            fields.get("answer") or segment["answer"],
            keywords=None if keywords is None else tuple(keywords),
        )
        change_segment(store, document, segment, chunk)
    return _answer(document, segment_id)


@blueprint.delete(f"{SEGMENTS}/<uuid:segment_id>")
@require_dataset_key
def delete_segment(dataset_id: uuid.UUID, document_id: uuid.UUID, segment_id: uuid.UUID) -> Response:
    """Delete a segment; in 1.12.1 the status is 200, and the JSON body is 204 (segments/delete)."""
    document = _document(dataset_id, document_id)
    store = current_store()
    delete_segments(store, document["id"], [find_segment(store, document["id"], segment_id)["id"]])
    return deleted()
