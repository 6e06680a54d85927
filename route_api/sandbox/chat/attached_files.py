"""Files that come with a question: their checks, their table, and how messages show them.

The sandbox's models see text only. So an app that takes files keeps them with the message and shows them, and answers
as a Dify whose model has no vision. The rules are those of Dify's code (api/factories/file_factory.py).
"""

import mimetypes
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from sqlite3 import Connection, Row
from typing import Any
from urllib.parse import unquote, urlsplit

from ..apps.app_config import Config
from ..errors import SandboxError
from ..knowledge.uploaded_files import signed_url
from ..store import Store
from ..text.extraction import EXTENSIONS
from ..version import is_1_16

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "svg")
VIDEO_EXTENSIONS = ("mp4", "mov", "mpeg", "webm")
AUDIO_EXTENSIONS = ("mp3", "m4a", "wav", "amr", "mpga")
_TYPES = {"image": IMAGE_EXTENSIONS, "video": VIDEO_EXTENSIONS, "audio": AUDIO_EXTENSIONS, "document": EXTENSIONS}
_NUMBER_LIMIT = 3
"""The largest number of images if the configuration names none."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS message_file (
    id TEXT PRIMARY KEY,
    message_id TEXT NOT NULL REFERENCES message (id) ON DELETE CASCADE,
    type TEXT NOT NULL,
    transfer_method TEXT NOT NULL,
    url TEXT,
    upload_file_id TEXT,
    filename TEXT NOT NULL,
    mime_type TEXT NOT NULL,
    size INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS message_file_of_message ON message_file (message_id);
CREATE INDEX IF NOT EXISTS message_file_of_upload ON message_file (upload_file_id);
"""


@dataclass(frozen=True)
class AttachedFile:
    """A checked file of a question.

    :param transfer_method: `local_file` with an `upload_file_id`, or `remote_url` with a `url`
    :param size: in bytes; -1 if it is unknown
    """

    type: str
    transfer_method: str
    url: str | None
    upload_file_id: str | None
    filename: str
    mime_type: str
    size: int


def checked_files(store: Store, config: Config, sent: list[dict[str, Any]], end_user: str) -> tuple[AttachedFile, ...]:
    """Check the files of a question. An app whose file upload is off ignores them all, as Dify does.

    :param end_user: the id of the end user; since 1.16 a file can be sent by the user alone who uploaded it
    :raises SandboxError: 400, for a file that does not exist or that the app does not allow
    """
    settings = config["file_upload"]
    if not settings.get("enabled"):
        return ()
    files = [_checked_file(store, settings, item, end_user) for item in sent if _names_a_file(item)]
    limit = settings.get("number_limits", _NUMBER_LIMIT)
    if sum(file.type == "image" for file in files) > limit:
        raise _invalid(f"Number of image files exceeds the maximum limit {limit}")
    if settings.get("number_limits") and len(files) > limit:
        raise _invalid(f"Number of files exceeds the maximum limit {limit}")
    return tuple(files)


def _names_a_file(item: Mapping[str, Any]) -> bool:
    method = item.get("transfer_method")
    return bool(method) and (method != "remote_url" or bool(item.get("url") or item.get("remote_url")))


def _invalid(text: str) -> SandboxError:
    return SandboxError(400, "invalid_param", text)


def _checked_file(store: Store, settings: Mapping[str, Any], item: Mapping[str, Any], end_user: str) -> AttachedFile:
    method = item["transfer_method"]
    if method == "local_file":
        file = _local_file(store, item, end_user)
    elif method == "remote_url":
        file = _remote_file(item)
    else:
        raise _invalid(f"No matching enum found for value '{method}'")
    methods = settings.get("allowed_file_upload_methods")
    if not _is_allowed(settings, _sent_type(item), file.filename) or (methods and method not in methods):
        raise _invalid(f"File validation failed for file: {file.filename}")
    return file


def _is_allowed(settings: Mapping[str, Any], kind: str, filename: str) -> bool:
    """Whether the app takes files of this type; for `custom`, the list of extensions decides.

    1.12.1 takes the type `custom` in any case, and compares the extensions as they are written. 1.16.1 lets the list
    decide of types that are not allowed, too, if `custom` is allowed, and ignores dots and case.
    """
    types = settings.get("allowed_file_types") or []
    _, dot, end = filename.rpartition(".")
    extension, listed = dot + end if dot else "", settings.get("allowed_file_extensions") or []
    is_listed = extension in listed
    if is_1_16():
        is_listed = extension.lower().strip(".") in {name.lower().strip(".") for name in listed}
    is_type_allowed = not types or kind in types
    if kind == "custom":
        return is_listed and (is_type_allowed or not is_1_16())
    return is_type_allowed or (is_1_16() and "custom" in types and is_listed)


def _local_file(store: Store, item: Mapping[str, Any], end_user: str) -> AttachedFile:
    file_id = item.get("upload_file_id")
    if not file_id:
        raise _invalid("Invalid upload file id")
    try:
        file_id = str(uuid.UUID(str(file_id)))
    except ValueError as error:
        raise _invalid("Invalid upload file id format") from error
    row = store.connection().execute("SELECT * FROM upload_file WHERE id = ?", (file_id,)).fetchone()
    if row is None or (is_1_16() and row["created_by"] != end_user):
        raise _invalid("Invalid upload file")
    kind = _type_of(item, row["extension"], row["mime_type"])
    return AttachedFile(kind, "local_file", None, row["id"], row["name"], row["mime_type"], row["size"])


def _remote_file(item: Mapping[str, Any]) -> AttachedFile:
    """Take a file by its address. Dify asks that server for name, type and size; the sandbox asks nobody."""
    url = str(item.get("url") or item["remote_url"])
    name = unquote(urlsplit(url).path.rpartition("/")[2])
    mime_type = mimetypes.guess_type(name)[0] or ""
    name = name or f"{uuid.uuid4().hex}.bin"
    kind = _type_of(item, name.rpartition(".")[2].lower(), mime_type)
    return AttachedFile(kind, "remote_url", url, None, name, mime_type, -1)


def _sent_type(item: Mapping[str, Any]) -> str:
    return str(item.get("type") or "custom")


def _type_of(item: Mapping[str, Any], extension: str, mime_type: str) -> str:
    sent = _sent_type(item)
    if sent in _TYPES:
        return sent
    if sent != "custom":
        raise _invalid(f"{sent!r} is not a valid FileType")
    for kind, extensions in _TYPES.items():
        if extension in extensions:
            return kind
    main = mime_type.partition("/")[0]
    return {"image": "image", "video": "video", "audio": "audio", "text": "document"}.get(main, "custom")


def attach_files(connection: Connection, message_id: str, files: Iterable[AttachedFile]) -> None:
    """Write the files of a message, within the caller's transaction."""
    connection.executemany(
        "INSERT INTO message_file"
        " (id, message_id, type, transfer_method, url, upload_file_id, filename, mime_type, size)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                str(uuid.uuid4()),
                message_id,
                file.type,
                file.transfer_method,
                file.url,
                file.upload_file_id,
                file.filename,
                file.mime_type,
                file.size,
            )
            for file in files
        ),
    )


def message_files(store: Store, message_id: str) -> list[dict[str, Any]]:
    """Return the files of a message as Dify shows them."""
    rows = store.connection().execute("SELECT * FROM message_file WHERE message_id = ? ORDER BY rowid", (message_id,))
    return [_payload(store, row) for row in rows]


def _payload(store: Store, file: Row) -> dict[str, Any]:
    is_local = file["upload_file_id"] is not None
    return {
        "id": file["id"],
        "filename": file["filename"],
        "type": file["type"],
        "url": signed_url(store, file["upload_file_id"], as_attachment=False) if is_local else file["url"],
        "mime_type": file["mime_type"],
        "size": file["size"],
        "transfer_method": file["transfer_method"],
        "belongs_to": "user",
        "upload_file_id": file["upload_file_id"],
    }
