"""Invalid parameters, made from the schemas, so that new parameters are tested too.

Each is refused in the envelope with a sentence that names the parameter. Dify is not called and nothing is stored.
"""

import gzip
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import orjson
import pytest
import responses
from flask import Flask
from flask.testing import FlaskClient
from marshmallow import fields
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from config import Config
from route_api.app import create_app
from route_api.extensions import db
from route_api.schemas import fields as own_fields
from route_api.storage.models import Conversation, Message, User

from .support.bad_values import KB_ID, Parameter, bad_values, describe, in_text, rest_of, short
from .support.gateway_client import GatewayClient
from .support.settings import OPEN

PARAMETERS = describe(create_app(Config.load(**OPEN, DATABASE_URL="sqlite://")))
JSON_ENDPOINTS = sorted({(parameter.path, parameter.method) for parameter in PARAMETERS if not parameter.is_form})
CASES = [(parameter, value) for parameter in PARAMETERS for value in bad_values(parameter.field)]


def takes_any_text(field: fields.Field[Any]) -> bool:
    return isinstance(field, own_fields.Text) and not isinstance(field, own_fields.Choice)


JSON_CASES = [(p, v) for p, v in CASES if not p.is_form]
TEXT_CASES = [(p, v) for p, v in CASES if in_text(v) and not (v == 1e30 and takes_any_text(p.field))]


@pytest.fixture(scope="module")
def bad_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """One application for all cases. A case that changes it fails."""
    folder = tmp_path_factory.mktemp("bad-input")
    app = create_app(Config.load(**OPEN, DATABASE_URL=f"sqlite:///{folder}/db", DOWNLOAD_ROOT=folder / "d"))
    app.test_client_class = GatewayClient
    with app.app_context():
        db.create_all()
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def client(bad_app: Flask) -> Iterator[FlaskClient]:
    """A client whose requests reach neither Dify nor the database."""
    with responses.RequestsMock() as nothing_upstream:
        yield bad_app.test_client()
        assert len(nothing_upstream.calls) == 0
    with bad_app.app_context():
        stored = [db.session.scalar(select(func.count()).select_from(table)) for table in (User, Conversation, Message)]
    assert stored == [0, 0, 0]


def assert_refused(answer: TestResponse, name: str, status: int = 400, error: str = "validation_failed") -> None:
    assert (answer.status_code, answer.json["code"], answer.json["data"]) == (status, -1, None), answer.text
    assert answer.json["error"] == error
    assert name in answer.json["message"].replace("[", " ").split() if name else answer.json["message"]
    assert len(answer.json["message"]) < 500


def send(client: FlaskClient, parameter: Parameter, values: dict[str, Any]) -> TestResponse:
    return client.open(parameter.path, method=parameter.method, json=values)


@pytest.mark.parametrize(
    ("parameter", "value"), JSON_CASES, ids=[f"{p.method} {p.path} {p.name}={short(v)}" for p, v in JSON_CASES]
)
def test_a_bad_value_in_json_is_refused(client: FlaskClient, parameter: Parameter, value: Any) -> None:
    answer = send(client, parameter, {**rest_of(parameter), parameter.name: value})
    assert_refused(answer, parameter.name)


@pytest.mark.parametrize(
    ("parameter", "value"), TEXT_CASES, ids=[f"{p.method} {p.path} {p.name}={short(v)}" for p, v in TEXT_CASES]
)
def test_a_bad_value_in_a_query_or_form_is_refused(client: FlaskClient, parameter: Parameter, value: Any) -> None:
    values = {**rest_of(parameter), parameter.name: value}
    if parameter.is_form:
        answer = client.post(parameter.path, data={**values, "file": (BytesIO(b"x"), "a.txt")})
    else:
        answer = client.open(parameter.path, method=parameter.method, query_string=values)
    assert_refused(answer, parameter.name)


REQUIRED = [parameter for parameter in PARAMETERS if parameter.field.required]


@pytest.mark.parametrize("parameter", REQUIRED, ids=lambda p: f"{p.method} {p.path} {p.name}")
def test_a_missing_parameter_is_named(client: FlaskClient, parameter: Parameter) -> None:
    if parameter.is_form:
        answer = client.post(parameter.path, data={"file": (BytesIO(b"x"), "a.txt")})
    else:
        answer = send(client, parameter, rest_of(parameter))
    assert_refused(answer, parameter.name)
    assert answer.json["message"] == f"{parameter.name} is required."


BODIES = {
    "no JSON": b"kb_id=1",
    "half a JSON": b'{"kb_id": ',
    "a list": b"[]",
    "a text": b'"kb_id"',
    "null": b"null",
    "a number": b"1",
    "no UTF-8": b'{"kb_id": "\xff\xfe"}',
    "NaN": b'{"kb_id": NaN}',
    "deep": b"[" * 100_000,
    "deep in an object": b'{"kb_id":' * 50_000,
    "lone surrogate": b'{"kb_id": "\\ud800"}',
    "NUL": b"\0",
}


@pytest.mark.parametrize(("path", "method"), JSON_ENDPOINTS)
def test_a_body_that_is_no_json_object_is_refused(client: FlaskClient, path: str, method: str) -> None:
    for body in BODIES.values():
        answer = client.open(path, method=method, data=body, content_type="application/json")
        assert_refused(answer, "")


@pytest.mark.parametrize(("path", "method"), JSON_ENDPOINTS)
def test_a_body_that_does_not_say_that_it_is_json_is_a_415(client: FlaskClient, path: str, method: str) -> None:
    body = orjson.dumps({"kb_id": KB_ID})
    for content_type in ("text/plain", None, "application/x-www-form-urlencoded"):
        answer = client.open(path, method=method, data=body, content_type=content_type)
        assert_refused(answer, "application/json.", 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/kb/list", "application/json"),
        ("/kb/list", "application/x-www-form-urlencoded"),
        ("/kb/list", "multipart/form-data; boundary=b"),
        ("/document/upload", "multipart/form-data; boundary=b"),
        (f"/datasets/{KB_ID}/document/create_by_file", "multipart/form-data; boundary=b"),
    ],
)
def test_a_compressed_body_is_told_as_such(client: FlaskClient, path: str, content_type: str) -> None:
    headers = {"Content-Encoding": "gzip"}
    answer = client.post(path, data=gzip.compress(b"{}"), content_type=content_type, headers=headers)
    assert_refused(answer, "compressed", 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type", ["application/json", "multipart/mixed; boundary=b", "application/x-www-form-urlencoded", "", None]
)
def test_files_in_another_body_than_a_form_are_told_as_such(client: FlaskClient, content_type: str | None) -> None:
    answer = client.post("/document/upload", data=b"x", content_type=content_type)
    shown = (content_type or "").partition(";")[0]
    assert_refused(answer, f"'{shown}'.", 415, "unsupported_media_type")


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_longer_than_anything_we_take_is_a_413(client: FlaskClient, announced: bool) -> None:
    body = orjson.dumps({"user_id": "alice", "message": "?", "more": "x" * 4 * 1024 * 1024})
    given: dict[str, Any] = {"data": body} if announced else {"input_stream": BytesIO(body)}
    chunked = {} if announced else {"headers": {"Transfer-Encoding": "chunked"}}
    terminated = {"environ_overrides": {"wsgi.input_terminated": True}}
    answer = client.post("/conversation/completion", content_type="application/json", **given, **chunked, **terminated)
    assert_refused(answer, "", 413, "request_too_large")


@pytest.mark.parametrize("path", ["/conversation/completion", "/conversation/completion_db", "/chat/chat"])
@pytest.mark.parametrize("unsupported", [{"temperature": 0.5}, {"max_tokens": 77}, {"model_name": "other"}])
def test_a_parameter_that_needs_a_console_login_is_refused_without_one_and_not_ignored(
    client: FlaskClient, path: str, unsupported: dict[str, Any]
) -> None:
    answer = client.post(path, json={"user_id": "alice", "message": "?", **unsupported})
    assert_refused(answer, next(iter(unsupported)), error="not_supported")
    assert "DIFY_CONSOLE_EMAIL" in answer.json["message"]


def test_an_unknown_prompt_is_refused_with_the_names_that_there_are(client: FlaskClient) -> None:
    answer = client.post("/chat/chat", json={"user_id": "alice", "message": "?", "prompt_name": "nope"})
    assert_refused(answer, "prompt_name")
    assert "default" in answer.json["message"]


def test_an_overlap_as_long_as_the_chunk_is_refused(client: FlaskClient) -> None:
    form = {"kb_id": KB_ID, "max_tokens": 100, "chunk_overlap": 100, "file": (BytesIO(b"x"), "a.txt")}
    assert_refused(client.post("/document/upload", data=form), "chunk_overlap")


@pytest.mark.parametrize("batch", ["../../datasets", "a b", "a/b", "%2e%2e", "a?b", "批次\u2028"])
def test_a_batch_that_would_change_the_path_is_refused(client: FlaskClient, batch: str) -> None:
    assert_refused(client.post("/document/status", json={"kb_id": KB_ID, "batch": batch}), "batch")


@pytest.mark.parametrize("action", ["explode", "ENABLE", "enable%00", "un_archive"])
def test_an_unknown_action_in_a_path_is_refused(client: FlaskClient, action: str) -> None:
    path = f"/datasets/{KB_ID}/documents/{KB_ID}/segment/{action}"
    assert_refused(client.patch(path, query_string={"segment_id": KB_ID}), "action")


@pytest.mark.parametrize("wrong", ["nope", "%00", KB_ID + "0", "%e7%ba%a2"])
def test_a_wrong_id_in_a_path_is_named(client: FlaskClient, wrong: str) -> None:
    ids = {"segment_id": KB_ID}
    path = f"/datasets/{wrong}/documents/{KB_ID}/segment/disable"
    assert_refused(client.patch(path, query_string=ids), "kb_id")
    path = f"/datasets/{KB_ID}/documents/{wrong}/segment/disable"
    assert_refused(client.patch(path, query_string=ids), "doc_id")
    form = {"data": "{}", "file": (BytesIO(b"x"), "a.txt")}
    assert_refused(client.post(f"/datasets/{wrong}/document/create_by_file", data=form), "kb_id")


def test_a_raw_upload_must_be_a_form(client: FlaskClient) -> None:
    assert_refused(client.post(f"/datasets/{KB_ID}/document/create_by_file", json={}), "multipart/form-data")


MULTIPART = "multipart/form-data; boundary=b"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", MULTIPART),
        (b"no form at all", MULTIPART),
        (b"--b\r\nContent-Disposition: form-data", MULTIPART),
        (b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nno filename\r\n--b--\r\n', MULTIPART),
        (b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\ncut off', MULTIPART),
        (b"", "multipart/form-data"),
        (b"x", "multipart/form-data"),
    ],
)
def test_an_upload_that_is_no_whole_form_is_refused(client: FlaskClient, body: bytes, content_type: str) -> None:
    answer = client.post("/document/upload", data=body, content_type=content_type)
    assert_refused(answer, "")


@pytest.mark.parametrize("parts", [{f"field{number}": "x" for number in range(1200)}, {"kb_id": "x" * 600_000}])
def test_a_form_of_too_many_or_too_long_fields_is_a_413(client: FlaskClient, parts: dict[str, str]) -> None:
    answer = client.post("/document/upload", data={**parts, "file": (BytesIO(b"x"), "a.txt")})
    assert_refused(answer, "", 413, "request_too_large")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"kb_id": "%b"}' % KB_ID.encode(), "application/json"),
        (b"kb_id=" + KB_ID.encode(), "application/x-www-form-urlencoded"),
        (b"\xff\xfe", "application/octet-stream"),
    ],
)
def test_an_upload_in_another_body_is_told_what_it_should_be(
    client: FlaskClient, body: bytes, content_type: str
) -> None:
    answer = client.post("/document/upload", data=body, content_type=content_type)
    assert_refused(answer, "multipart/form-data;", 415, "unsupported_media_type")


def test_an_upload_of_too_many_files_is_refused(client: FlaskClient) -> None:
    files = [(BytesIO(b"x"), f"{number}.txt") for number in range(101)]
    assert_refused(client.post("/document/upload", data={"kb_id": KB_ID, "file": files}), "file")


@pytest.mark.parametrize("name", ["a\nb.txt", "folder/", "..", "   "])
def test_a_file_without_a_name_is_refused(client: FlaskClient, name: str) -> None:
    answer = client.post("/document/upload", data={"kb_id": KB_ID, "file": (BytesIO(b"x"), name)})
    assert_refused(answer, "")


@pytest.mark.parametrize("folder", ["..", "../..", "/etc", "a/../../b", "a\\..\\..\\b/../../x", "~/../../x"])
def test_a_download_folder_outside_of_the_root_is_refused(client: FlaskClient, bad_app: Flask, folder: str) -> None:
    given = {"kb_id": KB_ID, "document_id": KB_ID, "download_dir": folder}
    assert_refused(client.get("/document/get", query_string=given), "download_dir")
