"""The routes that send the files of several documents as one ZIP archive, for the console and, since 1.16, for keys."""

import uuid
from tempfile import TemporaryFile
from zipfile import ZIP_DEFLATED, ZipFile

from flask import Blueprint, Response, request, send_file

from ..access.api_key_check import require_dataset_key
from ..access.console_session import require_console_session
from ..errors import SandboxError
from ..request_fields import RequestFields
from ..store import current_store
from ..version import only_since_1_16
from .dataset_table import find_dataset, open_dataset
from .document_table import find_documents
from .uploaded_files import file_path

MAX_DOCUMENTS = 100

blueprint = Blueprint("archives", __name__)


@blueprint.post("/console/api/datasets/<uuid:dataset_id>/documents/download-zip")
@require_console_session
def download_in_console(dataset_id: uuid.UUID) -> Response:
    """Send the files of the documents that the body names (documents/console-download-zip)."""
    return _archive(find_dataset(current_store(), dataset_id)["id"])


@blueprint.post("/v1/datasets/<uuid:dataset_id>/documents/download-zip")
@only_since_1_16
@require_dataset_key
def download(dataset_id: uuid.UUID) -> Response:
    """Send the files of the documents that the body names."""
    return _archive(open_dataset(dataset_id)["id"])


def _archive(dataset_id: str) -> Response:
    store, document_ids = current_store(), _document_ids()
    rows = {row["id"]: row for row in find_documents(store, dataset_id)}
    if not set(document_ids) <= rows.keys():
        raise SandboxError(404, "not_found", "Document not found.")
    file = TemporaryFile()  # The server closes it after the answer.
    names: set[str] = set()
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for document_id in document_ids:
            name = _free_name(rows[document_id]["file_name"], names)
            names.add(name)
            archive.write(file_path(store, rows[document_id]["file_id"]), name)
    file.seek(0)
    return send_file(file, mimetype="application/zip", as_attachment=True, download_name=f"{uuid.uuid4().hex}.zip")


def _document_ids() -> list[str]:
    body = RequestFields("DocumentBatchDownloadZipPayload", request.get_json())
    ids = body.texts("document_ids")
    if not ids:
        body.refuse("document_ids", "List should have at least 1 item after validation, not 0", "too_short", ids)
    if len(ids) > MAX_DOCUMENTS:
        text = f"List should have at most {MAX_DOCUMENTS} items after validation, not {len(ids)}"
        body.refuse("document_ids", text, "too_long", ids)
    places = {f"document_ids.{place}": value for place, value in enumerate(ids)}
    return [RequestFields(body.model, places).identifier(place) for place in places]


def _free_name(name: str, taken: set[str]) -> str:
    """Return the name, or, if an earlier file of the archive has it, the name with a number."""
    stem, dot, extension = name.rpartition(".")
    number, free = 0, name
    while free in taken:
        number += 1
        free = f"{stem} ({number}){dot}{extension}"
    return free
