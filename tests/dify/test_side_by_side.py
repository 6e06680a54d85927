"""Independent calls of one request at the same time: results in order, one failure ends the rest, nothing is lost."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from route_api.dify import Dify, side_by_side
from route_api.dify.breaker import Breaker
from route_api.dify.side_by_side import MAX_AT_ONCE
from route_api.errors import DifyNotFound, DifyUnreachable, TooManyDifyCalls
from route_api.extensions import dify as current_dify
from route_api.monitoring import tracing

from ..support.dify_client import dify_client
from ..support.loopback import OK_BODY, answer, loopback
from ..support.patience import PATIENCE_S


@pytest.fixture(autouse=True)
def trace() -> Any:
    yield tracing.begin("request-1")
    tracing.end()


def test_the_results_come_in_the_order_of_the_calls() -> None:
    calls = [lambda number=number: (time.sleep(0.01 * (5 - number)), number)[1] for number in range(5)]
    assert side_by_side(*calls) == [0, 1, 2, 3, 4]
    assert side_by_side() == []


def test_no_more_than_a_few_run_at_once() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def call() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1

    side_by_side(*[call] * 12)
    assert most == MAX_AT_ONCE


def test_a_call_sees_the_application_and_the_request_of_its_caller(app: Flask, trace: tracing.Trace) -> None:
    seen: list[tuple[str, str]] = []
    all_run = threading.Barrier(2, timeout=PATIENCE_S)

    def call() -> None:
        all_run.wait()
        tracing.current().warn("a warning")
        seen.append((tracing.current().request_id, current_dify.transport.base_url))

    with app.app_context():
        side_by_side(call, call)
    assert len(seen) == 2 and len(set(seen)) == 1 and seen[0][0] == "request-1"
    assert trace.warnings == ["a warning"]


def test_the_first_failure_is_raised_and_what_has_not_begun_is_not_made() -> None:
    made: list[int] = []

    def fail() -> None:
        raise DifyNotFound("gone")

    def wait() -> None:
        made.append(1)
        time.sleep(0.05)

    with pytest.raises(DifyNotFound, match="gone"):
        side_by_side(*[wait] * (MAX_AT_ONCE - 1), fail, *[wait] * 50)
    assert len(made) < 10


def test_without_another_thread_the_caller_makes_all_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert side_by_side(lambda: 1, lambda: 2, lambda: 3) == [1, 2, 3]


def asks(dify: Dify) -> Callable[[], Any]:
    return lambda: dify.knowledge.get_dataset("d")


def test_an_interrupted_request_waits_for_none_of_its_calls(trace: tracing.Trace) -> None:
    asked, may_answer = threading.Semaphore(0), threading.Event()

    def serve(connection: Any, request: bytes) -> None:
        asked.release()
        may_answer.wait(PATIENCE_S)
        connection.sendall(answer(OK_BODY))

    def interrupt() -> None:
        for _ in range(3):
            asked.acquire(timeout=PATIENCE_S)
        trace.interrupt()

    with loopback(serve) as server:
        dify = dify_client(server.url)
        threading.Thread(target=interrupt, daemon=True).start()
        begun = time.monotonic()
        with pytest.raises(DifyUnreachable):
            side_by_side(*[asks(dify)] * 3)
        assert time.monotonic() - begun < PATIENCE_S
        with pytest.raises(DifyUnreachable):  # Nor are calls made for it afterwards.
            side_by_side(*[asks(dify)] * 3)
        may_answer.set()


def test_every_call_counts_and_the_wait_for_them_counts_once(trace: tracing.Trace) -> None:
    def serve(connection: Any, request: bytes) -> None:
        time.sleep(0.2)
        connection.sendall(answer(OK_BODY))

    with loopback(serve) as server:
        dify = dify_client(server.url)
        begun = time.monotonic()
        side_by_side(*[asks(dify)] * 3)
        took_s = time.monotonic() - begun
    assert trace.dify_calls == 3
    assert 0.2 <= trace.dify_s <= took_s


def test_a_call_that_finds_no_place_waits_for_the_other_calls_of_its_request() -> None:
    """DIFY_MAX_CALLS limits the calls, whichever thread makes them. A request that needs several gets on with one."""
    running, most, lock = 0, 0, threading.Lock()

    def serve(connection: Any, request: bytes) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        with lock:
            running -= 1
        connection.sendall(answer(OK_BODY))

    with loopback(serve) as server:
        breaker = Breaker(lambda: None, max_calls=1)
        dify = dify_client(server.url, breaker=breaker)
        assert len(side_by_side(*[asks(dify)] * 5)) == 5
        assert (most, breaker.running_calls) == (1, 0)


def test_a_request_that_finds_no_place_at_all_is_refused() -> None:
    def refuse() -> None:
        raise TooManyDifyCalls(1)

    with pytest.raises(TooManyDifyCalls):
        side_by_side(*[refuse] * 5)


def test_a_failure_in_another_thread_ends_the_wait_of_the_calling_one(trace: tracing.Trace) -> None:
    may_answer, asked, caller = threading.Event(), threading.Event(), threading.current_thread()

    def serve(connection: Any, request: bytes) -> None:
        asked.set()
        may_answer.wait(PATIENCE_S)
        connection.sendall(answer(OK_BODY))

    with loopback(serve) as server:
        ask = asks(dify_client(server.url))

        def ask_or_fail() -> Any:
            if threading.current_thread() is caller:
                return ask()
            asked.wait(PATIENCE_S)
            raise DifyNotFound("gone")

        begun = time.monotonic()
        with pytest.raises(DifyNotFound, match="gone"):
            side_by_side(ask_or_fail, ask_or_fail)
        assert time.monotonic() - begun < PATIENCE_S
        may_answer.set()
    assert not trace.is_interrupted  # The request may go on to ask Dify something else.
