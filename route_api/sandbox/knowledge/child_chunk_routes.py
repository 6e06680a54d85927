"""The routes `…/segments/{id}/child_chunks`: list, create, change and delete the child chunks of a segment."""

import math
import uuid
from sqlite3 import Row
from typing import Any

from flask import Blueprint, Response, request

from ..access.api_key_check import require_dataset_key
from ..page_parameters import requested_page
from ..request_fields import RequestFields
from ..store import current_store
from ..version import deleted
from .child_chunk_table import add_child_chunk, change_child_chunk, delete_child_chunk, find_child_chunk
from .dataset_table import open_dataset
from .document_table import find_document
from .segment_payloads import child_payload
from .segment_routes import SEGMENTS
from .segment_table import child_chunks, find_segment

CHILDREN = f"{SEGMENTS}/<uuid:segment_id>/child_chunks"

blueprint = Blueprint("child_chunks", __name__)


def _segment(dataset_id: uuid.UUID, document_id: uuid.UUID, segment_id: uuid.UUID) -> Row:
    store = current_store()
    document = find_document(store, open_dataset(dataset_id)["id"], document_id)
    return find_segment(store, document["id"], segment_id)


@blueprint.get(CHILDREN)
@require_dataset_key
def list_child_chunks(dataset_id: uuid.UUID, document_id: uuid.UUID, segment_id: uuid.UUID) -> dict[str, Any]:
    """List a segment's child chunks. The keyword ignores case."""
    segment = _segment(dataset_id, document_id, segment_id)
    page = requested_page("ChildChunkListQuery")
    keyword = request.args.get("keyword", "").lower()
    children = [
        child
        for child in child_chunks(current_store().connection(), segment["id"])
        if keyword in child["content"].lower()
    ]
    return {
        "data": [child_payload(child) for child in children[page.offset : page.offset + page.rows]],
        "total": len(children),
        "total_pages": math.ceil(len(children) / page.rows),
        "page": page.page,
        "limit": page.limit,
    }


@blueprint.post(CHILDREN)
@require_dataset_key
def create_child_chunk(dataset_id: uuid.UUID, document_id: uuid.UUID, segment_id: uuid.UUID) -> dict[str, Any]:
    """Append a child chunk to a segment. Dify asks neither for the document's form nor for the text's length."""
    segment = _segment(dataset_id, document_id, segment_id)
    content = RequestFields("ChildChunkCreatePayload", request.get_json()).text("content")
    return {"data": child_payload(add_child_chunk(current_store(), segment, content))}


@blueprint.patch(f"{CHILDREN}/<uuid:child_chunk_id>")
@require_dataset_key
def update_child_chunk(
    dataset_id: uuid.UUID, document_id: uuid.UUID, segment_id: uuid.UUID, child_chunk_id: uuid.UUID
) -> dict[str, Any]:
    """Replace the text of a child chunk."""
    segment, store = _segment(dataset_id, document_id, segment_id), current_store()
    child = find_child_chunk(store, segment["id"], child_chunk_id)
    content = RequestFields("ChildChunkUpdatePayload", request.get_json()).text("content")
    return {"data": child_payload(change_child_chunk(store, segment, child, content))}


@blueprint.delete(f"{CHILDREN}/<uuid:child_chunk_id>")
@require_dataset_key
def remove_child_chunk(
    dataset_id: uuid.UUID, document_id: uuid.UUID, segment_id: uuid.UUID, child_chunk_id: uuid.UUID
) -> Response:
    """Delete a child chunk; in 1.12.1 the status is 200, and the JSON body is 204."""
    segment, store = _segment(dataset_id, document_id, segment_id), current_store()
    delete_child_chunk(store, segment, find_child_chunk(store, segment["id"], child_chunk_id))
    return deleted()
