"""Uploaded files: the bytes lie on disk under the file's id, signed URLs give access to them."""

import hashlib
import hmac
import secrets
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from flask import current_app
from werkzeug.datastructures import FileStorage

from ..access.account_table import account_id_and_name
from ..errors import SandboxError
from ..store import Store
from ..text.extraction import EXTENSIONS
from ..version import is_1_16

FORBIDDEN_IN_NAMES = frozenset('/\\:*?"<>|')
FORBIDDEN_IN_NAMES_1_16 = frozenset("/\\")
MAX_NAME = 200
"""The largest length of a name without its extension. A longer name is cut
(documents/create-by-file-very-long-name)."""
URL_LIFETIME_S = 300
COPY_BYTES = 1024 * 1024

SCHEMA = """
CREATE TABLE IF NOT EXISTS upload_file (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    extension TEXT NOT NULL,
    mime_type TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS signing_secret (only INTEGER PRIMARY KEY CHECK (only = 1), secret TEXT NOT NULL);
"""


def file_path(store: Store, file_id: str) -> Path:
    """Return the path of a file."""
    return store.files_dir / file_id


def save_upload(store: Store, upload: FileStorage) -> dict[str, Any]:
    """Save an uploaded file block by block. The caller writes its row (`insert_file`).

    :raises SandboxError: 400, for a wrong name, and, with an empty message, for a wrong extension or too many bytes
    """
    name, extension = checked_name(upload.filename or "")
    too_large = SandboxError(400, "invalid_param", "")
    return save_blocks(store, upload, name, extension, limit=current_app.config["UPLOAD_LIMIT"], too_large=too_large)


def save_blocks(
    store: Store,
    upload: FileStorage,
    name: str,
    extension: str,
    *,
    limit: int,
    too_large: SandboxError,
    created_by: str | None = None,
) -> dict[str, Any]:
    """Save an uploaded file under a checked name. The caller writes its row (`insert_file`).

    :param limit: the largest size in bytes; with more, `too_large` is raised and nothing is kept
    :param created_by: the id of the owner; None: the account
    """
    record = _new_record(store, name, extension, upload.mimetype or "application/octet-stream")
    if created_by is not None:
        record["created_by"] = created_by
    path = file_path(store, record["id"])
    try:
        with path.open("wb") as target:
            while block := upload.stream.read(COPY_BYTES):
                record["size"] += len(block)
                if record["size"] > limit:
                    raise too_large
                target.write(block)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return record


def save_text(store: Store, name: str, text: str) -> dict[str, Any]:
    """Save a text as a file, as Dify does in create-by-text. The caller writes its row (`insert_file`)."""
    record = _new_record(store, name, "txt", "text/plain")
    content = text.encode("utf-8", errors="replace")
    record["size"] = len(content)
    file_path(store, record["id"]).write_bytes(content)
    return record


def _new_record(store: Store, name: str, extension: str, mime_type: str) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "name": name,
        "size": 0,
        "extension": extension,
        "mime_type": mime_type,
        "created_by": account_id_and_name(store)[0],
        "created_at": time.time(),
    }


def insert_file(connection: Connection, record: dict[str, Any]) -> None:
    """Write a file's row, within the caller's transaction."""
    connection.execute(
        "INSERT INTO upload_file (id, name, size, extension, mime_type, created_by, created_at)"
        " VALUES (:id, :name, :size, :extension, :mime_type, :created_by, :created_at)",
        record,
    )


def delete_files(store: Store, file_ids: Iterable[str]) -> None:
    """Delete files that no document uses any more: their rows and their bytes."""
    for file_id in file_ids:
        store.connection().execute("DELETE FROM upload_file WHERE id = ?", (file_id,))
        file_path(store, file_id).unlink(missing_ok=True)


def checked_name(name: str) -> tuple[str, str]:
    """Check the name of a document's file.

    :returns: the name, cut if it is too long; the extension in lower case
    :raises SandboxError: 400 (documents/create-by-file-slash-in-name, create-by-file-bad-extension)
    """
    name, extension = cleaned_name(name)
    if extension not in EXTENSIONS:
        raise SandboxError(400, "invalid_param", "")
    return name, extension


def cleaned_name(name: str) -> tuple[str, str]:
    """Check the characters of a file's name, and cut it if it is too long.

    :returns: the name; the extension in lower case, "" if there is none
    :raises SandboxError: 400 (documents/create-by-file-slash-in-name)
    """
    if (FORBIDDEN_IN_NAMES_1_16 if is_1_16() else FORBIDDEN_IN_NAMES).intersection(name):
        raise SandboxError(400, "invalid_param", "Filename contains invalid characters")
    stem, dot, extension = name.rpartition(".")
    if not dot:
        return name[:MAX_NAME], ""
    return f"{stem[:MAX_NAME]}.{extension}", extension.lower()


def signed_url(store: Store, file_id: str, *, as_attachment: bool = True) -> str:
    """Make a relative URL with which anybody can download the file for `URL_LIFETIME_S` seconds."""
    timestamp, nonce = str(int(time.time())), secrets.token_hex(16)
    sign = _signature(store, file_id, timestamp, nonce)
    url = f"/files/{file_id}/file-preview?timestamp={timestamp}&nonce={nonce}&sign={sign}"
    return f"{url}&as_attachment=true" if as_attachment else url


def _signature(store: Store, file_id: str, timestamp: str, nonce: str) -> str:
    signed = f"file-preview|{file_id}|{timestamp}|{nonce}"
    return hmac.new(_signing_secret(store).encode(), signed.encode(), hashlib.sha256).hexdigest()


def _signing_secret(store: Store) -> str:
    """Return the secret that signs the URLs of this data folder. The first call creates it."""
    connection = store.connection()
    row = connection.execute("SELECT secret FROM signing_secret").fetchone()
    if row is None:
        connection.execute("INSERT OR IGNORE INTO signing_secret VALUES (1, ?)", (secrets.token_hex(32),))
        row = connection.execute("SELECT secret FROM signing_secret").fetchone()
    return str(row["secret"])
