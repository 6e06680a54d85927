"""The routes `/v1/datasets/{id}/documents`: list, show, switch and delete. `upload_routes` creates documents."""

import uuid
from typing import Any

from flask import Blueprint, Response, request

from ..access.api_key_check import require_dataset_key
from ..errors import SandboxError
from ..page_parameters import requested_page
from ..store import current_store
from ..version import deleted
from .dataset_table import open_dataset
from .document_payloads import detail, indexing_status, list_item
from .document_table import change_status, delete_documents, find_document, find_documents, list_page, require_editable
from .uploaded_files import signed_url

METADATA_FORMS = ("all", "only", "without")

blueprint = Blueprint("documents", __name__)


@blueprint.get("/v1/datasets/<uuid:dataset_id>/documents")
@require_dataset_key
def list_documents(dataset_id: uuid.UUID) -> dict[str, Any]:
    """List documents, newest first."""
    dataset = open_dataset(dataset_id)
    page = requested_page("DocumentListQuery")
    store = current_store()
    keyword, status = request.args.get("keyword", ""), request.args.get("status", "")
    rows, total = list_page(store, dataset["id"], page, keyword, status)
    return page.answer([list_item(store, dataset, row) for row in rows], total)


@blueprint.get("/v1/datasets/<uuid:dataset_id>/documents/<uuid:document_id>")
@require_dataset_key
def get_document(dataset_id: uuid.UUID, document_id: uuid.UUID) -> dict[str, Any]:
    """Show one document: all fields, with `metadata=only` the metadata alone, with `metadata=without` all other
    fields."""
    dataset = open_dataset(dataset_id)
    store = current_store()
    document = detail(store, dataset, find_document(store, dataset["id"], document_id))
    form = request.args.get("metadata", "all")
    if form not in METADATA_FORMS:
        raise SandboxError(400, "invalid_metadata", f"Invalid metadata value: {form}")
    if form == "only":
        return {name: document[name] for name in ("id", "doc_type", "doc_metadata")}
    if form == "without":
        return {name: value for name, value in document.items() if name not in ("doc_type", "doc_metadata")}
    return document


@blueprint.delete("/v1/datasets/<uuid:dataset_id>/documents/<uuid:document_id>")
@require_dataset_key
def delete_document(dataset_id: uuid.UUID, document_id: uuid.UUID) -> Response:
    """Delete a document; in 1.12.1 the status is 200, and the JSON body is 204 (documents/delete)."""
    dataset = open_dataset(dataset_id)
    store = current_store()
    require_editable(find_document(store, dataset["id"], document_id, missing="Document Not Exists."))
    delete_documents(store, dataset["id"], [str(document_id)])
    return deleted()


@blueprint.patch("/v1/datasets/<uuid:dataset_id>/documents/status/<action>")
@require_dataset_key
def switch_documents(dataset_id: uuid.UUID, action: str) -> dict[str, str]:
    """Enable, disable, archive or un_archive documents."""
    dataset = open_dataset(dataset_id)
    document_ids = request.get_json().get("document_ids", [])
    if not all(_is_uuid(document_id) for document_id in document_ids):
        raise SandboxError(500, "unknown", "Internal Server Error")
    change_status(current_store(), dataset["id"], action, document_ids)
    return {"result": "success"}


def _is_uuid(text: object) -> bool:
    try:
        uuid.UUID(str(text))
    except ValueError:
        return False
    return True


@blueprint.get("/v1/datasets/<uuid:dataset_id>/documents/<batch>/indexing-status")
@require_dataset_key
def get_indexing_status(dataset_id: uuid.UUID, batch: str) -> dict[str, Any]:
    """Show the progress of the indexing of an upload's document."""
    dataset = open_dataset(dataset_id)
    rows = find_documents(current_store(), dataset["id"], "document.batch = ?", [batch])
    if not rows:
        raise SandboxError(404, "not_found", "Documents not found.")
    return {"data": [indexing_status(row) for row in rows]}


@blueprint.get("/v1/datasets/<uuid:dataset_id>/documents/<uuid:document_id>/download")
@require_dataset_key
def get_download_url(dataset_id: uuid.UUID, document_id: uuid.UUID) -> dict[str, str]:
    """Return a signed URL of the original file. 1.12.1 has no such route; the sandbox always has it, so that files can
    be downloaded without a console login."""
    dataset = open_dataset(dataset_id)
    store = current_store()
    return {"url": signed_url(store, find_document(store, dataset["id"], document_id)["file_id"])}
