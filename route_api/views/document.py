"""`/document`: the files of a knowledge base."""

from typing import Any
from urllib.parse import urlencode

from flask import Response, request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import MethodNotAllowed

from ..access.callers import admin_required
from ..access.idempotency import failed_before_at, idempotent
from ..access.limits import limit_uploads
from ..envelope import success
from ..errors import (
    CONSOLE_ERRORS,
    DIFY_ERRORS,
    BatchNotFound,
    DocumentArchived,
    DocumentBusy,
    DocumentNameTaken,
    DocumentNotFound,
    DocumentUploadRunning,
    FileTooLarge,
    FileTypeNotSupported,
    KbNotFound,
    RangeNotSatisfiable,
    UploadFailed,
)
from ..extensions import dify
from ..knowledge import documents, downloads, zips
from ..knowledge.not_found import report_missing_as
from ..knowledge.uploads import create_by_file_data, upload_files
from ..presenters.document import document_row, file_info, indexing_status
from ..schemas import document as schemas
from .blueprint import BINARY, ApiBlueprint
from .file_answer import answer_with_file, answer_with_zip
from .parameters import warns_in_header

blueprint = ApiBlueprint("document", __name__, url_prefix="/document", description="Documents")

UPLOAD_ERRORS = (
    DocumentArchived,
    DocumentBusy,
    DocumentNameTaken,
    DocumentUploadRunning,
    FileTooLarge,
    FileTypeNotSupported,
    UploadFailed,
)


@blueprint.route("/upload", methods=["POST"])
@limit_uploads
@admin_required
@blueprint.arguments(schemas.DocumentFiles, location="files")
@blueprint.arguments(schemas.DocumentUpload, location="form", content_type="multipart/form-data")
@blueprint.response(200, schemas.DocumentUploadAnswer)
@blueprint.raises(DIFY_ERRORS, KbNotFound, UPLOAD_ERRORS)
@idempotent
def upload_documents(given_files: dict[str, list[FileStorage]], given: dict[str, Any]) -> Response:
    """Upload one or several files. Dify splits and indexes each one right away.

    If a file fails, the others are uploaded all the same; the answer is then a failure, and its `data` are the files
    that were uploaded.

    No upload overwrites another one that runs at the same time, on whatever worker or host. With `rename` each of them
    gets a name of its own; with `reject` the first one gets the name; with `replace` they follow one another, so that
    the last one wins, and one that has waited for a minute gets 409 `document_upload_running`.

    With `replace` an upload waits for 15 seconds until Dify has indexed the document that it replaces, because Dify
    would mix old and new chunks, and then gets 409 `document_busy`. An enabled document keeps its id. A disabled one is
    deleted after the upload, and the new one is enabled: Dify itself would keep both. An archived one is refused with
    409 `document_archived`.

    A character that this Dify does not store in a name becomes `_`, and `warnings` says so. A name with question marks
    in place of letters replaces no document: with `replace` it gets a number too.

    Upstream calls: 2 for each file: Dify overwrites a document of the same name, so the name is looked up first. 3 if
    the name is taken, or if a disabled document is replaced; 1 more for each look at a document that is not indexed
    yet; 1 more if Dify refuses a character of the name, so that the file is sent again; 1 more if other uploads of the
    name run. After a failure, a repeat with the same Idempotency-Key makes 1 more for each file, and 2 more to compare
    the contents if Dify has a document of this name and size. The row of a file that Dify has got already has an empty
    `batch`, which only the answer to the upload itself names.
    """
    data, files = create_by_file_data(given), given_files["file"]
    rows = upload_files(given["kb_id"], files, given["on_duplicate"], data, failed_before_at())
    return success(rows)


@blueprint.route("/list", methods=["GET", "POST"])
@blueprint.arguments(schemas.DocumentPage, location="query")
@blueprint.response(200, schemas.DocumentListAnswer)
@blueprint.raises(DIFY_ERRORS, KbNotFound)
def list_documents(page: dict[str, Any]) -> Response:
    """List the documents of a knowledge base, newest first.

    `token_num` is the number of tokens that Dify has counted: 0 until a document is indexed, and always in an economy
    kb. `process_begin_at` and `process_duation`, in seconds, are there with a console login, in a kb of up to 100
    documents: Dify tells them for a whole kb only. Otherwise they are null and 0. `progress_msg` says why a document
    failed, or that it was indexed but has no chunks.

    Upstream calls: 1 for up to 100 rows. With a login to Dify's console 1 more, because only the console tells how many
    chunks each document has and how many of them are indexed. Both are made at the same time, except in the first list
    of a kb.

    `locked_until` is a time in seconds since 1970 if `document/change_status` was refused because Dify has locked the
    document: until then, at the latest, Dify refuses to switch it.
    """
    rows, total = documents.list_documents(page["kb_id"], page["page"], page["page_size"], page["keywords"])
    shown = [{**document_row(row, page["kb_id"], row["segments"]), "locked_until": row["locked_until"]} for row in rows]
    return success({"docs": shown, "total": total})


@blueprint.route("/get", methods=["GET", "POST"])
@admin_required
@blueprint.arguments(schemas.DocumentSave, location="query")
@blueprint.response(200, schemas.DocumentSaveAnswer)
@blueprint.raises(DIFY_ERRORS, CONSOLE_ERRORS, KbNotFound, DocumentNotFound)
def save_document(given: dict[str, str]) -> Response:
    """Save a document's file on this server, below DOWNLOAD_ROOT, and tell its full path.

    The path is `download_dir`, then the kb's id, the document's id and the name of the file, because two documents may
    have files of the same name. Saving a document again replaces its file.

    Upstream calls: 2, for the file's address and for the file. 3 on Dify 1.12.1, where a third one is needed for the
    file's name, size and type.
    """
    if request.method == "HEAD":  # It must change nothing, and Flask calls the view of GET for it.
        raise MethodNotAllowed(["GET", "POST"])
    info, path = downloads.save_document(**given)
    query = urlencode({"kb_id": given["kb_id"], "document_id": given["document_id"]})
    url = f"/v1/document/download?{query}"
    data = {"download_url": url, "file_info": file_info(info), "file_path": str(path)}
    return success(data, f"文档已成功下载到: {path}")


@blueprint.route("/download", methods=["POST", "GET"])
@blueprint.arguments(schemas.DocumentDownload)
@blueprint.response(
    200, BINARY, content_type="application/octet-stream", description="the file itself, with its own type; or a zip"
)
@blueprint.alt_response(200, schema=BINARY, content_type="*/*", success=True)
@blueprint.alt_response(
    206,
    schema=BINARY,
    content_type="application/octet-stream",
    description="the part that the header Range asks for",
    success=True,
)
@blueprint.alt_response(206, schema=BINARY, content_type="*/*", success=True)
@blueprint.raises(DIFY_ERRORS, CONSOLE_ERRORS, KbNotFound, DocumentNotFound, RangeNotSatisfiable)
@warns_in_header
def download_document(given: dict[str, Any]) -> Response:
    """Download a document's file, or those of several documents as one zip. They are streamed from Dify, which the
    caller cannot reach.

    A GET with the header `Range` gets a part of the file, so that a download that broke off can be continued; send the
    file's `ETag` as `If-Range`. Of several ranges in one request the whole file is the answer. Dify itself sends no
    parts, so the gateway reads the file from the beginning: a later part takes longer to begin. HEAD gets the headers
    alone.

    A zip is written while the files come from Dify, so it has no `Content-Length`, and no `Range`; a zip without an end
    broke off. It needs no console login where a single file needs none. Of two files with the same name the second one
    gets a number.

    Upstream calls: 2 for each document, for the file's address and for the file.
    """
    kb_id, document_ids = given["kb_id"], given["document_id"]
    if len(document_ids) > 1:
        return answer_with_zip(kb_id, zips.locate_documents(kb_id, document_ids))
    return answer_with_file(downloads.open_document(kb_id, document_ids[0]), document_ids[0])


@blueprint.route("/rm", methods=["DELETE", "POST"])
@admin_required
@blueprint.arguments(schemas.DocumentRemove)
@blueprint.response(200, schemas.DocumentRemoveAnswer)
@blueprint.raises(DIFY_ERRORS, KbNotFound, DocumentNotFound)
def remove_documents(given: dict[str, Any]) -> Response:
    """Delete a document, or several.

    The documents are deleted one after the other. If one fails, the rest are kept, and the failure's `data` are the ids
    that were deleted before.

    Upstream calls: 1 for each document.
    """
    documents.remove_documents(given["kb_id"], given["doc_id"])
    return success("", "Delete DB successful!")


@blueprint.route("/change_status", methods=["POST"])
@admin_required
@blueprint.arguments(schemas.DocumentSwitch)
@blueprint.response(200, schemas.DocumentSwitchAnswer)
@blueprint.raises(DIFY_ERRORS, KbNotFound, DocumentNotFound, DocumentArchived, DocumentBusy)
def switch_documents(given: dict[str, Any]) -> Response:
    """Enable or disable documents. A search does not find disabled ones.

    After a switch Dify may lock a document for up to ten minutes. A switch is then tried for some seconds; the 409
    `document_busy` says when the lock ends at the latest, and `document/list` shows it as `locked_until`.

    Upstream calls: 1, and 1 more for each document, because Dify reports success for an unknown or archived one.
    """
    documents.switch_documents(given["kb_id"], given["doc_id"], given["action"])
    return success("", f"Document {given['action']} successful!")


@blueprint.route("/status", methods=["POST", "GET"])
@blueprint.arguments(schemas.DocumentBatch)
@blueprint.response(200, schemas.DocumentStatusAnswer)
@blueprint.raises(DIFY_ERRORS, KbNotFound, BatchNotFound)
def get_indexing_status(given: dict[str, str]) -> Response:
    """Tell how far the documents of an upload are indexed.

    As in the API document, the list is in `data.data`, and `info` and `status_code` stand beside `data`. `progress_msg`
    is that of `document/list`.

    Upstream calls: 1.
    """
    with report_missing_as(BatchNotFound(given["batch"]), kb_id=given["kb_id"]):
        answer = dify.knowledge.indexing_status(given["kb_id"], given["batch"])
    data = {"data": indexing_status(answer["data"])}
    return success(data, info="request document status successful!", status_code=0)
