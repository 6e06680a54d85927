"""The circuit breaker: when it opens, whom it refuses, how it finds out that Dify is back, and the bound on calls."""

import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import pytest

from route_api.dify import Breaker, Dify, Transport
from route_api.dify import breaker as breaker_module
from route_api.dify.breaker import FAILURES, KINDS, TRIAL_S, kind_of
from route_api.errors import (
    DifyCircuitOpen,
    DifyError,
    DifyFailed,
    DifyRejected,
    DifyTimeout,
    DifyUnreachable,
    TooManyDifyCalls,
)
from route_api.monitoring import metrics, tracing

from ..support.dify_client import dify_client
from ..support.loopback import OK, OK_BODY, Loopback, answer, loopback, reset
from ..support.patience import PATIENCE_S
from ..support.running_gateway import wait_for

VERSION = "X-Version: 1.12.1\r\n"
READ_TIMEOUT_S = 1.0


class ScriptedDify:
    """Answers each request as `mode` says, or as `modes` says for a path that ends so."""

    def __init__(self) -> None:
        self.mode = "ok"
        self.modes: dict[str, str] = {}
        self.may_end = threading.Event()

    def __call__(self, connection: socket.socket, request: bytes) -> None:
        path = request.split(b" ", 2)[1].split(b"?")[0].decode()
        mode = next((mode for end, mode in self.modes.items() if path.endswith(end)), self.mode)
        if mode == "silent":
            self.may_end.wait(PATIENCE_S)
            connection.close()
        elif mode == "reset":
            reset(connection)
        elif mode == "slow":
            self.may_end.wait(PATIENCE_S)
            connection.sendall(answer(OK_BODY, headers=VERSION))
        elif mode == "head":  # The body does not come before the test says so.
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(OK_BODY))
            self.may_end.wait(PATIENCE_S)
            connection.sendall(OK_BODY)
        else:
            status, headers = {
                "ok": ("200 OK", VERSION),
                "400": ("400 BAD REQUEST", VERSION),
                "429": ("429 TOO MANY REQUESTS", VERSION),
                "500": ("500 INTERNAL SERVER ERROR", VERSION),
                "503": ("503 SERVICE UNAVAILABLE", VERSION),
                "502 of a proxy": ("502 Bad Gateway", "Server: nginx\r\n"),
            }[mode]
            connection.sendall(answer(OK_BODY, status, headers))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker_module, "PING_INTERVAL_S", 0.1)
    monkeypatch.setattr(breaker_module, "LOOK_INTERVAL_S", 0.05)


@pytest.fixture
def script() -> Iterator[ScriptedDify]:
    scripted = ScriptedDify()
    yield scripted
    scripted.may_end.set()


@pytest.fixture
def server(script: ScriptedDify) -> Iterator[Loopback]:
    with loopback(script) as running:
        yield running


Make = Callable[..., tuple[Dify, Breaker]]


@pytest.fixture
def make(server: Loopback) -> Iterator[Make]:
    made: list[Breaker] = []

    def worker(event_timeout: float = 10, **options: object) -> tuple[Dify, Breaker]:
        pinging = Transport(server.url, connect_timeout=5, read_timeout=READ_TIMEOUT_S, pool_size=1)
        breaker = Breaker(pinging.ping, **{"max_calls": 100, **options})  # type: ignore[arg-type]
        made.append(breaker)
        timeouts = {"read_timeout": READ_TIMEOUT_S, "upload_timeout": READ_TIMEOUT_S, "event_timeout": event_timeout}
        return dify_client(server.url, breaker=breaker, **timeouts), breaker

    yield worker
    for breaker in made:
        breaker.close()


def read(dify: Dify) -> object:
    return dify.knowledge.get_dataset("d")


def failure(call: Callable[[], object]) -> DifyError:
    with pytest.raises(DifyError) as caught:
        call()
    return caught.value


def fail(dify: Dify) -> None:
    """Let as many calls fail as open the breaker, at the same time: each may take READ_TIMEOUT_S."""
    with ThreadPoolExecutor(FAILURES) as pool:
        failures = list(pool.map(lambda _: failure(lambda: read(dify)), range(FAILURES)))
    assert not any(isinstance(each, DifyCircuitOpen) for each in failures)


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/v1/datasets", "read"),
        ("GET", "/v1/parameters", "read"),
        ("POST", "/v1/datasets", "write"),
        ("POST", "/v1/datasets/d/document/create-by-file", "write"),
        ("POST", "/v1/chat-messages/t/stop", "stop"),
        ("POST", "/console/api/apps/a/chat-messages/t/stop", "stop"),
        ("POST", "/v1/datasets/d/retrieve", "retrieval"),
        ("POST", "/v1/chat-messages", "chat"),
        ("POST", "/console/api/apps/a/chat-messages", "chat"),
        ("GET", "/v1/messages/m/suggested", "chat"),
        ("GET", "/console/api/apps/a/chat-messages/m/suggested-questions", "chat"),
        ("POST", "/console/api/login", "console"),
        ("GET", "/files/f/file-preview", "file"),
        ("GET", "http://files.example.com/files/f", "file"),
    ],
)
def test_a_call_has_the_kind_of_what_it_needs_of_dify(method: str, path: str, kind: str) -> None:
    assert kind_of(method, path) == kind


@pytest.mark.parametrize("mode", ["silent", "reset", "502 of a proxy"])
def test_after_failures_in_a_row_calls_fail_at_once(
    make: Make, script: ScriptedDify, log: pytest.LogCaptureFixture, mode: str
) -> None:
    dify, breaker = make()
    script.mode = mode
    fail(dify)
    refused = [failure(lambda: read(dify)) for _ in range(10)]
    assert all(isinstance(each, DifyCircuitOpen) for each in refused), "none of the calls has reached Dify"
    assert (refused[0].status, refused[0].code, refused[0].retry_after) == (503, "dify_unreachable", 2)
    assert "read" in breaker.refused_kinds()
    assert metrics.dify_breaker_open["read"]._value.get() == 1
    assert "in calls of the kind 'read'" in log.text


@pytest.mark.parametrize("mode", ["ok", "400", "429", "500", "503"])
def test_whatever_dify_itself_answers_opens_nothing(make: Make, script: ScriptedDify, mode: str) -> None:
    dify, breaker = make()
    script.mode = mode
    for _ in range(2 * FAILURES):
        with suppress(DifyFailed, DifyRejected, DifyError):
            read(dify)
    assert breaker.refused_kinds() == []


def test_an_open_circuit_leaves_the_other_kinds_alone(make: Make, script: ScriptedDify) -> None:
    dify, breaker = make()
    script.modes["/retrieve"] = "silent"
    for _ in range(FAILURES):
        assert isinstance(failure(lambda: dify.knowledge.retrieve("d", "?")), DifyTimeout)
    assert breaker.refused_kinds() == ["retrieval"]
    read(dify)


def test_a_call_that_always_times_out_opens_nothing_while_others_succeed(make: Make) -> None:
    _, breaker = make()
    for _ in range(2):
        slow = [breaker.begin("retrieval") for _ in range(FAILURES)]
        breaker.begin("retrieval").succeeded()
        for call in slow:
            call.failed()
    assert breaker.refused_kinds() == []


def test_when_dify_is_back_the_breaker_closes_by_itself(
    make: Make, script: ScriptedDify, log: pytest.LogCaptureFixture
) -> None:
    dify, breaker = make()
    script.mode = "reset"
    fail(dify)
    script.mode = "ok"
    wait_for(lambda: breaker._circuits["read"].may_try)
    read(dify)
    assert breaker.refused_kinds() == [] and metrics.dify_breaker_open["read"]._value.get() == 0
    assert "Dify answers again" in log.text
    wait_for(lambda: breaker._watcher is None)


def test_if_dify_answers_no_ping_calls_of_every_kind_fail_at_once_and_all_work_when_it_is_back(
    make: Make, script: ScriptedDify
) -> None:
    dify, breaker = make()
    script.mode = "silent"
    fail(dify)
    wait_for(lambda: breaker.refused_kinds() == list(KINDS))
    assert isinstance(failure(lambda: dify.chat().parameters()), DifyCircuitOpen)
    assert isinstance(failure(lambda: dify.chat().stream({"query": "?"})), DifyCircuitOpen)
    script.mode = "ok"
    wait_for(lambda: breaker.refused_kinds() == ["read"])
    dify.chat().stream({"query": "?"}).close()
    read(dify)
    assert breaker.refused_kinds() == []


def test_if_only_pings_are_answered_one_caller_at_a_time_waits(make: Make, script: ScriptedDify) -> None:
    dify, breaker = make()
    script.modes["/d"] = "silent"
    fail(dify)
    wait_for(lambda: breaker._circuits["read"].may_try)
    dify.transport._read_timeout = 10.0  # The trial waits until the test lets it fail.
    with ThreadPoolExecutor(20) as pool:
        callers = [pool.submit(failure, lambda: read(dify)) for _ in range(20)]
        wait_for(lambda: sum(each.done() for each in callers) == 19)
        script.may_end.set()
        failures = [each.result(60) for each in callers]
    assert sum(not isinstance(each, DifyCircuitOpen) for each in failures) == 1
    assert breaker.refused_kinds() == ["read"]
    wait_for(lambda: breaker._circuits["read"].may_try)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_trial_that_takes_long_does_not_hold_up_the_next_one() -> None:
    clock = Clock()
    breaker = Breaker(lambda: None, max_calls=10, clock=clock)
    for _ in range(FAILURES):
        breaker.begin("chat").failed()
    wait_for(lambda: breaker._circuits["chat"].may_try)
    first = breaker.begin("chat")
    clock.now += TRIAL_S - 1
    with pytest.raises(DifyCircuitOpen):
        breaker.begin("chat")
    clock.now += 1
    second = breaker.begin("chat")
    first.failed()
    assert breaker.refused_kinds() == ["chat"]
    second.succeeded()
    assert breaker.refused_kinds() == []


def test_a_trial_whose_caller_leaves_makes_room_for_the_next_one(make: Make, script: ScriptedDify) -> None:
    dify, breaker = make()
    script.mode = "reset"
    fail(dify)
    script.mode, script.modes["/d"] = "ok", "slow"
    wait_for(lambda: breaker._circuits["read"].may_try)
    traces: list[tracing.Trace] = []

    def leave() -> None:
        traces.append(tracing.begin("leaves"))
        assert isinstance(failure(lambda: read(dify)), DifyUnreachable)

    leaver = threading.Thread(target=leave)
    leaver.start()
    wait_for(lambda: breaker.running_calls == 1)
    time.sleep(0.05)
    traces[0].interrupt()
    leaver.join(PATIENCE_S)
    assert (breaker.refused_kinds(), breaker.running_calls) == (["read"], 0)
    script.modes.clear()
    read(dify)
    assert breaker.refused_kinds() == []


def test_callers_who_leave_open_nothing(make: Make, script: ScriptedDify) -> None:
    dify, breaker = make()
    script.mode = "silent"
    for _ in range(2 * FAILURES):
        trace = tracing.begin("leaves")
        threading.Timer(0.05, trace.interrupt).start()
        assert isinstance(failure(lambda: read(dify)), DifyUnreachable)
    tracing.end()
    assert breaker.refused_kinds() == []


def broken_body() -> Iterator[bytes]:
    """The body of an upload whose caller breaks off."""
    yield b"x"
    raise ConnectionResetError


def test_uploads_that_their_callers_break_off_open_nothing(make: Make) -> None:
    dify, breaker = make()
    for _ in range(2 * FAILURES):
        failure(lambda: dify.knowledge.create_document_raw("d", "a.txt", "text/plain", broken_body()))
    assert (breaker.refused_kinds(), breaker.running_calls) == ([], 0)


def test_a_bug_in_the_ping_does_not_keep_the_circuit_open_for_ever(make: Make, script: ScriptedDify) -> None:
    dify, breaker = make()
    right = breaker._ping

    def broken() -> None:
        breaker._ping = right
        raise RuntimeError("a bug")

    breaker._ping = broken
    script.mode = "reset"
    fail(dify)
    script.mode = "ok"

    def works() -> bool:
        with suppress(DifyCircuitOpen):
            read(dify)
            return True
        return False

    wait_for(works)


# ---------------------------------------------------------------- several workers


class StateInMemory:
    """A shared state in the memory of this process, for several breakers that stand for several workers."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def publish(self, opened: dict[str, str]) -> None:
        for kind, opening in opened.items():
            self.entries.setdefault(kind, opening)

    def withdraw(self, kind: str) -> None:
        self.entries.pop(kind, None)

    def read(self) -> dict[str, str]:
        return dict(self.entries)


def test_what_one_worker_finds_out_the_others_know_and_each_closes_by_itself(make: Make, script: ScriptedDify) -> None:
    shared = StateInMemory()
    (dify, breaker), (other_dify, other_breaker) = make(shared=shared), make(shared=shared)
    read(dify), read(other_dify)
    script.modes["/d"] = "silent"
    fail(dify)
    wait_for(lambda: other_breaker.refused_kinds() == ["read"])
    script.modes.clear()
    for each, its_breaker in ((dify, breaker), (other_dify, other_breaker)):
        wait_for(lambda: its_breaker._circuits["read"].may_try)
        read(each)
    time.sleep(0.3)
    assert breaker.refused_kinds() == other_breaker.refused_kinds() == [] and shared.entries == {}


# ---------------------------------------------------------------- the bound on calls


def test_beyond_the_bound_calls_are_refused_at_once(make: Make, script: ScriptedDify) -> None:
    dify, breaker = make(max_calls=3)
    script.mode = "slow"
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(dify.knowledge.create_dataset, {"name": "x"}) for _ in range(3)]
        wait_for(lambda: breaker.running_calls == 3)
        refused = failure(lambda: read(dify))
        assert isinstance(refused, TooManyDifyCalls)
        assert (refused.status, refused.code, refused.retry_after) == (503, "dify_too_busy", 1)
        script.may_end.set()
        assert [each.result(60) for each in running] == [OK] * 3
    assert breaker.running_calls == 0
    script.mode = "ok"
    read(dify)


def test_a_stop_is_sent_although_every_place_is_taken_and_writes_are_refused(
    make: Make, script: ScriptedDify, server: Loopback
) -> None:
    dify, breaker = make(max_calls=1)
    for _ in range(FAILURES):
        call = breaker.begin("write")
        call.failed()
        call.end()
    script.mode = "head"
    with closing(dify.chat().stream({"query": "?"})):
        script.mode = "ok"
        dify.chat().stop("task", "alice")
        assert isinstance(failure(lambda: read(dify)), TooManyDifyCalls)
    assert "write" in breaker.refused_kinds()
    assert any(request.startswith(b"POST /v1/chat-messages/task/stop") for request in server.requests)


def test_a_stop_fails_at_once_while_dify_answers_no_ping(make: Make, script: ScriptedDify) -> None:
    dify, breaker = make()
    script.mode = "silent"
    fail(dify)
    wait_for(lambda: len(breaker.refused_kinds()) == len(KINDS))
    assert isinstance(failure(lambda: dify.chat().stop("task", "alice")), DifyCircuitOpen)


def test_a_stream_counts_until_it_is_closed_also_if_nobody_has_read_it(make: Make, script: ScriptedDify) -> None:
    dify, breaker = make()
    script.mode = "head"
    stream = dify.chat().stream({"query": "?"})
    assert breaker.running_calls == 1
    stream.close()
    stream.close()
    assert breaker.running_calls == 0


def test_an_answer_that_nobody_closes_counts_until_it_is_forgotten(make: Make, script: ScriptedDify) -> None:
    dify, breaker = make()
    script.mode = "head"
    stream = dify.chat().stream({"query": "?"})
    file = dify.files.open_file({"url": "/files/f"})
    assert breaker.running_calls == 2
    del stream, file
    gc.collect()
    assert breaker.running_calls == 0


@pytest.mark.parametrize("mode", ["silent", "reset", "400", "500", "502 of a proxy", "ok"])
def test_every_end_of_a_call_makes_room(make: Make, script: ScriptedDify, mode: str) -> None:
    dify, breaker = make(event_timeout=READ_TIMEOUT_S)
    script.mode = mode
    for call in (
        lambda: read(dify),
        lambda: dify.chat().stream({"query": "?"}).close(),
        lambda: dify.files.open_file({"url": "/files/f"}).close(),
        lambda: list(dify.chat().stream({"query": "?"})),
    ):
        with suppress(DifyError):
            call()
    assert breaker.running_calls == 0
