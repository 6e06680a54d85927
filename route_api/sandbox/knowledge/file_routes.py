"""The routes of uploaded files: the file behind a signed URL, and the limits of uploads."""

import hmac
import time
import uuid
from sqlite3 import Row
from urllib.parse import quote

from flask import Blueprint, Response, current_app, request, send_file

from ..access.console_session import require_console_session
from ..errors import SandboxError
from ..request_fields import RequestFields
from ..store import Store, current_store
from ..text.extraction import EXTENSIONS
from ..version import is_1_16
from .uploaded_files import URL_LIFETIME_S, _signature, file_path

NO_SCRIPTS = "sandbox"
"""With this policy a browser that opens an uploaded page runs no script with this server's cookies."""

blueprint = Blueprint("files", __name__)


@blueprint.get("/files/<uuid:file_id>/file-preview")
def preview_file(file_id: uuid.UUID) -> Response:
    """Send a file. The signature in the URL is the credential; no key is needed."""
    query = RequestFields("FilePreviewQuery", request.args)
    timestamp, nonce, sign = query.text("timestamp"), query.text("nonce"), query.text("sign")
    store = current_store()
    good = hmac.compare_digest(sign.encode(), _signature(store, str(file_id), timestamp, nonce).encode())
    row = _find_file(store, str(file_id))
    if not good or row is None or time.time() - int(timestamp) > URL_LIFETIME_S:
        raise SandboxError(404, "not_found", "File not found or signature is invalid")
    as_attachment = request.args.get("as_attachment") == "true"
    mime_type = "application/octet-stream" if as_attachment or is_1_16() else row["mime_type"]
    answer = send_file(file_path(store, row["id"]), mimetype=mime_type, conditional=True)
    answer.headers["Content-Security-Policy"] = NO_SCRIPTS
    if as_attachment:
        answer.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(row['name'], safe='')}"
    return answer


def _find_file(store: Store, file_id: str) -> Row | None:
    row = store.connection().execute("SELECT * FROM upload_file WHERE id = ?", (file_id,)).fetchone()
    return row if row is not None and file_path(store, file_id).exists() else None


@blueprint.get("/console/api/files/support-type")
@require_console_session
def supported_types() -> dict[str, list[str]]:
    """List the extensions that can be uploaded, in lower and upper case, as Dify does."""
    return {"allowed_extensions": [*EXTENSIONS, *(extension.upper() for extension in EXTENSIONS)]}


@blueprint.get("/console/api/files/upload")
@require_console_session
def upload_limits() -> dict[str, int]:
    """Show the limits of uploads, in MB. The sandbox enforces `file_size_limit` alone."""
    return {
        "file_size_limit": current_app.config["UPLOAD_LIMIT"] // (1024 * 1024),
        "batch_count_limit": 5,
        "file_upload_limit": 20,
        "image_file_size_limit": 10,
        "video_file_size_limit": 100,
        "audio_file_size_limit": 50,
        "workflow_file_upload_limit": 10,
        "image_file_batch_limit": 10,
        "single_chunk_attachment_limit": 10,
        "attachment_image_file_size_limit": 2,
    }
