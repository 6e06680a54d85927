"""The cache of Dify's answers about its apps: callers who ask together, and old answers while Dify is away."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from route_api.chat import dify_cache as cache_module
from route_api.chat.dify_cache import CACHE_LIFETIME_S, REFRESH_PAUSE_S, DifyCache
from route_api.errors import DifyAuthFailed, DifyTimeout, DifyUnreachable
from route_api.monitoring import tracing

from ..support.patience import PATIENCE_S

KEY = ("variables", None)


class Asked:
    """Stands in for a call to Dify. It waits until the test lets it go on."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.calls = 0
        self.may_answer = threading.Event()

    def __call__(self) -> Any:
        self.calls += 1
        assert self.may_answer.wait(PATIENCE_S)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def answers(self, result: Any) -> "Asked":
        self.result = result
        self.may_answer.set()
        return self


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time of the cache. A test moves it on."""
    time_of_cache = SimpleNamespace(offset=0.0)
    monkeypatch.setattr(cache_module, "monotonic", lambda: time.monotonic() + time_of_cache.offset)
    return time_of_cache


@pytest.fixture
def trace() -> Iterator[tracing.Trace]:
    yield tracing.begin("a-request")
    tracing.end()


def filled(answer: Any = "old") -> DifyCache:
    cache = DifyCache()
    cache.get(KEY, lambda: answer)
    return cache


def outcome(cache: DifyCache, ask: Any) -> Any:
    try:
        return cache.get(KEY, ask)
    except Exception as error:
        return error


def test_a_hundred_callers_at_a_cold_start_make_one_call_and_get_its_answer() -> None:
    cache, ask = DifyCache(), Asked("the variables")
    with ThreadPoolExecutor(100) as pool:
        callers = [pool.submit(cache.get, KEY, ask) for _ in range(100)]
        time.sleep(0.2)
        ask.may_answer.set()
        assert [caller.result(60) for caller in callers] == ["the variables"] * 100
    assert ask.calls == 1


def test_a_failure_is_shared_by_those_who_waited_and_the_next_caller_asks_again() -> None:
    cache, ask = DifyCache(), Asked(DifyTimeout("Dify did not answer in time."))
    with ThreadPoolExecutor(20) as pool:
        callers = [pool.submit(outcome, cache, ask) for _ in range(20)]
        time.sleep(0.2)
        ask.may_answer.set()
        assert [type(caller.result(60)) for caller in callers] == [DifyTimeout] * 20
    assert ask.calls == 1
    assert cache.get(KEY, ask.answers("now")) == "now" and ask.calls == 2


def test_different_facts_do_not_wait_for_each_other() -> None:
    cache, ask = DifyCache(), Asked("slow")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(cache.get, ("models",), ask)
        assert cache.get(KEY, lambda: "quick") == "quick"
        ask.may_answer.set()
        assert slow.result(60) == "slow"


def test_if_the_caller_who_asks_leaves_another_one_asks() -> None:
    cache, first, second = DifyCache(), Asked(DifyUnreachable("interrupted")), Asked("answer")

    def leave() -> Any:
        trace = tracing.begin("leaves")
        trace.is_interrupted = True
        return outcome(cache, first)

    with ThreadPoolExecutor(2) as pool:
        leaver = pool.submit(leave)
        while not first.calls:
            time.sleep(0.01)
        waiter = pool.submit(cache.get, KEY, second.answers("answer"))
        time.sleep(0.1)
        first.may_answer.set()
        assert type(leaver.result(60)) is DifyUnreachable
        assert waiter.result(60) == "answer"


def test_a_caller_who_waits_and_leaves_does_not_wait_on(trace: tracing.Trace) -> None:
    cache, ask = DifyCache(), Asked("late")
    with ThreadPoolExecutor(1) as pool:
        asker = pool.submit(cache.get, KEY, ask)
        while not ask.calls:
            time.sleep(0.01)
        trace.is_interrupted = True
        with pytest.raises(DifyUnreachable):
            cache.get(KEY, ask)
        ask.may_answer.set()
        assert asker.result(60) == "late"


def test_a_healthy_dify_replaces_an_old_answer_at_once(clock: SimpleNamespace) -> None:
    cache = filled()
    clock.offset = CACHE_LIFETIME_S
    assert cache.get(KEY, lambda: "new") == "new"


@pytest.mark.parametrize("failure", [DifyUnreachable("away"), DifyTimeout("silent"), KeyError("a bug")])
def test_while_dify_fails_the_old_answer_serves_and_dify_is_asked_now_and_then(
    clock: SimpleNamespace, log: pytest.LogCaptureFixture, failure: Exception
) -> None:
    cache, ask = filled(), Asked(None).answers(failure)
    clock.offset = CACHE_LIFETIME_S
    assert [cache.get(KEY, ask) for _ in range(5)] == ["old"] * 5
    assert ask.calls == 1 and "the old one is used" in log.text
    clock.offset += REFRESH_PAUSE_S
    assert cache.get(KEY, ask.answers("new")) == "new" and ask.calls == 2


def test_while_dify_is_silent_one_caller_waits_a_moment_and_nobody_else_waits(
    clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "REFRESH_WAIT_S", 0.2)
    cache, ask = filled(), Asked("new")
    clock.offset = CACHE_LIFETIME_S
    assert [cache.get(KEY, ask) for _ in range(50)] == ["old"] * 50
    assert ask.calls == 1
    ask.may_answer.set()
    while cache.get(KEY, ask) == "old":
        time.sleep(0.01)
    assert ask.calls == 1


def test_the_call_for_a_new_answer_is_not_part_of_the_request_that_began_it(
    clock: SimpleNamespace, trace: tracing.Trace
) -> None:
    """Otherwise a caller who leaves would end it, and its time would be counted for the request."""
    cache = filled()
    clock.offset = CACHE_LIFETIME_S
    assert cache.get(KEY, lambda: tracing.current().request_id) == ""


def test_an_answer_that_dify_refuses_to_repeat_is_forgotten(clock: SimpleNamespace) -> None:
    cache, ask = filled(), Asked(None).answers(DifyAuthFailed("Dify refused the key."))
    clock.offset = CACHE_LIFETIME_S
    for calls in (1, 2):
        assert type(outcome(cache, ask)) is DifyAuthFailed
        assert ask.calls == calls


def test_an_answer_may_be_too_old_for_one_caller_and_not_for_another(clock: SimpleNamespace) -> None:
    cache = filled()
    clock.offset = 6.0
    assert cache.get(KEY, lambda: "new") == "old"
    assert cache.get(KEY, lambda: "new", lifetime=5.0) == "new"
    assert cache.get(KEY, lambda: "newer", lifetime=5.0) == "new"


def test_a_caller_who_needs_a_new_answer_does_not_wait_again_while_dify_is_away(clock: SimpleNamespace) -> None:
    cache, ask = filled(), Asked(None).answers(DifyUnreachable("away"))
    clock.offset = 6.0
    assert [cache.get(KEY, ask, lifetime=5.0) for _ in range(3)] == ["old"] * 3
    assert ask.calls == 1


def test_what_is_known_is_told_without_asking(clock: SimpleNamespace) -> None:
    assert DifyCache().known(KEY) is None
    cache = filled()
    assert cache.known(KEY) == "old"
    clock.offset = CACHE_LIFETIME_S
    assert cache.known(KEY) is None, "what is too old may be wrong"
