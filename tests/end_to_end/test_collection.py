"""newman runs QA's collection against a gateway: every request is sent, and every assertion holds."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ..support import deployment
from ..support.deployment import Deployment
from ..support.newman import problems, replay, require_newman
from ..support.running_gateway import Gateway

pytestmark = pytest.mark.server
sandbox, pair = deployment.sandbox, deployment.pair


@pytest.fixture(autouse=True)
def newman() -> None:
    require_newman()


@pytest.fixture
def listener() -> Iterator[ThreadingHTTPServer]:
    """A server that is not Route API, and records the headers of its requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization"))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"code": 0, "data": "ok"}')

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    seen: list[str | None] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen = seen  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_request_of_the_collection_is_green(gateway: Gateway, tmp_path: Path) -> None:
    report = replay(gateway.base, tmp_path)
    assert problems(report) == []
    statistics = report["run"]["stats"]
    assert statistics["requests"]["total"] >= 80 and statistics["assertions"]["total"] > 300
    assert all(counted["failed"] == counted["pending"] == 0 for counted in statistics.values())


def test_every_request_is_green_through_nginx_to_two_gateways(pair: Deployment, tmp_path: Path) -> None:
    trusting = ("--ssl-extra-ca-certs", str(pair.nginx.certificate))
    assert problems(replay(pair.base, tmp_path, *trusting, api_key=deployment.SERVICE_KEY)) == []


def test_it_can_be_replayed_at_once_again_and_leaves_nothing_behind(gateway: Gateway, tmp_path: Path) -> None:
    before = gateway.get("kb/list")["data"]["total"]
    for turn in ("first", "second"):
        (folder := tmp_path / turn).mkdir()
        assert problems(replay(gateway.base, folder)) == []
    assert gateway.get("kb/list")["data"]["total"] == before


def test_a_service_key_is_all_that_it_takes_where_nobody_gets_in_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTH", "required")
    monkeypatch.setenv("API_KEYS", "a-service-key-of-the-qa-team")
    running = Gateway(tmp_path)
    running.start()
    try:
        (locked_out := tmp_path / "locked-out").mkdir()
        refused = problems(replay(running.base, locked_out, "--folder", "3 Knowledge base (知识库)"))
        assert any("to have status code 200 but got 401" in line for line in refused), refused
        assert problems(replay(running.base, tmp_path, api_key="a-service-key-of-the-qa-team")) == []
    finally:
        running.stop()


def test_a_server_that_answers_wrongly_is_found_out(listener: ThreadingHTTPServer, tmp_path: Path) -> None:
    report = replay(f"http://127.0.0.1:{listener.server_port}/v1", tmp_path, "--folder", "1 Is it there? (探活与文档)")
    failures = " ".join(line for line in problems(report) if "was not sent" not in line)
    for complaint in (
        "The OpenAPI document",
        "The API in a browser",
        "to contain keys",
        "expected undefined to be a string",
    ):
        assert complaint in failures, failures


@pytest.mark.parametrize(("api_key", "header"), [("", None), ("a-key-of-somebody", "Bearer a-key-of-somebody")])
def test_a_key_is_sent_as_a_bearer_where_the_environment_has_one(
    listener: ThreadingHTTPServer, tmp_path: Path, api_key: str, header: str | None
) -> None:
    base = f"http://127.0.0.1:{listener.server_port}/v1"
    replay(base, tmp_path, "--folder", "1 Is it there? (探活与文档)", api_key=api_key)
    assert listener.seen == [header] * 6  # type: ignore[attr-defined]
