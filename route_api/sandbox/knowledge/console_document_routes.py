"""The console's routes for documents and segments."""

import uuid
from sqlite3 import Row
from typing import Any

from flask import Blueprint, Response, request

from ..access.console_session import require_console_session
from ..errors import SandboxError
from ..page_parameters import requested_page
from ..request_fields import RequestFields
from ..store import current_store
from .dataset_table import find_dataset
from .document_payloads import (
    console_detail,
    console_list_item,
    indexing_status,
    list_item,
    list_item_with_segments,
)
from .document_table import (
    change_status,
    delete_documents,
    find_document,
    find_documents,
    list_page,
    pause_document,
    rename_document,
    require_editable,
    resume_document,
)
from .indexer import current_indexer
from .segment_payloads import segment_payload
from .segment_routes import checked_chunk
from .segment_table import add_segments, delete_segments, switch_segments
from .uploaded_files import signed_url

DATASET = "/console/api/datasets/<uuid:dataset_id>"
DOCUMENT = f"{DATASET}/documents/<uuid:document_id>"
SUCCESS = {"result": "success"}

blueprint = Blueprint("console_documents", __name__)


def _document(dataset_id: uuid.UUID, document_id: uuid.UUID) -> Row:
    store = current_store()
    return find_document(store, find_dataset(store, dataset_id)["id"], document_id)


def _no_content() -> Response:
    return Response(status=204, content_type="application/json")


@blueprint.get(f"{DATASET}/documents")
@require_console_session
def list_documents(dataset_id: uuid.UUID) -> dict[str, Any]:
    """List documents, newest first. With `fetch=true` the numbers of their segments are shown."""
    store = current_store()
    dataset = find_dataset(store, dataset_id)
    page = requested_page("DocumentDatasetListQuery")
    keyword, status = request.args.get("keyword", ""), request.args.get("status", "")
    rows, total = list_page(store, dataset["id"], page, keyword, status)
    show = list_item_with_segments if request.args.get("fetch", "").lower() == "true" else console_list_item
    return page.answer([show(store, dataset, row) for row in rows], total)


@blueprint.get(f"{DATASET}/indexing-status")
@require_console_session
def get_dataset_indexing_status(dataset_id: uuid.UUID) -> dict[str, Any]:
    """Show the progress of the indexing of all documents of a dataset, without pages."""
    store = current_store()
    rows = find_documents(store, find_dataset(store, dataset_id)["id"])
    return {"data": [indexing_status(row) for row in rows]}


@blueprint.get(DOCUMENT)
@require_console_session
def get_document(dataset_id: uuid.UUID, document_id: uuid.UUID) -> dict[str, Any]:
    """Show one document."""
    store = current_store()
    return console_detail(store, find_dataset(store, dataset_id), _document(dataset_id, document_id))


@blueprint.delete(DOCUMENT)
@require_console_session
def delete_document(dataset_id: uuid.UUID, document_id: uuid.UUID) -> Response:
    """Delete a document; the status is 204."""
    document = _document(dataset_id, document_id)
    require_editable(document)
    delete_documents(current_store(), document["dataset_id"], [document["id"]])
    return _no_content()


@blueprint.get(f"{DOCUMENT}/indexing-status")
@require_console_session
def get_document_indexing_status(dataset_id: uuid.UUID, document_id: uuid.UUID) -> dict[str, Any]:
    """Show the progress of a document's indexing, without its batch."""
    return indexing_status(_document(dataset_id, document_id))


@blueprint.get(f"{DOCUMENT}/download")
@require_console_session
def get_download_url(dataset_id: uuid.UUID, document_id: uuid.UUID) -> dict[str, str]:
    """Return a signed URL of the original file. It is relative, as in a Dify without FILES_URL."""
    return {"url": signed_url(current_store(), _document(dataset_id, document_id)["file_id"])}


@blueprint.post(f"{DOCUMENT}/rename")
@require_console_session
def rename(dataset_id: uuid.UUID, document_id: uuid.UUID) -> dict[str, Any]:
    """Rename a document and its file."""
    store = current_store()
    document = _document(dataset_id, document_id)
    rename_document(store, document, RequestFields("DocumentRenamePayload", request.get_json()).text("name"))
    return list_item(store, find_dataset(store, dataset_id), _document(dataset_id, document_id))


@blueprint.patch(f"{DOCUMENT}/processing/pause")
@require_console_session
def pause(dataset_id: uuid.UUID, document_id: uuid.UUID) -> Response:
    """Pause the indexing of a document."""
    pause_document(current_store(), _document(dataset_id, document_id))
    return _no_content()


@blueprint.patch(f"{DOCUMENT}/processing/resume")
@require_console_session
def resume(dataset_id: uuid.UUID, document_id: uuid.UUID) -> Response:
    """Put a paused document back into the queue. Its indexing starts from the beginning."""
    resume_document(current_store(), _document(dataset_id, document_id))
    current_indexer().wake()
    return _no_content()


@blueprint.patch(f"{DATASET}/documents/status/<action>/batch")
@require_console_session
def switch_documents(dataset_id: uuid.UUID, action: str) -> dict[str, str]:
    """Enable, disable, archive or un_archive the documents named in the query."""
    store = current_store()
    change_status(store, find_dataset(store, dataset_id)["id"], action, request.args.getlist("document_id"))
    return SUCCESS


@blueprint.patch(f"{DOCUMENT}/segment/<action>")
@require_console_session
def switch(dataset_id: uuid.UUID, document_id: uuid.UUID, action: str) -> dict[str, str]:
    """Enable or disable the segments named in the query. Another action has no effect (segments/console-bad-action)."""
    document = _document(dataset_id, document_id)
    segment_ids = request.args.getlist("segment_id")
    for segment_id in segment_ids:
        try:
            uuid.UUID(segment_id)
        except ValueError as error:
            text = f'invalid input syntax for type uuid: "{segment_id}"'
            raise SandboxError(400, "invalid_action", text) from error
    if action in ("enable", "disable"):
        switch_segments(current_store(), document["id"], segment_ids, action == "enable")
    return SUCCESS


@blueprint.post(f"{DOCUMENT}/segment")
@require_console_session
def create_segment(dataset_id: uuid.UUID, document_id: uuid.UUID) -> dict[str, Any]:
    """Append a segment. Without `attachment_ids` the status is 500 (segments/console-create-no-attachment-ids)."""
    document = _document(dataset_id, document_id)
    fields = request.get_json()
    if fields.get("attachment_ids") is None:
        raise SandboxError(500, "unknown", "Internal Server Error")
    store = current_store()
    rows = add_segments(store, document, [checked_chunk(document, fields)])
    return {"data": segment_payload(store.connection(), rows[0]), "doc_form": document["doc_form"]}


@blueprint.delete(f"{DOCUMENT}/segments")
@require_console_session
def remove_segments(dataset_id: uuid.UUID, document_id: uuid.UUID) -> Response:
    """Delete the segments named in the query; the status is 204."""
    document = _document(dataset_id, document_id)
    delete_segments(current_store(), document["id"], request.args.getlist("segment_id"))
    return _no_content()
