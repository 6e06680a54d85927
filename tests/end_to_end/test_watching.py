"""Log, metrics and readiness of a gateway with two workers."""

import json
import re
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import requests

from ..support.patience import PATIENCE_S
from ..support.running_gateway import Gateway, wait_for

LISTS = 40


@pytest.fixture(scope="module")
def watched(worker_class: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with its own folder for temporary files."""
    data_dir = tmp_path_factory.mktemp("watched")
    (data_dir / "tmp").mkdir()
    running = Gateway(data_dir, WORKER_CLASS=worker_class, TMPDIR=str(data_dir / "tmp"))
    running.start()
    yield running
    assert running.stop() == 0
    assert counter_files(running) == []


def counter_files(gateway: Gateway) -> list[Path]:
    return sorted((gateway.data_dir / "tmp").glob("route-api-metrics-*/counter_*.db"))


def get(gateway: Gateway, path: str, **headers: str) -> requests.Response:
    """Send a request over a new connection, which either worker may accept."""
    return requests.get(f"http://127.0.0.1:{gateway.port}{path}", headers=headers, timeout=PATIENCE_S)


def metric(gateway: Gateway, series: str) -> float:
    text = get(gateway, "/metrics").text
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.M)
    assert found, f"{series} is not in:\n{text}"
    return float(found[1])


def log_of(gateway: Gateway) -> list[dict[str, Any]]:
    """The log lines of the gateway, its master and its workers. The lines of the sandbox have gunicorn's own format.
    Besides, `make serve` tells a person where to begin."""
    lines = gateway.log_path.read_text().splitlines()
    for_a_person = "No DIFY_BASE_URL is set|The sandbox searches by |Open http"
    strange = [line for line in lines if not re.match(rf'\{{"|\[\d{{4}}-|{for_a_person}', line)]
    assert strange == []
    return [json.loads(line) for line in lines if line.startswith("{")]


def lines_of(gateway: Gateway, request_id: str) -> list[dict[str, Any]]:
    return [line for line in log_of(gateway) if line["request_id"] == request_id]


def test_every_line_of_the_log_has_one_form(watched: Gateway) -> None:
    get(watched, "/kb/detail", **{"X-Request-Id": "seen-in-the-log"})
    wait_for(lambda: len(lines_of(watched, "seen-in-the-log")) == 2)
    assert [line["logger"] for line in lines_of(watched, "seen-in-the-log")] == [
        "route_api.envelope",
        "route_api.access",
    ]
    lines = log_of(watched)
    assert all({"time", "level", "logger", "request_id", "message"} <= line.keys() for line in lines)
    by_gunicorn = [line["message"] for line in lines if line["logger"] == "gunicorn.error"]
    assert [line for line in by_gunicorn if line.startswith("Starting gunicorn")]
    assert len([line for line in by_gunicorn if line.startswith("Booting worker")]) == 2


def test_gunicorns_own_refusals_are_in_the_form_as_well(watched: Gateway) -> None:
    connection = HTTPConnection("127.0.0.1", watched.port, timeout=PATIENCE_S)
    connection.putrequest("GET", "/healthz")
    connection.putheader("Bad header\x01", "x")
    connection.endheaders()
    assert connection.getresponse().status == 400
    connection.close()
    wait_for(lambda: any("Invalid request from" in line["message"] for line in log_of(watched)))


def test_whichever_worker_is_asked_counts_for_all(watched: Gateway) -> None:
    for _ in range(LISTS):
        assert get(watched, "/kb/list").status_code == 200
    assert len(counter_files(watched)) == 2
    series = 'route_api_requests_total{method="GET",route="/kb/list",status="200"}'
    wait_for(lambda: metric(watched, series) == LISTS)  # A request is counted when its answer was sent.
    assert {metric(watched, series) for _ in range(10)} == {LISTS}
    assert metric(watched, 'route_api_request_seconds_count{route="/kb/list"}') == LISTS


def test_a_killed_worker_has_nothing_open_and_what_it_counted_stays(watched: Gateway) -> None:
    counted = metric(watched, 'route_api_requests_total{method="GET",route="/healthz",status="200"}')
    body = {"user_id": "u-killed", "query": "[[len:200]][[delay:50]]长", "stream": True}
    answer = requests.post(f"{watched.base}/chat/chat", json=body, stream=True, timeout=PATIENCE_S)
    lines = answer.iter_lines()
    assert next(lines)
    assert metric(watched, "route_api_open_streams") == metric(watched, "route_api_running_turns") == 1
    wait_for(lambda: metric(watched, "route_api_stream_tokens_total") > 0)
    tokens = metric(watched, "route_api_stream_tokens_total")
    watched.kill_worker_of(answer)
    with pytest.raises(requests.RequestException):
        list(lines)
    wait_for(lambda: metric(watched, "route_api_open_streams") == 0)
    assert metric(watched, "route_api_running_turns") == 0
    assert metric(watched, "route_api_stream_tokens_total") >= tokens
    assert metric(watched, 'route_api_requests_total{method="GET",route="/healthz",status="200"}') >= counted


def test_a_gateway_that_serves_is_ready(watched: Gateway) -> None:
    assert watched.get("readyz")["data"] == {"database": "ok", "dify": "ok"}


def test_a_balancer_may_ask_for_heads_alone_on_a_connection_that_it_keeps(watched: Gateway) -> None:
    connection = HTTPConnection("127.0.0.1", watched.port, timeout=PATIENCE_S)
    for method in ("HEAD", "GET", "HEAD", "OPTIONS", "GET"):
        connection.request(method, "/healthz")
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (200, method == "GET")
    connection.close()
