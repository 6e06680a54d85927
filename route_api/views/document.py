"""`/document`: the files of a knowledge base."""

import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

from flask import Response, current_app, stream_with_context
from werkzeug.datastructures import FileStorage

from .. import presenters
from ..access.callers import administrators
from ..access.limits import upload
from ..dify import RemoteFile
from ..envelope import success
from ..errors import (
    CONSOLE_ERRORS,
    DIFY_ERRORS,
    ApiError,
    BatchNotFound,
    DifyError,
    DifyRejected,
    DocumentBusy,
    DocumentNameTaken,
    DocumentNotFound,
    FileTooLarge,
    FileTypeNotSupported,
    KbNotFound,
    UploadFailed,
)
from ..extensions import dify
from ..knowledge.downloads import folder_below, save_file
from ..knowledge.not_found import document_must_exist, kb_must_exist, missing_is
from ..knowledge.paging import read_page
from ..knowledge.uploads import process_settings, upload_files
from ..schemas import document as schemas
from .parameters import ResourceBlueprint

blueprint = ResourceBlueprint("document", __name__, url_prefix="/document", description="Documents")

log = logging.getLogger(__name__)

BINARY = {"type": "string", "format": "binary"}


@blueprint.route("/upload", methods=["POST"])
@upload
@administrators
@blueprint.arguments(schemas.DocumentFiles, location="files")
@blueprint.arguments(schemas.DocumentUpload, location="form", content_type="multipart/form-data")
@blueprint.response(200, schemas.DocumentUploadAnswer)
@blueprint.raises(DIFY_ERRORS, KbNotFound, DocumentNameTaken, FileTooLarge, FileTypeNotSupported, UploadFailed)
def upload_documents(given_files: dict[str, list[FileStorage]], given: dict[str, Any]) -> Response:
    """Upload one or several files; each is split and indexed at once.

    A failed file does not undo the others: the answer is then a failure whose `data` are the others.

    Upstream calls: 2 for each file. Dify overwrites a document of the same name (contract README, 13), so its name is
    looked up first; 3 where the name is taken, 1 with on_duplicate=replace.
    """
    rows = upload_files(given["kb_id"], given_files["file"], given["on_duplicate"], process_settings(given))
    return success(rows)


@blueprint.route("/list", methods=["GET", "POST"])
@blueprint.arguments(schemas.DocumentPage, location="query")
@blueprint.response(200, schemas.DocumentListAnswer)
@blueprint.raises(DIFY_ERRORS, KbNotFound)
def list_documents(page: dict[str, Any]) -> Response:
    """The documents of a knowledge base, newest first.

    Upstream calls: 1 for up to 100 rows; one more with a console login, which alone tells how many chunks each document
    has, and how many of them are done (FINDINGS d).
    """
    kb_id, keyword = page["kb_id"], page["keywords"] or None

    def fetch(number: int, limit: int) -> Any:
        answer = dify.knowledge.list_documents(kb_id, number, limit, keyword)
        counts = segment_counts(kb_id, number, limit, keyword) if answer["data"] else {}
        return {**answer, "data": [{**row, "segments": counts.get(row["id"])} for row in answer["data"]]}

    with kb_must_exist(kb_id):
        documents, total = read_page(fetch, page["page"], page["page_size"])
    rows = [presenters.document_row(document, kb_id, document["segments"]) for document in documents]
    return success({"docs": rows, "total": total})


def segment_counts(kb_id: str, page: int, limit: int, keyword: str | None) -> dict[str, Any]:
    """Counts of segments by document id, where there is a console login; a list without them beats no list."""
    if not dify.console.is_configured:
        return {}
    try:
        answer = dify.console.list_documents(kb_id, page, limit, keyword)
    except DifyError as error:
        log.warning("document/list goes without chunk counts: %s", error.message)
        return {}
    return {document["id"]: document for document in answer["data"]}


@blueprint.route("/get", methods=["GET", "POST"])
@administrators
@blueprint.arguments(schemas.DocumentSave, location="query")
@blueprint.response(200, schemas.DocumentSaveAnswer)
@blueprint.raises(DIFY_ERRORS, CONSOLE_ERRORS, KbNotFound, DocumentNotFound)
def save_document(given: dict[str, str]) -> Response:
    """Save a document's file on this server, below DOWNLOAD_ROOT.

    Upstream calls: 2, the file's address and the file; 3 on Dify 1.12.1, whose address comes without the file's facts.
    """
    kb_id, document_id, root = given["kb_id"], given["document_id"], current_app.config["DOWNLOAD_ROOT"]
    folder = folder_below(root, given["download_dir"])
    with document_must_exist(kb_id, document_id):
        info = dify.files.describe(kb_id, document_id)
        file = dify.files.open_file(info)
    try:
        path = save_file(root, folder, info.get("name") or file.name or document_id, file.chunks())
    finally:
        file.close()
    shown_path = str(path.relative_to(root.resolve().parent))
    query = urlencode({"kb_id": kb_id, "document_id": document_id})
    data = {
        "download_url": f"/v1/document/download?{query}",
        "file_info": presenters.file_info(info),
        "file_path": shown_path,
    }
    return success(data, f"The document was saved as {shown_path}.")


@blueprint.route("/download", methods=["POST", "GET"])
@blueprint.arguments(schemas.DocumentFile)
@blueprint.response(200, BINARY, content_type="application/octet-stream", description="the file itself")
@blueprint.raises(DIFY_ERRORS, CONSOLE_ERRORS, KbNotFound, DocumentNotFound)
def download_document(given: dict[str, str]) -> Response:
    """The document's file, streamed to the caller, who cannot reach Dify.

    Upstream calls: 2, the file's address and the file.
    """
    kb_id, document_id = given["kb_id"], given["document_id"]
    with document_must_exist(kb_id, document_id):
        file = dify.files.open_file(dify.files.locate(kb_id, document_id))
    answer = Response(stream_with_context(relay(file)), content_type=file.mime_type)
    name = quote(file.name or document_id, safe="")
    answer.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{name}"
    if file.size is not None:
        answer.content_length = file.size
    return answer


def relay(file: RemoteFile) -> Iterator[bytes]:
    """The file's content, and the end of the download whether the caller stayed or left."""
    try:
        yield from file.chunks()
    finally:
        file.close()


@blueprint.route("/rm", methods=["DELETE", "POST"])
@administrators
@blueprint.arguments(schemas.DocumentRemove)
@blueprint.response(200, schemas.DocumentRemoveAnswer)
@blueprint.raises(DIFY_ERRORS, KbNotFound, DocumentNotFound)
def remove_documents(given: dict[str, Any]) -> Response:
    """Delete a document, or several.

    Upstream calls: 1 for each document. The first failure ends it; its `data` are the ids deleted before.
    """
    removed: list[str] = []
    for document_id in given["doc_id"]:
        try:
            with document_must_exist(given["kb_id"], document_id):
                dify.knowledge.delete_document(given["kb_id"], document_id)
        except ApiError as error:
            error.data = removed or None
            raise
        removed.append(document_id)
    return success("", "The document was deleted." if len(removed) == 1 else "The documents were deleted.")


@blueprint.route("/change_status", methods=["POST"])
@administrators
@blueprint.arguments(schemas.DocumentSwitch)
@blueprint.response(200, schemas.DocumentSwitchAnswer)
@blueprint.raises(DIFY_ERRORS, KbNotFound, DocumentNotFound, DocumentBusy)
def switch_documents(given: dict[str, Any]) -> Response:
    """Let a document be found, or not.

    Upstream calls: 1, and one for each document, because Dify answers success for an unknown one
    (documents/status-unknown-document).
    """
    kb_id, action = given["kb_id"], given["action"]
    for document_id in given["doc_id"]:
        with document_must_exist(kb_id, document_id):
            dify.knowledge.get_document(kb_id, document_id)
    try:
        with kb_must_exist(kb_id):
            dify.knowledge.set_document_status(kb_id, action, given["doc_id"])
    except DifyRejected as error:
        if error.dify_code == "invalid_action":
            raise DocumentBusy(f"Dify cannot {action} the document now: {error.message}") from error
        raise
    return success("", f"Document {action} successful!")


@blueprint.route("/status", methods=["POST", "GET"])
@blueprint.arguments(schemas.DocumentBatch)
@blueprint.response(200, schemas.DocumentStatusAnswer)
@blueprint.raises(DIFY_ERRORS, KbNotFound, BatchNotFound)
def get_indexing_status(given: dict[str, str]) -> Response:
    """How far the documents of an upload are, in the odd envelope of the API document and with the common keys.

    Upstream calls: 1.
    """
    with missing_is(BatchNotFound(given["batch"]), kb_id=given["kb_id"]):
        answer = dify.knowledge.indexing_status(given["kb_id"], given["batch"])
    data = {"data": presenters.indexing_status(answer["data"])}
    return success(data, info="request document status successful!", status_code=0)
