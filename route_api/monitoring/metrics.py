"""What is counted, for Prometheus. Every label has a bounded set of values, and nothing is counted for each token.

gunicorn's workers share `PROMETHEUS_MULTIPROC_DIR`, which gunicorn.conf.py makes: each writes files of its own there,
and whichever is asked adds them all up. Without that variable a process counts for itself.
"""

import os
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

disable_created_metrics()  # When each series began: twice the size for a date that workers could not agree on.

IS_SHARED = "PROMETHEUS_MULTIPROC_DIR" in os.environ
"""Read once, as prometheus_client does."""

UNKNOWN_ROUTE = "unknown"
"""Of every path that is none of ours: a scanner must not make a series of each."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD = "other"
DIFY_OUTCOMES = ("ok", "refused", "failed", "unreachable", "timeout")
"""2xx, 4xx, any other status, no or a broken connection, no answer in time."""

STREAM_OUTCOMES = ("done", "stop_requested", "caller_left", "gateway_stopped", "failed")

REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
FIRST_TOKEN_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0, 120.0)

_REGISTRY = CollectorRegistry()
_requests = Counter(
    "route_api_requests",
    "Requests that have ended; the status is the meaningful one, also with ERROR_HTTP_STATUS=200.",
    ["route", "method", "status"],
    registry=_REGISTRY,
)
_request_seconds = Histogram(
    "route_api_request_seconds",
    "Seconds from the request's head to the last byte of its answer.",
    ["route"],
    buckets=REQUEST_BUCKETS_S,
    registry=_REGISTRY,
)
_dify_call_seconds = Histogram(
    "route_api_dify_call_seconds",
    "Seconds until the head of Dify's answer, or the failure, by outcome.",
    ["outcome"],
    buckets=REQUEST_BUCKETS_S,
    registry=_REGISTRY,
)
_dify_calls = {outcome: _dify_call_seconds.labels(outcome) for outcome in DIFY_OUTCOMES}
_streams = Counter(
    "route_api_streams",
    "Streamed answers that have ended, by how; all but `done` were aborted.",
    ["outcome"],
    registry=_REGISTRY,
)
_ended_streams = {outcome: _streams.labels(outcome) for outcome in STREAM_OUTCOMES}
_unstored = Counter(
    "route_api_store_failures",
    "Times that the database did not take the progress of running answers, or an answer; both are tried again.",
    ["what"],
    registry=_REGISTRY,
)

first_token_seconds = Histogram(
    "route_api_stream_first_token_seconds",
    "Seconds from a request for a stream to the first token of the answer.",
    buckets=FIRST_TOKEN_BUCKETS_S,
    registry=_REGISTRY,
)
stream_tokens = Counter(
    "route_api_stream_tokens",
    "Pieces of answers that were streamed, as Dify cuts them: mostly one token each. Added once a second.",
    registry=_REGISTRY,
)
open_streams = Gauge(
    "route_api_open_streams",
    "Streamed answers that are being written.",
    multiprocess_mode="livesum",
    registry=_REGISTRY,
)
running_turns = Gauge(
    "route_api_running_turns",
    "Turns that are being carried out, streamed or not, and those whose answer could not be stored yet.",
    multiprocess_mode="livesum",
    registry=_REGISTRY,
)
unstored_progress = _unstored.labels("progress")
unstored_answers = _unstored.labels("answer")


@cache  # Looking a label up costs more than counting.
def _of_request(route: str, method: str, status: int) -> tuple[Counter, Histogram]:
    return _requests.labels(route, method, status), _request_seconds.labels(route)


def count_request(route: str | None, method: str, status: int, seconds: float) -> None:
    """A request has ended.

    :param route: the rule that it matched, such as `/kb/list`, never its path; None for none
    """
    counter, histogram = _of_request(route or UNKNOWN_ROUTE, method if method in METHODS else OTHER_METHOD, status)
    counter.inc()
    histogram.observe(seconds)


def count_dify_call(outcome: str, seconds: float) -> None:
    """Dify has answered, or failed to.

    :param outcome: one of `DIFY_OUTCOMES`
    """
    _dify_calls[outcome].observe(seconds)


def count_stream(outcome: str) -> None:
    """A streamed answer has ended.

    :param outcome: one of `STREAM_OUTCOMES`
    """
    _ended_streams[outcome].inc()


def exposition() -> bytes:
    """Everything in Prometheus' text format, of all workers."""
    if not IS_SHARED:
        return generate_latest(_REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return generate_latest(registry)
