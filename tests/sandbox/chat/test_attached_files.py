"""Files that end users upload and send with a question."""

import io
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from ...support.sandbox_chat import MODEL, Sandbox, Template

FILE_UPLOAD = {
    "enabled": True,
    "number_limits": 2,
    "allowed_file_types": ["image", "document"],
    "allowed_file_upload_methods": ["local_file", "remote_url"],
}
UNKNOWN = "00000000-0000-4000-8000-000000000000"


def upload(
    sandbox: Sandbox, key: str = "", name: str = "a.png", content: bytes = b"\x89PNG", **more: Any
) -> TestResponse:
    """Upload a file as alice."""
    form = {"file": (io.BytesIO(content), name, more.pop("mime_type", "image/png")), "user": "alice", **more}
    return sandbox.service("POST", "/files/upload", key, data=form)


def local(file_id: str, kind: str = "image") -> dict[str, str]:
    """An uploaded file as a question names it."""
    return {"type": kind, "transfer_method": "local_file", "upload_file_id": file_id}


def files_of(sandbox: Sandbox, key: str, conversation_id: str) -> list[dict[str, Any]]:
    """The files of the only message of a conversation."""
    query = {"conversation_id": conversation_id, "user": "alice"}
    (message,) = sandbox.service("GET", "/messages", key, query_string=query).json["data"]
    return message["message_files"]


def test_a_message_shows_its_files_and_the_app_can_get_them(sandbox: Sandbox) -> None:
    key = sandbox.make_app(file_upload=FILE_UPLOAD)[1]
    file = upload(sandbox, key, "图.png").json
    path = f"/files/{file['id']}/preview"
    refused = sandbox.service("GET", path, key)
    assert (refused.status_code, refused.json["code"]) == (404, "file_not_found")

    web = {"type": "document", "transfer_method": "remote_url", "url": "https://example.com/docs/b.pdf?v=1"}
    turn = sandbox.ask(key=key, files=[local(file["id"]), web])
    first, second = files_of(sandbox, key, turn["conversation_id"])
    assert (first["filename"], first["type"], first["size"], first["upload_file_id"]) == (
        "图.png",
        "image",
        4,
        file["id"],
    )
    assert (second["filename"], second["mime_type"], second["url"]) == ("b.pdf", "application/pdf", web["url"])
    assert {first["belongs_to"], second["belongs_to"]} == {"user"}
    assert sandbox.anonymous().get(first["url"]).data == b"\x89PNG"

    shown = sandbox.service("GET", path, key)
    assert (shown.data, shown.mimetype, shown.headers["Content-Length"]) == (b"\x89PNG", "image/png", "4")
    saved = sandbox.service("GET", path, key, query_string={"as_attachment": "true"})
    assert saved.headers["Content-Disposition"] == "attachment; filename*=UTF-8''%E5%9B%BE.png"
    other = sandbox.service("GET", path)
    assert (other.status_code, other.json["code"]) == (403, "file_access_denied")


def test_an_app_without_file_upload_ignores_files(sandbox: Sandbox) -> None:
    key = sandbox.make_app()[1]
    turn = sandbox.ask(key=key, files=[local(UNKNOWN), {"transfer_method": "nope"}])
    assert files_of(sandbox, key, turn["conversation_id"]) == []


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([local(UNKNOWN)], "Invalid upload file"),
        ([local("nope")], "Invalid upload file id format"),
        ([local("")], "Invalid upload file id"),
        ([{"type": "image", "transfer_method": "nope"}], "No matching enum found for value 'nope'"),
        ([local("<file>", "video")], "File validation failed for file: a.png"),
        ([local("<file>", "film")], "'film' is not a valid FileType"),
        ([local("<file>")] * 3, "Number of image files exceeds the maximum limit 2"),
        (["x"], "Input should be a valid dictionary"),
        ("x", "Input should be a valid list"),
    ],
    ids=lambda value: "" if isinstance(value, list) else str(value)[:40],
)
def test_a_file_that_the_app_does_not_take_is_refused_and_nothing_is_asked(
    sandbox: Sandbox, files: Any, message: str
) -> None:
    key = sandbox.make_app(file_upload=FILE_UPLOAD)[1]
    file_id = upload(sandbox, key).json["id"]
    if isinstance(files, list) and isinstance(files[0], dict):
        files = [{name: value.replace("<file>", file_id) for name, value in file.items()} for file in files]
    body = {"inputs": {}, "query": "x", "user": "alice", "files": files}
    answer = sandbox.service("POST", "/chat-messages", key, json=body)
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_param")
    assert message in answer.json["message"]
    assert sandbox.service("GET", "/conversations", key, query_string={"user": "alice"}).json["data"] == []


@pytest.mark.parametrize(("version", "status"), [("1.12.1", 200), ("1.16.1", 400)])
def test_since_1_16_only_the_user_who_uploaded_a_file_can_send_it(
    template: Template, tmp_path: Path, version: str, status: int
) -> None:
    sandbox = template.copy_to(tmp_path / "data", version)
    key = sandbox.make_app(file_upload=FILE_UPLOAD)[1]
    files = [local(upload(sandbox, key, user="bob").json["id"])]
    body = {"inputs": {}, "query": "x", "user": "alice", "files": files}
    assert sandbox.service("POST", "/chat-messages", key, json=body).status_code == status


@pytest.mark.parametrize(
    ("version", "kind", "name", "more", "status"),
    [
        ("1.12.1", "custom", "a.log", {}, 400),
        ("1.12.1", "custom", "a.log", {"allowed_file_extensions": [".log"]}, 200),
        ("1.12.1", "custom", "a.log", {"allowed_file_extensions": ["LOG"]}, 400),
        ("1.12.1", "audio", "a.mp3", {"allowed_file_types": ["custom"], "allowed_file_extensions": [".mp3"]}, 400),
        ("1.16.1", "custom", "a.log", {"allowed_file_extensions": [".log"]}, 400),
        ("1.16.1", "custom", "a.log", {"allowed_file_types": ["custom"], "allowed_file_extensions": ["LOG"]}, 200),
        ("1.16.1", "audio", "a.mp3", {"allowed_file_types": ["custom"], "allowed_file_extensions": [".mp3"]}, 200),
        ("1.16.1", "audio", "a.mp3", {"allowed_file_types": []}, 200),
    ],
)
def test_the_list_of_extensions_decides_of_custom_files(
    template: Template, tmp_path: Path, version: str, kind: str, name: str, more: dict[str, Any], status: int
) -> None:
    sandbox = template.copy_to(tmp_path / "data", version)
    key = sandbox.make_app(file_upload={**FILE_UPLOAD, **more})[1]
    files = [local(upload(sandbox, key, name).json["id"], kind)]
    body = {"inputs": {}, "query": "x", "user": "alice", "files": files}
    assert sandbox.service("POST", "/chat-messages", key, json=body).status_code == status


@pytest.mark.parametrize("wrong", [{"number_limits": "2"}, {"allowed_file_types": None}, {"allowed_file_types": [1]}])
def test_a_configuration_with_a_wrong_file_upload_is_refused(sandbox: Sandbox, wrong: dict[str, Any]) -> None:
    app_id = sandbox.make_app()[0]
    body = {"model": MODEL, "file_upload": {**FILE_UPLOAD, **wrong}}
    answer = sandbox.console("POST", f"/apps/{app_id}/model-config", json=body)
    assert (answer.status_code, "file_upload" in answer.json["message"]) == (400, True)


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        ({"user": "alice"}, 400, "no_file_uploaded"),
        (
            {"file": (io.BytesIO(b"x"), "a.txt", "text/plain"), "more": (io.BytesIO(b"x"), "b.txt")},
            400,
            "too_many_files",
        ),
        ({"file": (io.BytesIO(b"x"), "a/b.txt", "text/plain")}, 400, "invalid_param"),
        ({"file": (io.BytesIO(b"x" * (10 * 1024 * 1024 + 1)), "a.png", "image/png")}, 413, "file_too_large"),
        ({"file": (io.BytesIO(b"x"), "a.txt", "text/plain"), "user": "\0"}, 400, "invalid_param"),
    ],
    ids=["none", "two", "slash", "large", "user"],
)
def test_an_upload_that_dify_refuses_is_refused_and_nothing_is_kept(
    sandbox: Sandbox, form: dict[str, Any], status: int, code: str
) -> None:
    answer = sandbox.service("POST", "/files/upload", data=form)
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert list((sandbox.data_dir / "files").iterdir()) == []


def test_files_without_an_extension_and_of_every_type_are_taken(sandbox: Sandbox) -> None:
    for name, extension in (("Makefile", ""), ("a.exe", "exe"), ("表.XLSX", "xlsx")):
        answer = upload(sandbox, name=name, mime_type="application/octet-stream")
        assert (answer.status_code, answer.json["name"], answer.json["extension"]) == (201, name, extension)


def test_a_web_page_of_a_user_is_not_shown_in_the_browser_since_1_16(template: Template, tmp_path: Path) -> None:
    sandbox = template.copy_to(tmp_path / "data", "1.16.1")
    key = sandbox.make_app(file_upload=FILE_UPLOAD)[1]
    file_id = upload(sandbox, key, "a.html", b"<script>", mime_type="text/html").json["id"]
    sandbox.ask(key=key, files=[local(file_id, "document")])
    answer = sandbox.service("GET", f"/files/{file_id}/preview", key)
    assert (answer.mimetype, answer.headers["Content-Disposition"][:10]) == ("application/octet-stream", "attachment")
