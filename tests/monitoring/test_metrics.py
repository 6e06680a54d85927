"""The metrics of one process. tests/end_to_end/test_watching.py tests several processes."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from requests import exceptions as network

from route_api.extensions import db
from route_api.monitoring.metrics import DIFY_OUTCOMES, STREAM_OUTCOMES
from route_api.storage.stop_requests import request_stop

from ..support.fake_dify import FakeDify
from ..support.talk import CHAT, ask, messages, without_variables

Counted = Callable[..., float]


def samples(client: FlaskClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    with client.get("/metrics") as answer:
        families = list(text_string_to_metric_families(answer.text))
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


@pytest.fixture
def counted(client: FlaskClient) -> Counted:
    """A function that returns the growth of a series during the test. Other tests count in the same process, too."""
    before = samples(client)

    def growth(name: str, **labels: str) -> float:
        series = (name, frozenset(labels.items()))
        return samples(client).get(series, 0.0) - before.get(series, 0.0)

    return growth


def test_metrics_are_in_prometheus_own_format(client: FlaskClient) -> None:
    answer = client.get("/v1/metrics")
    assert answer.status_code == 200 and answer.content_type.startswith("text/plain; version=")
    families = {family.name: family.type for family in text_string_to_metric_families(answer.text)}
    assert families == {
        "route_api_requests": "counter",
        "route_api_request_seconds": "histogram",
        "route_api_dify_call_seconds": "histogram",
        "route_api_dify_breaker_open": "gauge",
        "route_api_dify_breaker_opened": "counter",
        "route_api_streams": "counter",
        "route_api_stream_first_token_seconds": "histogram",
        "route_api_stream_tokens": "counter",
        "route_api_open_streams": "gauge",
        "route_api_running_turns": "gauge",
        "route_api_dead_letters": "counter",
        "route_api_store_failures": "counter",
    }


def test_every_outcome_is_there_before_it_happens(client: FlaskClient) -> None:
    """A series must exist before its first failure. Otherwise Prometheus' rate() misses this failure."""
    series = samples(client)
    assert {("route_api_dify_call_seconds_count", frozenset({("outcome", name)})) for name in DIFY_OUTCOMES} <= set(
        series
    )
    assert {("route_api_streams_total", frozenset({("outcome", name)})) for name in STREAM_OUTCOMES} <= set(series)


def test_a_request_is_counted_by_route_method_and_status(
    client: FlaskClient, any_dify: FakeDify, counted: Counted
) -> None:
    any_dify.play("datasets/list-default")
    client.get("/v1/kb/list", query_string={"page": 1, "page_size": 20}).close()
    client.get("/kb/detail").close()
    assert counted("route_api_requests_total", route="/kb/list", method="GET", status="200") == 1
    assert counted("route_api_requests_total", route="/kb/detail", method="GET", status="400") == 1
    assert counted("route_api_request_seconds_count", route="/kb/list") == 1
    assert counted("route_api_dify_call_seconds_count", outcome="ok") == 1


def test_no_caller_can_make_a_series_of_his_own(client: FlaskClient, counted: Counted) -> None:
    before = set(samples(client))
    for number in range(3):
        client.get(f"/wp-admin/{number}").close()
        client.open("/healthz", method=f"BREW{number}").close()
        client.get(f"/datasets/{number}/documents/{number}").close()
    assert counted("route_api_requests_total", route="unknown", method="GET", status="404") == 6
    assert counted("route_api_requests_total", route="unknown", method="other", status="405") == 3
    assert len(set(samples(client)) - before) <= 3 * 20


@pytest.mark.parametrize(
    ("failure", "outcome"), [(network.ConnectionError(), "unreachable"), (network.ReadTimeout(), "timeout")]
)
def test_a_call_that_dify_does_not_answer_is_counted(
    client: FlaskClient, any_dify: FakeDify, counted: Counted, failure: Exception, outcome: str
) -> None:
    any_dify.fail("GET", "/v1/datasets", failure)
    client.get("/kb/list").close()
    assert counted("route_api_dify_call_seconds_count", outcome=outcome) == 1


@pytest.mark.parametrize(("status", "outcome"), [(404, "refused"), (429, "refused"), (500, "failed"), (302, "failed")])
def test_what_dify_answers_is_counted_by_its_kind(
    client: FlaskClient, any_dify: FakeDify, counted: Counted, status: int, outcome: str
) -> None:
    any_dify.answer("GET", "/v1/datasets", {}, status)
    client.get("/kb/list").close()
    assert counted("route_api_dify_call_seconds_count", outcome=outcome) == 1


def test_a_stream_counts_its_tokens_and_is_open_while_it_runs(
    client: FlaskClient, any_dify: FakeDify, counted: Counted
) -> None:
    without_variables(any_dify)
    any_dify.play("chat/streaming-auto-generate-name-false")
    answer = ask(client, streaming=True)
    next(answer.response)
    assert (counted("route_api_open_streams"), counted("route_api_running_turns")) == (1, 1)
    # The first event was read above and is missing here; the last event, which is no piece, is counted instead.
    pieces = answer.data.count(b'"answer":')
    answer.close()
    assert (counted("route_api_open_streams"), counted("route_api_running_turns")) == (0, 0)
    assert counted("route_api_stream_tokens_total") == pieces > 10
    assert counted("route_api_stream_first_token_seconds_count") == 1
    assert counted("route_api_streams_total", outcome="done") == 1


def test_the_tokens_of_a_stream_are_counted_while_it_runs(
    app: Flask, client: FlaskClient, any_dify: FakeDify, counted: Counted
) -> None:
    without_variables(any_dify)
    any_dify.play("chat/streaming-auto-generate-name-false")
    answer = ask(client, streaming=True)
    for _ in range(3):
        next(answer.response)
    assert counted("route_api_stream_tokens_total") == 0
    app.extensions["route_api"].turn_monitor.poll()
    assert counted("route_api_stream_tokens_total") == 3
    assert answer.data
    answer.close()


def play_failing(dify: FakeDify) -> None:
    dify.play("chat/error-mid-stream")


def play_stopped(dify: FakeDify) -> None:
    dify.play("chat/streaming-stopped")


def play_left(dify: FakeDify) -> None:
    dify.play("chat/stop")
    dify.play("chat/streaming-stopped")


@pytest.mark.parametrize(
    ("play", "reads_all", "outcome"),
    [(play_failing, True, "failed"), (play_stopped, True, "stop_requested"), (play_left, False, "caller_left")],
)
def test_an_aborted_stream_is_counted_by_its_reason(
    app: Flask, client: FlaskClient, any_dify: FakeDify, counted: Counted, play: Any, reads_all: bool, outcome: str
) -> None:
    without_variables(any_dify)
    play(any_dify)
    answer = ask(client, streaming=True)
    next(answer.response)
    next(answer.response)
    if outcome == "stop_requested":
        with app.app_context():
            request_stop(db.engine, messages(app)[0].id)
    if reads_all:
        assert answer.data
    answer.close()
    assert counted("route_api_streams_total", outcome=outcome) == 1
    assert counted("route_api_open_streams") == 0


def test_a_turn_that_fails_before_its_first_word_is_no_stream(
    client: FlaskClient, any_dify: FakeDify, counted: Counted
) -> None:
    without_variables(any_dify)
    any_dify.fail("POST", CHAT, network.ConnectionError())
    ask(client, streaming=True).close()
    assert counted("route_api_running_turns") == 0
    assert [counted("route_api_streams_total", outcome=outcome) for outcome in STREAM_OUTCOMES] == [0.0] * 6


@pytest.mark.parametrize(("reads_all", "outcome"), [(True, "failed"), (False, "caller_left")])
def test_a_stream_of_named_events_counts_from_its_passages_on(
    client: FlaskClient, any_dify: FakeDify, counted: Counted, reads_all: bool, outcome: str
) -> None:
    without_variables(any_dify)
    if reads_all:
        any_dify.fail("POST", CHAT, network.ConnectionError())
    answer = ask(client, streaming=True, stream_mode="events")
    while not next(answer.response):
        continue
    if reads_all:
        assert b"event: error" in answer.data
    answer.close()
    assert counted("route_api_streams_total", outcome=outcome) == 1
    assert (counted("route_api_open_streams"), counted("route_api_running_turns")) == (0, 0)
