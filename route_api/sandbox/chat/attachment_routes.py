"""The service API's routes for the files of end users: upload a file, and get one that a message of the app has."""

import uuid
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, current_app, g, request, send_file

from ..access.account_table import WORKSPACE_ID
from ..apps.app_access import require_app
from ..apps.end_user_table import end_user_id
from ..errors import SandboxError
from ..knowledge.file_routes import NO_SCRIPTS
from ..knowledge.uploaded_files import cleaned_name, file_path, insert_file, save_blocks, signed_url
from ..request_fields import RequestFields
from ..store import current_store
from ..version import is_1_16, since_1_16
from .attached_files import AUDIO_EXTENSIONS, IMAGE_EXTENSIONS, VIDEO_EXTENSIONS

LIMITS_MB = {
    **dict.fromkeys(IMAGE_EXTENSIONS, 10),
    **dict.fromkeys(VIDEO_EXTENSIONS, 100),
    **dict.fromkeys(AUDIO_EXTENSIONS, 50),
}
"""The largest size of a file by its extension. For all others the limit of documents holds."""
SEEKABLE = frozenset(
    [f"audio/{kind}" for kind in ("mpeg", "wav", "mp4", "ogg", "flac", "aac", "x-m4a")]
    + [f"video/{kind}" for kind in ("mp4", "webm", "quicktime")]
)
"""The types for which Dify tells that parts can be asked for."""
CACHE_S = 3600

blueprint = Blueprint("attachments", __name__)


@blueprint.post("/v1/files/upload")
@require_app("form")
def upload_file() -> tuple[dict[str, Any], int]:
    """Store the multipart part `file` for a later question; the status is 201. Files of each type are taken."""
    if "file" not in request.files:
        raise SandboxError(400, "no_file_uploaded", "Please upload your file.")
    if len(request.files) > 1:
        raise SandboxError(400, "too_many_files", "Only one file is allowed.")
    upload = request.files["file"]
    if not upload.mimetype:
        raise SandboxError(415, "unsupported_file_type", "File type not allowed.")
    if not upload.filename:
        raise SandboxError(400, "filename_not_exists_error", "The specified filename does not exist.")
    name, extension = cleaned_name(upload.filename)
    store = current_store()
    limit = LIMITS_MB[extension] * 1024 * 1024 if extension in LIMITS_MB else current_app.config["UPLOAD_LIMIT"]
    too_large = SandboxError(413, "file_too_large", "File size exceeded. {message}")  # The braces are Dify's.
    owner = end_user_id(g.app["id"], g.user)
    file = save_blocks(store, upload, name, extension, limit=limit, too_large=too_large, created_by=owner)
    with store.transaction() as connection:
        insert_file(connection, file)
    return {
        "id": file["id"],
        **since_1_16(reference=None),
        **{field: file[field] for field in ("name", "size", "extension", "mime_type", "created_by")},
        "created_at": int(file["created_at"]),
        "preview_url": None,
        "source_url": signed_url(store, file["id"], as_attachment=False),
        "original_url": None,
        "user_id": None,
        "tenant_id": WORKSPACE_ID,
        "conversation_id": None,
        "file_key": None,
    }, 201


@blueprint.get("/v1/files/<uuid:file_id>/preview")
@require_app("query")
def preview_file(file_id: uuid.UUID) -> Response:
    """Send a file that a message of the app has. Dify does not check the user, so neither does the sandbox."""
    as_attachment = RequestFields("FilePreviewQuery", request.args).boolean("as_attachment")
    store = current_store()
    apps = store.connection().execute(
        "SELECT app_id FROM message_file JOIN message ON message.id = message_id"
        " JOIN conversation ON conversation.id = conversation_id WHERE upload_file_id = ?",
        (str(file_id),),
    )
    app_ids = {row["app_id"] for row in apps}
    if not app_ids:
        raise SandboxError(404, "file_not_found", "File not found in message context")
    if g.app["id"] not in app_ids:
        raise SandboxError(403, "file_access_denied", "File access denied: not owned by requesting app")
    file = store.connection().execute("SELECT * FROM upload_file WHERE id = ?", (str(file_id),)).fetchone()
    if file is None:
        raise SandboxError(404, "file_not_found", "Upload file record not found")
    is_download = as_attachment or (is_1_16() and file["extension"] in ("html", "htm"))
    mime_type = "application/octet-stream" if is_download else file["mime_type"]
    answer = send_file(file_path(store, file["id"]), mimetype=mime_type)
    answer.headers["Content-Security-Policy"] = NO_SCRIPTS
    answer.headers["Cache-Control"] = f"public, max-age={CACHE_S}"
    if file["mime_type"] in SEEKABLE:
        answer.headers["Accept-Ranges"] = "bytes"
    if is_download:
        answer.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(file['name'])}"
    return answer
