"""Uploads in Dify's own form: what Dify gets is a form that it can read, and its own answer is passed on."""

import base64
import json
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from requests import PreparedRequest
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

from route_api.access.cross_origin import WARNINGS_HEADER

from ..support.fake_dify import Answer, FakeDify
from ..support.recordings import DIFY

KB_ID = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"
CREATE = f"/v1/datasets/{KB_ID}/document/create-by-file"
NAME = "水厂巡检记录.txt"
DATA = '{"indexing_technique": "high_quality", "process_rule": {"mode": "automatic"}}'


def play_no_document(dify: FakeDify) -> None:
    """The kb has no document whose place the file could take."""
    dify.mock.assert_all_requests_are_fired = False
    dify.answer("GET", f"/v1/datasets/{KB_ID}/documents", {"data": [], "total": 0})


class Received:
    """A Dify that takes every form. It reads the forms with werkzeug, as Dify does.

    :ivar forms: of each form that has come to its end, the fields and the files with their names, types and contents
    """

    def __init__(self, dify: FakeDify) -> None:
        self.dify = dify
        self.forms: list[tuple[dict[str, str], list[tuple[str, str, str, bytes]]]] = []
        self.names: list[str] = []
        dify.mock.assert_all_requests_are_fired = False
        dify.call_back("GET", f"/v1/datasets/{KB_ID}/documents", self._list)
        dify.call_back("POST", CREATE, self._create)

    def _list(self, request: PreparedRequest) -> Answer:
        rows = [{"id": name, "name": name} for name in self.names]
        return 200, {"X-Version": self.dify.version}, json.dumps({"data": rows, "total": len(rows)}).encode()

    def _create(self, request: PreparedRequest) -> Answer:
        body = b"".join(request.body)  # type: ignore[arg-type]
        mimetype, options = parse_options_header(request.headers["Content-Type"])
        assert "Content-Length" not in request.headers
        parsed = FormDataParser(silent=False).parse(BytesIO(body), mimetype, len(body), options)
        files = [(name, file.filename or "", file.mimetype, file.read()) for name, file in parsed[2].items(multi=True)]
        self.forms.append((parsed[1].to_dict(), files))
        return 200, {"X-Version": self.dify.version, "Content-Type": "application/json"}, b'{"as": "it is"}'


def form(*parts: tuple[bytes, bytes], end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for head, content in parts) + end


def file_part(filename: str | bytes, content: bytes = b"x", *headers: bytes) -> tuple[bytes, bytes]:
    name = filename if isinstance(filename, bytes) else f'filename="{filename}"'.encode()
    return b"\r\n".join([b'Content-Disposition: form-data; name="file"; ' + name, *headers]), content


DATA_PART = (b'Content-Disposition: form-data; name="data"', DATA.encode())


def send(client: FlaskClient, body: bytes, **options: Any) -> Any:
    options = {"content_type": "multipart/form-data; boundary=b", **options}
    return client.post(f"/v1/datasets/{KB_ID}/document/create_by_file", data=body, **options)


def test_the_java_backends_upload_is_passed_on_with_difys_own_answer(client: FlaskClient, dify: FakeDify) -> None:
    received = Received(dify)
    content = bytes(range(256)) * 2000
    answer = send(client, form(DATA_PART, file_part(NAME, content, b"Content-Type: text/plain")))
    assert (answer.status_code, answer.data) == (200, b'{"as": "it is"}')
    assert received.forms == [({"data": DATA}, [("file", NAME, "text/plain", content)])]
    assert WARNINGS_HEADER not in answer.headers


@pytest.mark.parametrize(
    "name",
    [
        'filename="=?UTF-8?B?5rC05Y6C5beh5qOA6K6w5b2VLnR4dA==?="',
        "filename*=UTF-8''%E6%B0%B4%E5%8E%82%E5%B7%A1%E6%A3%80%E8%AE%B0%E5%BD%95.txt",
        f'filename="C:\\巡检\\{NAME}"',
        f"filename={NAME}",
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_the_name_is_put_right_on_the_way(client: FlaskClient, any_dify: FakeDify, name: str, order: int) -> None:
    """RestTemplate sends the file before the other parts."""
    received = Received(any_dify)
    parts = [DATA_PART, file_part(name.encode(), b"y" * 200_000)][::order]
    answer = send(client, form(*parts))
    assert answer.status_code == 200, answer.text
    assert received.forms == [({"data": DATA}, [("file", NAME, "", b"y" * 200_000)])]


@pytest.mark.parametrize(
    ("name", "stored", "words"),
    [
        ('filename="????????.txt"', "________.txt", "question marks"),
        ('filename="a%22b:c.txt"', "a_b_c.txt", "characters that Dify does not store"),
        (f'filename="{"长" * 300}.txt"', "长" * 200 + ".txt", "304 characters"),
    ],
)
def test_warnings_are_in_a_header_because_the_body_is_difys(
    client: FlaskClient, dify: FakeDify, name: str, stored: str, words: str
) -> None:
    received = Received(dify)
    dify.mock.get(f"{DIFY}/v1/", json={}, headers={"X-Version": dify.version})
    answer = send(client, form(file_part(name.encode())))
    if dify.version == "1.16.1" and "长" not in name:  # It takes these characters.
        stored = parse_options_header(f"form-data; {name}")[1]["filename"]
    assert (answer.data, received.forms[0][1][0][1]) == (b'{"as": "it is"}', stored)
    if ":" in stored:
        assert WARNINGS_HEADER not in answer.headers
        return
    (warning,) = json.loads(answer.headers[WARNINGS_HEADER])
    assert words in warning


def test_a_name_of_question_marks_replaces_no_document(client: FlaskClient, any_dify: FakeDify) -> None:
    """RestTemplate without a multipart charset sends 水厂.txt and 报告.txt both as ??.txt."""
    received = Received(any_dify)
    received.names = ["??.txt"]
    any_dify.mock.get(f"{DIFY}/v1/", json={}, headers={"X-Version": any_dify.version})
    answer = send(client, form(file_part("??.txt"), DATA_PART))
    assert (answer.status_code, received.forms[0][1][0][1]) == (200, "??(1).txt")
    assert "replaces no document" in json.loads(answer.headers[WARNINGS_HEADER])[-1]


def test_a_gbk_name_is_read_and_the_caller_is_told(client: FlaskClient, dify: FakeDify) -> None:
    received = Received(dify)
    answer = send(client, form(file_part(f'filename="{NAME}"'.encode("gbk"))))
    assert received.forms[0][1][0][1] == NAME
    assert "GBK" in json.loads(answer.headers[WARNINGS_HEADER])[0]


def test_line_ends_and_transfer_encodings_are_put_right_too(client: FlaskClient, any_dify: FakeDify) -> None:
    received = Received(any_dify)
    content = bytes(range(256)) * 300
    encoded = file_part(NAME, base64.encodebytes(content), b"Content-Transfer-Encoding: base64")
    assert send(client, b"preamble\r\n" + form(encoded, DATA_PART) + b"epilogue").status_code == 200
    lf = b'--b\nContent-Disposition: form-data; name="file"; filename="a.txt"\n\nends with CR\r\n--b--\n'
    assert send(client, lf).status_code == 200
    assert [files[0][3] for _, files in received.forms] == [content, b"ends with CR\r"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (form(file_part("a.txt", b"half"), end=b""), "ends without its last line"),
        (form(DATA_PART, file_part("a.txt", b"x" * 300_000), end=b""), "ends without its last line"),
        (form(DATA_PART, end=b""), "ends without its last line"),
        (form(file_part("a.txt")) + form(DATA_PART), "parts after its last line"),
        (form(file_part("a.txt"), (b"Content-Type: text/plain", b"x")), "no header Content-Disposition"),
        (form((b'Content-Disposition: form-data; name="file"', b"x")), "The part file has no filename"),
        (form(file_part("a.txt"), DATA_PART, file_part("b.txt")), "has a second file"),
        (form(file_part("", b"x")), "file must have a name"),
        (form(file_part("/", b"x")), "file must have a name"),
        (b"x", "The body has no part"),
    ],
)
def test_a_form_that_cannot_be_read_is_refused_and_dify_gets_no_complete_form(
    client: FlaskClient, any_dify: FakeDify, body: bytes, words: str
) -> None:
    received = Received(any_dify)
    answer = send(client, body)
    assert (answer.status_code, answer.json["error"], received.forms) == (400, "validation_failed", [])
    assert words in answer.json["message"]


def test_a_content_type_without_a_boundary_is_told(client: FlaskClient, dify: FakeDify) -> None:
    received = Received(dify)
    answer = send(client, form(file_part("a.txt")), content_type="multipart/form-data")
    assert (answer.status_code, received.forms) == (400, [])
    assert "without a boundary" in answer.json["message"]


def test_fields_before_the_file_are_limited_because_they_are_held_in_memory(
    client: FlaskClient, dify: FakeDify
) -> None:
    received = Received(dify)
    large = (b'Content-Disposition: form-data; name="data"', b"x" * 300_000)
    assert send(client, form(large, file_part("a.txt"))).status_code == 200
    refused = send(client, form(large, large, file_part("a.txt")))
    assert (refused.status_code, refused.json["message"]) == (
        413,
        "The fields before the file have more than 500,000 bytes.",
    )
    assert len(received.forms) == 1


def test_difys_refusal_of_a_raw_upload_is_passed_on_too(client: FlaskClient, dify: FakeDify) -> None:
    play_no_document(dify)
    dify.play("documents/create-by-file-bad-extension", CREATE)
    data = {"data": "{}", "file": (BytesIO(b"x"), "a.exe")}
    answer = client.post(f"/datasets/{KB_ID}/document/create-by-file", data=data)
    assert (answer.status_code, answer.json) == (400, {"code": "invalid_param", "message": "", "status": 400})


def test_a_form_without_a_file_gets_difys_own_refusal(client: FlaskClient, dify: FakeDify) -> None:
    dify.play("documents/create-by-file-missing-file", CREATE)
    answer = send(client, form(DATA_PART))
    assert (answer.status_code, answer.json["code"]) == (400, "no_file_uploaded")


def test_a_wrong_key_is_never_the_java_backends_401(client: FlaskClient, dify: FakeDify) -> None:
    play_no_document(dify)
    dify.answer("POST", CREATE, {"code": "unauthorized", "message": "Access token is invalid"}, 401)
    answer = send(client, form(file_part("a.txt")))
    assert (answer.status_code, answer.json["error"]) == (502, "dify_auth_failed")
