"""`/datasets`: two endpoints of the API document that have Dify's own paths."""

from typing import Any

from flask import Response, request

from ..access.callers import admin_required
from ..access.idempotency import idempotent
from ..access.limits import limit_uploads
from ..envelope import success
from ..errors import (
    DIFY_ERRORS,
    DocumentArchived,
    DocumentBusy,
    DocumentUploadRunning,
    KbNotFound,
    ValidationFailed,
)
from ..knowledge import chunks, raw_uploads
from ..languages import Sentence
from ..openapi.document import multipart_body
from ..schemas import chunk as schemas
from ..schemas import document
from .blueprint import ApiBlueprint, in_path
from .chunk import SWITCH_ERRORS
from .parameters import limit_body_time, path_id, require_uncompressed, warns_in_header, without_parameters

blueprint = ApiBlueprint("datasets", __name__, url_prefix="/datasets", description="Paths in Dify's own form")


@blueprint.route("/<kb_id>/document/create_by_file", methods=["POST"], parameters=[in_path("kb_id")])
@blueprint.route("/<kb_id>/document/create-by-file", methods=["POST"], parameters=[in_path("kb_id")])
@limit_uploads
@admin_required
@blueprint.doc(requestBody=multipart_body(document.DifyUpload()))
@blueprint.response(200, document.DifyUploadAnswer, description="Dify's own answer, unchanged")
@blueprint.raises(DIFY_ERRORS, ValidationFailed, KbNotFound, DocumentArchived, DocumentBusy, DocumentUploadRunning)
@warns_in_header
@without_parameters(reads_body=False)
@idempotent
@blueprint.forwards_refusals
def create_document_by_file(kb_id: str) -> Response:
    """Upload a file in Dify's own form and get Dify's own answer, unchanged. The Java backend calls this.

    With an Idempotency-Key, a repeat must have the same kb and the same `Content-Length`; the body itself is not
    compared. After a failure a repeat replaces the document of this name, as every upload in this form does.

    The name of the file may be sent in any form that `document/upload` reads; if it was changed, the header
    `X-Warnings` of the answer says so, as a JSON list of sentences. An upload whose file name another upload
    has at this moment waits until that one has ended, and so replaces its document; after a minute it gets 409
    `document_upload_running`. While Dify indexes the document that the upload replaces, the upload waits for up to 15
    seconds, and then gets 409 `document_busy`; of a disabled document it takes the place.

    A name with question marks in place of letters, as RestTemplate sends it without a multipart charset, replaces no
    document: it gets a number.

    Upstream calls: 2: the document that is to be replaced is looked up first. 1 more for each look while Dify indexes
    it, and 1 if it is disabled, or if the kb has a name with question marks. The body is sent to Dify while it arrives
    and is never held in memory.
    """
    require_uncompressed(request)
    with limit_body_time(request):
        answer = raw_uploads.forward_upload(path_id("kb_id", kb_id), request)
    return Response(answer.body, status=answer.status, content_type=answer.content_type)


@blueprint.route(
    "/<kb_id>/documents/<doc_id>/segment/<action>",
    methods=["PATCH"],
    parameters=[in_path("kb_id"), in_path("doc_id"), in_path("action", enum=["disable", "enable"])],
)
@admin_required
@blueprint.arguments(schemas.SegmentSwitch, location="query")
@blueprint.response(200, schemas.ChunkSwitchAnswer)
@blueprint.raises(SWITCH_ERRORS)
def switch_segments(given: dict[str, Any], kb_id: str, doc_id: str, action: str) -> Response:
    """Enable or disable chunks: `chunk/switch` with the path of Dify's console.

    Upstream calls: with a console login 1 for each 50 chunks; without one, 1 for each chunk.
    """
    if action not in ("enable", "disable"):
        raise ValidationFailed(Sentence("action must be one of: enable, disable; it is '{action}'.", action=action))
    chunks.switch_chunks(path_id("kb_id", kb_id), path_id("doc_id", doc_id), given["segment_id"], action)
    return success("", f"Chunks {action} successful!")
