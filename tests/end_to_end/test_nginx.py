"""deploy/nginx.conf alone: the requests that it passes on or rejects, its own answers, and its retries."""

import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from route_api.schemas.chunk import QUESTION_LENGTH

from ..support.deployment import Nginx, program
from ..support.patience import PATIENCE_S
from ..support.running_gateway import free_port
from ..support.upstreams import Upstream

pytestmark = pytest.mark.server

MB = 1024 * 1024
LONG_LINE = 66_000
"""Characters: more than nginx's limit of 64 KiB for a line, but few enough that nginx reads all before it answers."""

ORIGIN = "https://app.example.com"


@contextmanager
def nginx_before(folder: Path, *ports: int, changes: dict[str, str] | None = None) -> Iterator[Nginx]:
    """nginx with these gateways."""
    nginx = Nginx(folder, list(ports), changes)
    nginx.start()
    try:
        yield nginx
    finally:
        nginx.stop()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """A gateway that answers every request, and records it."""
    with Upstream() as running:
        yield running


@pytest.fixture(scope="module")
def nginx(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """nginx with that gateway alone."""
    with nginx_before(tmp_path_factory.mktemp("nginx"), upstream.port) as running:
        yield running


def failure(answer: requests.Response, status: int) -> dict[str, Any]:
    """The body of nginx's own answer, which has the form of every failure of the API."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json; charset=utf-8")
    body = answer.json()
    assert (body["code"], body["data"]) == (-1, None)
    assert isinstance(body["elapsed_s"], float) and body["message"].endswith(".")
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert (answer.headers["Server"], answer.headers["Cache-Control"]) == ("nginx", "no-store")
    return dict(body)


def connect(nginx: Nginx) -> ssl.SSLSocket:
    """A plain TLS connection, for bytes that no client library would send."""
    context = ssl.create_default_context(cafile=nginx.certificate)
    plain = socket.create_connection(("127.0.0.1", nginx.port), timeout=PATIENCE_S)
    return context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_plain_http_is_sent_to_https(nginx: Nginx) -> None:
    answer = nginx.http.post(
        f"http://127.0.0.1:{nginx.http_port}/v1/kb/create", allow_redirects=False, timeout=PATIENCE_S
    )
    assert (answer.status_code, answer.headers["Location"]) == (308, "https://127.0.0.1/v1/kb/create")


def test_a_callers_own_words_about_who_he_is_do_not_reach_the_gateway(nginx: Nginx, upstream: Upstream) -> None:
    spoofed = {
        "X-Forwarded-For": "8.8.8.8",
        "X-Forwarded-Proto": "ftp",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "1",
        "X-Forwarded-Prefix": "/evil",
        "Forwarded": "for=8.8.8.8",
        "SCRIPT_NAME": "/evil",
    }
    nginx.http.get(f"{nginx.base}/kb/list", headers=spoofed, timeout=PATIENCE_S)
    _, _, headers, _ = upstream.requests[-1]
    assert (headers["X-Forwarded-For"], headers["X-Forwarded-Proto"]) == ("127.0.0.1", "https")
    assert headers["Host"] == "127.0.0.1"
    assert set(headers) & set(spoofed) == {"X-Forwarded-For", "X-Forwarded-Proto"}


def test_nginx_itself_speaks_the_callers_language(nginx: Nginx) -> None:
    in_chinese = {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}
    answer = nginx.http.get(f"{nginx.base}/metrics", headers=in_chinese, timeout=PATIENCE_S)
    assert (answer.json()["error"], answer.json()["message"]) == ("route_not_found", "本 API 没有该路径。")
    assert (answer.headers["Content-Language"], answer.headers["Vary"]) == ("zh", "Accept-Language")
    assert (
        nginx.http.get(f"{nginx.base}/metrics", timeout=PATIENCE_S).json()["message"]
        == "There is no such path in this API."
    )


def test_a_request_id_is_passed_on_and_logged_and_the_query_is_not(nginx: Nginx, upstream: Upstream) -> None:
    nginx.http.get(
        f"{nginx.base}/kb/list?user_id=alice", headers={"X-Request-Id": "from-the-caller.1"}, timeout=PATIENCE_S
    )
    assert upstream.requests[-1][2]["X-Request-Id"] == "from-the-caller.1"
    line = json.loads(nginx.logged("from-the-caller.1"))
    assert (line["path"], line["status"], line["gateway"]) == ("/v1/kb/list", "200", f"127.0.0.1:{upstream.port}")
    assert "alice" not in nginx.access_log.read_text()


@pytest.mark.parametrize("unusable", ["a b", '"', "x" * 65, "忧"])
def test_a_request_id_that_could_forge_a_log_line_is_replaced(nginx: Nginx, upstream: Upstream, unusable: str) -> None:
    nginx.http.get(f"{nginx.base}/kb/list", headers={"X-Request-Id": unusable.encode()}, timeout=PATIENCE_S)
    made = upstream.requests[-1][2]["X-Request-Id"]
    assert len(made) == 32 and int(made, 16)


@pytest.mark.parametrize(
    "path", ["/metrics", "/v1/metrics", "/metrics/", "//metrics", "/v1//metrics", "/v1/../metrics", "/%6detrics"]
)
def test_the_metrics_are_not_public(nginx: Nginx, upstream: Upstream, path: str) -> None:
    seen = len(upstream.requests)
    with connect(nginx) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 404 ") and b'"error":"route_not_found"' in answer
    assert len(upstream.requests) == seen


@pytest.mark.parametrize(("path", "megabytes"), [("kb/create", 5), ("document/upload", 601)])
def test_a_body_over_the_limit_is_refused_unread(nginx: Nginx, upstream: Upstream, path: str, megabytes: int) -> None:
    seen = len(upstream.requests)
    request = requests.Request("POST", f"{nginx.base}/{path}").prepare()
    request.headers["Content-Length"] = str(megabytes * MB)
    answer = nginx.http.send(request, timeout=PATIENCE_S)
    assert failure(answer, 413)["error"] == "request_too_large"
    assert len(upstream.requests) == seen


def test_a_body_within_the_limit_stays_in_memory(nginx: Nginx, upstream: Upstream) -> None:
    answer = nginx.http.post(f"{nginx.base}/kb/create", data=b"x" * (4 * MB), timeout=PATIENCE_S)
    assert answer.status_code == 200 and len(upstream.requests[-1][3]) == 4 * MB
    assert nginx.written_to_disk() == []


def test_a_slow_body_keeps_nginx_waiting_and_no_gateway(nginx: Nginx, upstream: Upstream) -> None:
    seen = len(upstream.requests)
    with connect(nginx) as connection:
        connection.sendall(b"POST /v1/kb/create HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 8\r\n\r\n{")
        time.sleep(0.5)
        assert len(upstream.requests) == seen
        connection.sendall(b'"a": 1}')
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert upstream.requests[-1][3] == b'{"a": 1}'


def test_headers_that_do_not_come_end_the_connection(nginx: Nginx) -> None:
    with connect(nginx) as connection:
        connection.sendall(b"GET /v1/kb/list HTTP/1.1\r\nHost: 127.")
        try:
            assert b" 200 " not in connection.recv(4096)
        except ConnectionResetError:
            return  # reset_timedout_connection


@pytest.mark.parametrize(
    ("sent", "status", "error"),
    [
        ("GET /v1/kb/list HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nno header\r\n\r\n", 400, "bad_request"),
        ("nonsense\r\n\r\n", 400, "bad_request"),
        ("GET /%zz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400, "bad_request"),
        (f"GET /v1/kb/list?keywords={'x' * LONG_LINE} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 414, "path_too_long"),
        (f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: {'x' * LONG_LINE}\r\n\r\n", 431, "headers_too_large"),
        ("POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "not_implemented"),
        ("GET / HTTP/3.0\r\nHost: 127.0.0.1\r\n\r\n", 505, "bad_request"),
        ("TRACE / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 405, "method_not_allowed"),
    ],
    ids=["no-header", "nonsense", "bad-escape", "long-address", "long-header", "coding", "version", "trace"],
)
def test_what_is_no_request_is_refused_in_the_envelope(nginx: Nginx, sent: str, status: int, error: str) -> None:
    with connect(nginx) as connection:
        connection.sendall(sent.encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ") and "application/json" in head, answer
    assert json.loads(body)["error"] == error


def test_plain_http_on_the_port_for_https_is_refused_in_the_envelope(nginx: Nginx) -> None:
    answer = nginx.http.get(f"http://127.0.0.1:{nginx.port}/v1/kb/list", timeout=PATIENCE_S)
    assert failure(answer, 400)["error"] == "bad_request"


@pytest.mark.parametrize("protocol", ["--http1.1", "--http2"])
def test_the_longest_question_reaches_the_gateway(nginx: Nginx, upstream: Upstream, protocol: str) -> None:
    path = f"/v1/chunk/retrieval_test?question={quote('😀' * QUESTION_LENGTH)}"
    command = [program("curl"), "-s", protocol, "--cacert", nginx.certificate, "-o", "/dev/null", "-w", "%{http_code}"]
    url = f"https://127.0.0.1:{nginx.port}{path}"
    done = subprocess.run([*command, url], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.stdout, upstream.requests[-1][1]) == ("200", path)


def test_a_page_of_a_named_origin_can_read_what_nginx_refuses(nginx: Nginx) -> None:
    for origin, allowed in ((ORIGIN, ORIGIN), ("https://evil.example.com", None)):
        answer = nginx.http.get(f"{nginx.base}/metrics", headers={"Origin": origin}, timeout=PATIENCE_S)
        assert failure(answer, 404)["error"] == "route_not_found"
        assert answer.headers.get("Access-Control-Allow-Origin") == allowed
        assert answer.headers.get("Access-Control-Expose-Headers") == (allowed and "Retry-After, X-Request-Id")


def test_a_flood_from_one_address_is_told_to_wait(tmp_path: Path) -> None:
    refused: list[requests.Response] = []

    def flood(nginx: Nginx) -> None:
        with nginx.client() as http:
            for _ in range(150):
                answer = http.get(f"{nginx.base}/kb/list", timeout=PATIENCE_S)
                if answer.status_code != 200:
                    refused.append(answer)

    # A slow machine cannot send 50 requests in a second. `burst` is the same.
    slower = {"rate=50r/s": "rate=1r/s"}
    with Upstream() as upstream, nginx_before(tmp_path, upstream.port, changes=slower) as nginx:
        threads = [threading.Thread(target=flood, args=(nginx,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(upstream.requests) >= 200
    assert refused and refused[0].headers["Retry-After"] == "1"
    assert failure(refused[0], 429)["error"] == "too_many_requests"


def test_without_a_gateway_the_answer_says_so(tmp_path: Path) -> None:
    with nginx_before(tmp_path, free_port(), free_port()) as nginx:
        answer = nginx.http.get(f"{nginx.base}/kb/list", headers={"X-Request-Id": "nobody-there"}, timeout=PATIENCE_S)
    body = failure(answer, 502)
    assert (body["error"], body["request_id"]) == ("gateway_unavailable", "nobody-there")
    assert answer.headers["Retry-After"] == "5"


@pytest.mark.parametrize("path", ["conversation/completion", "document/upload"])
def test_a_gateway_that_takes_no_connection_costs_nobody_a_request(tmp_path: Path, path: str) -> None:
    with Upstream() as upstream, nginx_before(tmp_path, free_port(), upstream.port) as nginx:
        for _ in range(10):
            assert nginx.http.post(f"{nginx.base}/{path}", json={}, timeout=PATIENCE_S).status_code == 200
    assert len(upstream.requests) == 10


def ask_while_one_breaks_off(folder: Path, method: str) -> tuple[list[int], int]:
    """Send four requests to two gateways, of which one closes every connection without an answer.

    :returns: the statuses, and the number of requests to both gateways together
    """
    with ExitStack() as running:
        broken = running.enter_context(Upstream(breaks_off=True))
        sound = running.enter_context(Upstream())
        nginx = running.enter_context(nginx_before(folder, broken.port, sound.port))
        statuses = [
            nginx.http.request(method, f"{nginx.base}/kb/list", timeout=PATIENCE_S).status_code for _ in range(4)
        ]
        asked = len(broken.requests) + len(sound.requests)
    assert broken.requests, "the broken gateway was never asked"
    return sorted(statuses), asked


def test_a_post_is_never_sent_twice(tmp_path: Path) -> None:
    statuses, asked = ask_while_one_breaks_off(tmp_path, "POST")
    assert asked == 4 and 502 in statuses and 200 in statuses


def test_a_get_that_breaks_off_is_asked_of_the_other_gateway(tmp_path: Path) -> None:
    statuses, asked = ask_while_one_breaks_off(tmp_path, "GET")
    assert statuses == [200] * 4 and asked > 4
