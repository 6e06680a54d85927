"""Attacks with raw bytes against a running gateway. docs/security.md lists all attacks.

The gateway has one worker process, so that an attack that blocks it would block every caller. test_nginx.py tests the
protection by nginx.
"""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from route_api.schemas.chunk import QUESTION_LENGTH

from ..support.patience import PATIENCE_S
from ..support.running_gateway import Gateway, wait_for

KEY, SECRET, PASSWORD = "e2e-service-key-of-the-backend", "e2e-what-signs-the-tokens", "e2e a long sentence"
BEARER = f"Authorization: Bearer {KEY}"
JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
ORIGIN = "https://app.example.com"
KB_ID = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"


@pytest.fixture(scope="module")
def target(worker_class: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that is exposed without a proxy, with a verbose log."""
    settings = {"AUTH": "required", "API_KEYS": KEY, "SECRET_KEY": SECRET, "REGISTRATION": "open", "RATE_LIMIT": "0"}
    more = {
        "WORKERS": "1",
        "LOG_LEVEL": "DEBUG",
        "LOG_FORMAT": "text",
        "UPLOADS_PER_CALLER": "2",
        "CORS_ORIGINS": ORIGIN,
    }
    gateway = Gateway(tmp_path_factory.mktemp("attacks"), WORKER_CLASS=worker_class, **settings, **more)
    gateway.start()
    gateway.http.headers["Authorization"] = f"Bearer {KEY}"
    yield gateway
    gateway.stop()


def head(*lines: str) -> bytes:
    """A request line and headers."""
    return "\r\n".join([lines[0] + " HTTP/1.1", "Host: x", *lines[1:], "", ""]).encode()


LAST = head("GET /the/last/one")
"""A request that follows an attack. The position of its answer shows how the gateway read the attack."""


def connect(gateway: Gateway) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_S)


def answers(gateway: Gateway, sent: bytes, *, until: bytes = b"/the/last/one", close: bool = False) -> list[int]:
    """Send bytes, and return the status of each answer until the connection is closed or `until` has arrived."""
    with connect(gateway) as connection:
        got = b""
        try:
            connection.sendall(sent)
            if close:
                connection.shutdown(socket.SHUT_WR)
            while until not in got and (piece := connection.recv(65536)):
                got += piece
        except (ConnectionResetError, BrokenPipeError):
            got += b"\n"  # If the server closes with unread bytes, the answer may be lost.
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", got)]


# ------------------------------------------------------------------ the end of a request


@pytest.mark.parametrize(
    "framing",
    [
        ("Content-Length: 5", CHUNKED),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: 5, 5",),
        ("Content-Length: -5",),
        ("Content-Length: +5",),
        ("Content-Length: 0x5",),
        ("Content-Length: 5 5",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: chunked, identity",),
        (CHUNKED, "Transfer-Encoding: identity"),
        ("Transfer-Encoding: \x0bchunked",),
        ("Transfer-Encoding : chunked",),
        ("Transfer-Encoding:\n chunked",),
        ("Content-Length: 5\nX: y",),
        ("X: y\r\n Content-Length: 5",),
        ("Host: y",),
    ],
    ids=", ".join,
)
def test_a_body_whose_end_is_a_matter_of_opinion_is_refused(target: Gateway, framing: tuple[str, ...]) -> None:
    """Request smuggling needs two servers that read a request differently, so every ambiguous request is rejected."""
    sent = head("POST /kb/rm", BEARER, JSON, *framing) + b"0\r\n\r\n" + LAST
    assert answers(target, sent) in ([400], [501])


@pytest.mark.parametrize(
    "chunks",
    [
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"0x2\r\n{}\r\n0\r\n\r\n",
        b"2;a=\n\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}xx0\r\n\r\n",
        b"\r\n\r\n",
    ]
    + [b"2 \r\n{}\r\n0\r\n\r\n", b"f" * 40 + b"\r\n{}\r\n", b"1" * 10_000, b"2\n{}\n0\n\n"],
)
def test_a_wrong_size_of_a_chunk_ends_the_connection(target: Gateway, chunks: bytes) -> None:
    sent = head("POST /user/login", JSON, CHUNKED) + chunks + LAST
    assert answers(target, sent, close=True) in ([400], [413])


def test_what_follows_a_body_is_a_request_with_a_check_of_its_own(target: Gateway) -> None:
    sent = head("POST /kb/rm", BEARER, JSON, "Content-Length: 2") + b"{}" + head("GET /kb/list") + LAST
    assert answers(target, sent) == [400, 401, 404]


@pytest.mark.parametrize("path", ["/kb/rm", "/nothing", "/user/login", "/healthz"])
def test_the_body_of_a_refused_request_is_never_taken_for_a_request(target: Gateway, path: str) -> None:
    hidden = head("GET /healthz", BEARER)
    sent = head(f"POST {path}", JSON, f"Content-Length: {len(hidden)}") + hidden + LAST
    assert answers(target, sent)[1:] == [404]


def test_credentials_that_come_after_the_body_count_for_nothing(target: Gateway) -> None:
    sent = head("POST /kb/rm", JSON, CHUNKED, "Trailer: Authorization") + f"2\r\n{{}}\r\n0\r\n{BEARER}\r\n\r\n".encode()
    assert answers(target, sent + LAST) in ([401, 400], [401, 404])
    twice = head("GET /kb/list", "Authorization: Bearer x", BEARER)
    assert answers(target, twice + LAST) == [401, 404]


def test_fifty_requests_in_one_breath_are_answered_in_their_order(target: Gateway) -> None:
    sent = b"".join(head(f"GET {path}") for path in ["/healthz", "/kb/list", "/nothing"] * 17) + LAST
    assert answers(target, sent) == [200, 401, 404] * 17 + [404]


# ------------------------------------------------------------------ headers


@pytest.mark.parametrize(
    "line",
    [
        "X-Request-Id: a\rb",
        "X-Request-Id: a\0b",
        "User-Agent: a\x1bb",
        "X\0: y",
        "X Y: z",
        ": y",
        "X-A\xb5: y",
        "no colon",
    ],
    ids=ascii,
)
def test_control_characters_in_a_header_are_refused(target: Gateway, line: str) -> None:
    sent = head("GET /kb/list", BEARER).replace(b"Host: x", b"Host: x\r\n" + line.encode("latin-1"))
    assert answers(target, sent) == [400]


@pytest.mark.parametrize(
    "sent",
    [
        head("GET /kb/list?" + "a" * 70_000),
        b"GET /" + b"a" * 3_000_000,
        head("GET /kb/list", "X: " + "a" * 9000),
        head("GET /kb/list", *(f"X{number}: a" for number in range(200))),
        head("GET /kb/list", "Cookie: " + "a" * 70_000),
    ],
    ids=["address", "address without an end", "header", "200 headers", "cookie"],
)
def test_a_head_without_measure_is_refused(target: Gateway, sent: bytes) -> None:
    assert answers(target, sent) in ([414], [431], [])


@pytest.mark.parametrize(
    ("sent", "status", "error"),
    [
        (b"GET /kb/list?keywords=\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad_request"),
        (head("GET /kb/list", "X: \x0b"), 400, "bad_request"),
        (head(f"GET /{'a' * 70_000}"), 414, "path_too_long"),
        (head("GET /kb/list", "Expect: <b>a miracle</b>"), 417, "expectation_failed"),
        (head("GET /kb/list", f"X: {'a' * 100_000}"), 431, "headers_too_large"),
        (head("POST /kb/list", "Transfer-Encoding: xchunked"), 501, "not_implemented"),
    ],
)
def test_what_gunicorn_itself_refuses_is_answered_in_the_envelope(
    target: Gateway, sent: bytes, status: int, error: str
) -> None:
    """gunicorn's own answers are HTML, and repeat what the caller sent."""
    with connect(target) as connection:
        connection.sendall(sent)
        answer = HTTPResponse(connection)
        answer.begin()
        body = json.loads(answer.read())
    assert (answer.status, answer.getheader("Content-Type")) == (status, "application/json; charset=utf-8")
    assert body.keys() == {"code", "data", "elapsed_s", "message", "error", "request_id"}
    assert (body["code"], body["data"], body["error"]) == (-1, None, error)
    assert "miracle" not in body["message"]
    assert answer.getheader("Access-Control-Allow-Origin") == ORIGIN
    assert "X-Request-Id" in answer.getheader("Access-Control-Expose-Headers", "")
    assert body["request_id"] == answer.getheader("X-Request-Id")
    wait_for(lambda: f"request {body['request_id']} got {status}" in target.log_path.read_text())


def test_the_longest_question_fits_into_the_query(target: Gateway) -> None:
    """An emoji takes 12 bytes in a query, and a question may have 4,000 of them. Dify knows no such kb."""
    query = f"kb_id={KB_ID}&question={quote('😀' * QUESTION_LENGTH)}"
    assert len(query) > 48_000
    assert answers(target, head(f"GET /chunk/retrieval_test?{query}", BEARER) + LAST) == [404, 404]
    too_long = f"kb_id={KB_ID}&question={quote('😀' * (QUESTION_LENGTH + 1))}"
    assert answers(target, head(f"GET /chunk/retrieval_test?{too_long}", BEARER) + LAST) == [400, 404]


@pytest.mark.parametrize(
    ("header", "path"),
    [
        ("PATH_INFO: /healthz", "/kb/list"),
        ("SCRIPT_NAME: /v1/kb/rm", "/v1/kb/rm/healthz"),
        ("SCRIPT_NAME: /kb", "/kb/list"),
        ("X-Original-URL: /healthz", "/kb/list"),
        ("X-Rewrite-URL: /healthz", "/kb/list"),
        ("X-Forwarded-Prefix: /healthz", "/kb/list"),
        ("REMOTE_USER: admin", "/kb/list"),
        ("X-Forwarded-User: admin", "/kb/list"),
    ],
)
def test_no_header_leads_to_another_path_or_is_a_login(target: Gateway, header: str, path: str) -> None:
    """gunicorn would accept the first three headers from a proxy on the same machine, such as nginx."""
    assert answers(target, head(f"GET {path}", header) + LAST) in ([401, 404], [404, 404])


@pytest.mark.parametrize("line", ["GET http://evil.example/kb/list", "GET //kb/list", "TRACE /kb/list"])
def test_odd_request_lines_get_nothing(target: Gateway, line: str) -> None:
    assert answers(target, head(line, "X-Secret: 1") + LAST)[0] in (401, 404, 405)


def test_a_question_about_the_whole_server_is_one_about_the_console_page(target: Gateway) -> None:
    assert answers(target, head("OPTIONS *", "X-Secret: 1") + LAST)[0] == 200


@pytest.mark.parametrize(
    "line", [b"GET /kb/list", b"GET /kb/list HTTP/2.0", b"PRI * HTTP/2.0", b"get /kb/list HTTP/1.1"]
)
def test_other_protocols_are_refused(target: Gateway, line: bytes) -> None:
    for sent in (line + b"\r\nHost: x\r\n\r\n", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + head("GET /kb/list")):
        assert answers(target, sent) == [400]


def test_no_answer_names_the_version_of_a_server(target: Gateway) -> None:
    for path in ("healthz", "nothing"):
        headers = target.http.get(f"{target.base}/{path}").headers
        assert not re.search(r"\d+\.\d+", headers.get("Server", "")) and "X-Powered-By" not in headers


# ------------------------------------------------------------------ slow callers


def test_those_who_dawdle_hold_up_nobody(target: Gateway) -> None:
    """Two hundred connections in one process: silent, or with half a head, half a body, or endless chunks."""
    slow = (
        b"",
        b"GET /kb/list HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        head("POST /user/login", JSON, "Content-Length: 100") + b"{",
        head("POST /user/login", JSON, CHUNKED) + b"1\r\n{\r\n",
        head("POST /kb/create", BEARER, JSON, "Content-Length: 100") + b"{",
    )
    with ExitStack() as opened:
        connections = [opened.enter_context(connect(target)) for _ in range(40 * len(slow))]
        for number, connection in enumerate(connections):
            connection.sendall(slow[number % len(slow)])
        assert target.http.get(f"{target.base}/healthz", timeout=PATIENCE_S).json()["data"] == "ok"
        assert target.get("kb/list")["code"] == 0
        body = {"user_id": "dawdled", "message": "葫芦庙在哪里？"}
        assert target.post("conversation/completion", **body)["data"]["status"] == "done"


def test_a_body_of_chunks_without_an_end_is_cut_where_it_is_too_long(target: Gateway) -> None:
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    assert answers(target, head("POST /user/login", JSON, CHUNKED) + chunk * 6, until=b"too_large") == [413]


def test_a_body_of_ten_terabytes_is_refused_before_it_comes(target: Gateway) -> None:
    for path in ("/user/login", "/document/upload"):
        sent = head(
            f"POST {path}", BEARER, "Content-Type: multipart/form-data; boundary=b", f"Content-Length: {10**13}"
        )
        assert answers(target, sent, until=b"too_large") == [413]


def test_an_upload_that_is_cut_off_is_given_up_at_once(target: Gateway) -> None:
    for path in ("/document/upload", f"/datasets/{KB_ID}/document/create_by_file"):
        multipart = "Content-Type: multipart/form-data; boundary=b"
        sent = head(f"POST {path}", BEARER, multipart, "Content-Length: 100000") + b"--b\r\n"
        assert answers(target, sent, close=True) == [400]


def test_uploads_that_never_end_take_only_so_many_places(target: Gateway) -> None:
    path = f"POST /datasets/{KB_ID}/document/create_by_file"
    sent = head(path, BEARER, "Content-Type: multipart/form-data; boundary=b", "Content-Length: 100000") + b"--b\r\n"
    status: list[int] = []
    with ExitStack() as held:
        deadline = time.monotonic() + PATIENCE_S
        while status != [429] and time.monotonic() < deadline:
            # The last test's upload, or our own short one, may still have a place, so two are not always enough.
            held.enter_context(connect(target)).sendall(sent)
            time.sleep(0.1)
            status = answers(target, sent, close=True)
        assert status == [429]


# ------------------------------------------------------------------ data of other users


def test_a_document_is_reached_through_its_own_kb_alone(target: Gateway, tmp_path: Path) -> None:
    path = tmp_path / "葫芦.txt"
    path.write_text("葫芦庙在仁清巷。", encoding="utf-8")
    mine, other = target.create_kb("mine"), target.create_kb("other")
    uploaded = target.upload(mine, path)
    target.wait_until_indexed(mine, uploaded["batch"])
    ids: dict[str, Any] = {"kb_id": other, "doc_id": uploaded["id"], "document_id": uploaded["id"]}
    for attack, more in (
        ("document/rm", {}),
        ("document/change_status", {"action": "disable"}),
        ("document/download", {}),
        ("document/get", {}),
        ("chunk/list", {}),
    ):
        answer = target.http.post(f"{target.base}/{attack}", json={**ids, **more})
        assert (answer.status_code, answer.json()["error"]) == (404, "document_not_found"), attack
    (row,) = target.get("document/list", kb_id=mine)["data"]["docs"]
    assert (row["id"], row["status"]) == (uploaded["id"], "1")
    for kb_id in (mine, other):
        target.post("kb/rm", kb_id=kb_id)


def test_of_many_who_register_a_name_at_once_one_wins(target: Gateway) -> None:
    codes: list[int] = []
    start = threading.Barrier(6)

    def register(number: int) -> None:
        start.wait(PATIENCE_S)
        user = {"username": "yinglian", "password": f"{PASSWORD} {number}"}
        codes.append(requests.post(f"{target.base}/user/register", json=user, timeout=PATIENCE_S).status_code)

    threads = [threading.Thread(target=register, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(codes) == [200] + [409] * 5


# ------------------------------------------------------------------ leaks


def test_gateway_and_sandbox_listen_on_loopback_alone(target: Gateway) -> None:
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    listening = [row[1] for row in rows if row[3] == "0A"]
    for port in (target.port, target.sandbox_port):
        assert [address for address in listening if address.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]


def test_the_log_of_all_this_has_no_secret_and_no_line_of_an_attackers(target: Gateway) -> None:
    forged = "2026-01-01 00:00:00,000 CRITICAL forged"
    for path in (f"/x%0a{forged}", f"/x%0d{forged}", f"/x%E2%80%A8{forged}", f"/x%C2%85{forged}"):
        answers(target, head("GET " + path.replace(" ", "%20")) + LAST)
    answers(target, f"GET /\n{forged}\n HTTP/1.1\r\n\r\n".encode())
    answers(target, head("GET /kb/list", f"X: y\n{forged}"))
    log = target.log_path.read_text()
    assert "/the/last/one" in log
    assert [line for line in log.splitlines() if line.startswith(forged)] == []
    secrets = [KEY, SECRET, PASSWORD, *re.findall(r"(?:dataset|app)-[\w-]{16,}", log)]
    assert [secret for secret in secrets if secret in log] == []
