"""newman runs QA's collection against a gateway: every request is sent, and every assertion holds."""

import json
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ..support import deployment
from ..support.collection_examples import form, saved_answers
from ..support.deployment import Deployment
from ..support.newman import COLLECTION, QUESTIONS, Json, folder_of, problems, replay, requests_of, require_newman
from ..support.running_gateway import Gateway, free_port

pytestmark = pytest.mark.server
read_collection: Json = json.loads(COLLECTION.read_text(encoding="utf-8"))
FOLDERS = [folder["name"] for folder in read_collection["item"]]
IS_IT_THERE, QUESTIONS_FROM_A_FILE = FOLDERS[0], FOLDERS[-1]
SERVICE_KEY = "a-service-key-of-the-qa-team"
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


@pytest.fixture(scope="module")
def empty_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway in which nothing was made before the collection."""
    running = Gateway(tmp_path_factory.mktemp("empty"), WORKERS="1")
    running.start()
    yield running
    running.stop()


def counts(gateway: Gateway) -> dict[str, int]:
    """How many kbs, documents and conversations there are, those of the gateway and those of its Dify."""
    kbs = gateway.get("kb/list", page_size=1000)["data"]
    rows = {}
    for name in ("gateway.sqlite3", "sandbox/sandbox.sqlite3"):
        with closing(sqlite3.connect(gateway.data_dir / name)) as connection:
            (rows[name],) = connection.execute("SELECT count(*) FROM conversation").fetchone()
    return {"kbs": kbs["total"], "documents": sum(kb["doc_num"] for kb in kbs["kbs"]), **rows}


@pytest.mark.parametrize("worker_class", ["gevent"], scope="session")
def test_every_request_is_green_and_answers_as_its_saved_answer_and_nothing_is_left_behind(
    gateway: Gateway, tmp_path: Path
) -> None:
    before = counts(gateway)
    report = replay(gateway.base, tmp_path, error_http_status="own")
    assert problems(report) == []
    statistics = report["run"]["stats"]
    assert statistics["requests"]["total"] >= 160 and statistics["assertions"]["total"] > 900
    assert all(counted["failed"] == counted["pending"] == 0 for counted in statistics.values())
    answers = {name: form(answer) for name, answer in saved_answers(report, gateway.base).items()}
    saved = {request["name"]: form(request["response"][0]) for request in requests_of(read_collection)}
    assert saved == answers, "make postman-examples saves these answers again"
    assert counts(gateway) == before


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_folder_runs_alone_and_leaves_nothing_behind(empty_gateway: Gateway, tmp_path: Path, folder: str) -> None:
    report = replay(empty_gateway.base, tmp_path, "--folder", folder, error_http_status="own")
    assert problems(report, folder) == []
    assert set(counts(empty_gateway).values()) == {0}


def test_the_questions_of_the_data_file_find_their_passages(empty_gateway: Gateway, tmp_path: Path) -> None:
    options = ("--folder", QUESTIONS_FROM_A_FILE, "--iteration-data", str(QUESTIONS))
    report = replay(empty_gateway.base, tmp_path, *options)
    assert problems(report, QUESTIONS_FROM_A_FILE) == []
    # 20 questions with 3 requests each; a kb with a text is made once, which is at least 4 requests.
    assert report["run"]["stats"]["iterations"]["total"] == 20
    assert 64 <= report["run"]["stats"]["requests"]["total"] < 80
    assert set(counts(empty_gateway).values()) == {0}


def test_every_request_is_green_where_errors_have_http_status_200(tmp_path: Path) -> None:
    running = Gateway(tmp_path, ERROR_HTTP_STATUS="200", WORKERS="1")
    running.start()
    try:
        (strict := tmp_path / "strict").mkdir()
        assert problems(replay(running.base, strict, error_http_status="200")) == []
        assert problems(replay(running.base, tmp_path, "--folder", FOLDERS[7]), FOLDERS[7]) == []
    finally:
        running.stop()


def test_a_failure_says_first_what_the_server_said(empty_gateway: Gateway, tmp_path: Path) -> None:
    report = replay(empty_gateway.base, tmp_path, "--folder", QUESTIONS_FROM_A_FILE, user_id="a" * 33)
    first = report["run"]["failures"][0]
    assert first["source"]["name"] == "Ask the question (按题问答)"
    expected = r"^HTTP 400, validation_failed: user_id .*32.* \(request id [0-9a-f]{32}\)$"
    assert re.match(expected, first["error"]["message"]), first["error"]["message"]
    assert counts(empty_gateway)["kbs"] == 0


@pytest.mark.parametrize("options", [(), ("--folder", QUESTIONS_FROM_A_FILE, "--iteration-data", str(QUESTIONS))])
def test_a_server_that_is_not_there_ends_the_run_after_one_request(tmp_path: Path, options: tuple[str, ...]) -> None:
    base = f"http://127.0.0.1:{free_port()}/v1"
    report = replay(base, tmp_path, *options)
    assert report["run"]["stats"]["requests"]["total"] == 1
    refused, said, *_ = [failure["error"]["message"] for failure in report["run"]["failures"]]
    assert "ECONNREFUSED" in refused
    assert said.startswith(f"Nothing answers at {base}. Start the gateway (make serve), or put its address into")


@pytest.mark.parametrize("worker_class", ["gthread"], scope="session")
def test_every_request_is_green_through_nginx_to_two_gateways(pair: Deployment, tmp_path: Path) -> None:
    """A service key is all that it takes."""
    trusting = ("--ssl-extra-ca-certs", str(pair.nginx.certificate))
    assert problems(replay(pair.base, tmp_path, *trusting, api_key=deployment.SERVICE_KEY)) == []


def test_without_a_service_key_the_run_ends_after_one_request(tmp_path: Path) -> None:
    running = Gateway(tmp_path, AUTH="required", API_KEYS=SERVICE_KEY, WORKERS="1")
    running.start()
    try:
        # The first requests of all other folders are alike: they create a kb.
        for folder, key, refused in (
            (IS_IT_THERE, "", "HTTP 401, credentials_missing: "),
            (IS_IT_THERE, "the-key-of-somebody-else", "HTTP 401, credentials_invalid: "),
            (FOLDERS[1], "the-key-of-somebody-else", "HTTP 403, forbidden: "),  # a registration may need no key
            (FOLDERS[2], "the-key-of-somebody-else", "HTTP 401, credentials_invalid: "),
        ):
            report = replay(running.base, tmp_path, "--folder", folder, api_key=key)
            assert report["run"]["stats"]["requests"]["total"] == 1, folder
            said = report["run"]["failures"][0]["error"]["message"]
            assert said.startswith(refused) and "Put a service key of this gateway" in said, said
    finally:
        running.stop()


def test_a_server_that_answers_wrongly_is_found_out(listener: ThreadingHTTPServer, tmp_path: Path) -> None:
    report = replay(f"http://127.0.0.1:{listener.server_port}/v1", tmp_path, "--folder", IS_IT_THERE)
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
    replay(base, tmp_path, "--folder", IS_IT_THERE, api_key=api_key)
    asked = [
        each for each in requests_of(folder_of(read_collection, IS_IT_THERE)) if each["request"]["method"] == "GET"
    ]
    assert listener.seen == [header] * len(asked)  # type: ignore[attr-defined]
