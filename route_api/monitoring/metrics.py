"""The metrics for Prometheus. Every label has a bounded set of values. Tokens are not counted one by one: the monitor
of running turns adds them once a second.

gunicorn's workers share the folder `PROMETHEUS_MULTIPROC_DIR`, which gunicorn.conf.py creates. Each worker writes its
own files there, and the worker that answers `/metrics` adds up all files. Without that variable a process reports only
its own numbers.
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

disable_created_metrics()  # A start time for each series would double the output, and differs between the workers.

IS_SHARED = "PROMETHEUS_MULTIPROC_DIR" in os.environ
"""Whether several workers share the metrics. prometheus_client reads the variable once, at import, and so do we."""

UNKNOWN_ROUTE = "unknown"
"""The label of all paths without a route. With the path itself as label, a scanner could create endless series."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD = "other"
DIFY_OUTCOMES = ("ok", "refused", "failed", "unreachable", "timeout")
"""In this order: status 2xx; status 4xx; any other status; no connection or a broken one; no answer in time."""

DIFY_CALL_KINDS = ("read", "write", "retrieval", "chat", "console", "file")
"""The kinds of calls to Dify that `dify/breaker.py` tells apart."""

STREAM_OUTCOMES = ("done", "paused", "stop_requested", "caller_left", "gateway_stopped", "failed")

REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
FIRST_TOKEN_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0, 120.0)

_REGISTRY = CollectorRegistry()
_requests = Counter(
    "route_api_requests",
    "Finished requests. With ERROR_HTTP_STATUS=200 the status label still has the real error status.",
    ["route", "method", "status"],
    registry=_REGISTRY,
)
_request_seconds = Histogram(
    "route_api_request_seconds",
    "Seconds from the head of a request to the last byte of its answer.",
    ["route"],
    buckets=REQUEST_BUCKETS_S,
    registry=_REGISTRY,
)
_dify_call_seconds = Histogram(
    "route_api_dify_call_seconds",
    "Seconds from a call to Dify until the head of Dify's answer, or until the call failed.",
    ["outcome"],
    buckets=REQUEST_BUCKETS_S,
    registry=_REGISTRY,
)
_dify_calls = {outcome: _dify_call_seconds.labels(outcome) for outcome in DIFY_OUTCOMES}
_dify_breaker_open = Gauge(
    "route_api_dify_breaker_open",
    "1 while a worker refuses calls of this kind, because Dify failed several times in a row.",
    ["kind"],
    multiprocess_mode="livemax",
    registry=_REGISTRY,
)
dify_breaker_open = {kind: _dify_breaker_open.labels(kind) for kind in DIFY_CALL_KINDS}
_dify_breaker_opened = Counter(
    "route_api_dify_breaker_opened",
    "How often the workers began to refuse calls of this kind.",
    ["kind"],
    registry=_REGISTRY,
)
dify_breaker_opened = {kind: _dify_breaker_opened.labels(kind) for kind in DIFY_CALL_KINDS}
_streams = Counter(
    "route_api_streams",
    "Finished streams, by how they ended. Every outcome but `done` and `paused` means that the stream ended early.",
    ["outcome"],
    registry=_REGISTRY,
)
_ended_streams = {outcome: _streams.labels(outcome) for outcome in STREAM_OUTCOMES}
_unstored = Counter(
    "route_api_store_failures",
    "Failed writes to the database: the progress of running answers, or a finished answer. Both are tried again.",
    ["what"],
    registry=_REGISTRY,
)

dead_letters = Counter(
    "route_api_dead_letters",
    "Answers that the database refuses to store. Each is a file in DEAD_LETTERS_DIR.",
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
    "Streamed pieces of answers, as Dify sends them: usually one token each. Updated once a second.",
    registry=_REGISTRY,
)
open_streams = Gauge(
    "route_api_open_streams",
    "Streams that are open now.",
    multiprocess_mode="livesum",
    registry=_REGISTRY,
)
running_turns = Gauge(
    "route_api_running_turns",
    "Turns that run now, streamed or not, and finished turns whose answer is not stored yet.",
    multiprocess_mode="livesum",
    registry=_REGISTRY,
)
unstored_progress = _unstored.labels("progress")
unstored_answers = _unstored.labels("answer")


@cache  # `labels` takes longer than the counting itself.
def _request_series(route: str, method: str, status: int) -> tuple[Counter, Histogram]:
    return _requests.labels(route, method, status), _request_seconds.labels(route)


def count_request(route: str | None, method: str, status: int, seconds: float) -> None:
    """Count a request that has ended.

    :param route: the URL rule of the request, such as `/kb/list`, never its path; None if no rule matched
    :param seconds: from the request's head to the last byte of the answer
    """
    counter, histogram = _request_series(route or UNKNOWN_ROUTE, method if method in METHODS else OTHER_METHOD, status)
    counter.inc()
    histogram.observe(seconds)


def count_dify_call(outcome: str, seconds: float) -> None:
    """Count a call to Dify that has ended or failed.

    :param outcome: one of `DIFY_OUTCOMES`
    """
    _dify_calls[outcome].observe(seconds)


def count_stream(outcome: str) -> None:
    """Count a stream that has ended.

    :param outcome: one of `STREAM_OUTCOMES`
    """
    _ended_streams[outcome].inc()


def exposition() -> bytes:
    """All metrics, in Prometheus' text format.

    :returns: the numbers of all workers together; of this process alone if the workers share no folder
    """
    if not IS_SHARED:
        return generate_latest(_REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return generate_latest(registry)
