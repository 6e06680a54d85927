"""A request of ours is interrupted from another thread: its wait for Dify ends, and nobody else's does."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from route_api.dify import Dify
from route_api.dify.connections import shutdown_of
from route_api.errors import DifyUnreachable
from route_api.monitoring import tracing

from ..support.dify_client import dify_client
from ..support.event_streams import CHUNKED_HEAD, FIRST, chunk
from ..support.loopback import OK, OK_BODY, Loopback, answer, loopback, ok
from ..support.patience import PATIENCE_S

CALLS: dict[str, Callable[[Dify], Any]] = {
    "GET": lambda dify: dify.knowledge.get_dataset("d"),
    "POST": lambda dify: dify.knowledge.create_dataset({"name": "x"}),
    "stream": lambda dify: dify.chat().stream({"query": "x"}),
    "ping": lambda dify: dify.transport.ping(),
}


class Pausing:
    """A Dify that waits in the middle of each answer until the test lets it go on.

    :param before: the bytes that it sends before it waits
    """

    def __init__(self, before: bytes = b"", after: bytes = answer(OK_BODY)) -> None:
        self._before, self._after = before, after
        self.has_request = threading.Event()
        self.may_answer = threading.Event()

    def __call__(self, connection: socket.socket, request: bytes) -> None:
        connection.sendall(self._before)
        self.has_request.set()
        self.may_answer.wait(PATIENCE_S)
        connection.sendall(self._after)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def in_a_request(call: Callable[[Dify], Any], dify: Dify, trace: tracing.Trace) -> Any:
    """Make a call for the request with this trace."""
    token = tracing._current.set(trace)
    try:
        return call(dify)
    finally:
        tracing._current.reset(token)


def interrupt(future: Future[Any], trace: tracing.Trace) -> None:
    """Interrupt a call that waits for an answer which does not come. It fails."""
    time.sleep(0.1)
    assert not future.done()
    trace.interrupt()
    with pytest.raises(DifyUnreachable):
        future.result(30)


@pytest.mark.parametrize("name", CALLS)
def test_a_wait_for_an_answer_is_ended_and_the_call_is_not_sent_again(threads: ThreadPoolExecutor, name: str) -> None:
    with loopback(dify := Pausing()) as server:
        trace = tracing.Trace("a")
        future = threads.submit(in_a_request, CALLS[name], dify_client(server.url), trace)
        assert dify.has_request.wait(PATIENCE_S)
        interrupt(future, trace)
        assert len(server.requests) == 1 and trace.is_interrupted
        dify.may_answer.set()


@pytest.mark.parametrize("cut", [-3, -11])
def test_a_wait_for_the_rest_of_an_answer_is_ended(threads: ThreadPoolExecutor, cut: int) -> None:
    whole = answer(OK_BODY)
    with loopback(dify := Pausing(whole[:cut], whole[cut:])) as server:
        trace = tracing.Trace("a")
        future = threads.submit(in_a_request, CALLS["GET"], dify_client(server.url), trace)
        assert dify.has_request.wait(PATIENCE_S)
        interrupt(future, trace)
        dify.may_answer.set()


def test_a_wait_for_an_answer_after_which_dify_closes_is_ended(threads: ThreadPoolExecutor) -> None:
    """The connection has let go of its socket by then."""
    head = answer(OK_BODY, headers="Connection: close\r\n")[:-3]
    with loopback(dify := Pausing(head, b"")) as server:
        trace = tracing.Trace("a")
        future = threads.submit(in_a_request, CALLS["GET"], dify_client(server.url), trace)
        assert dify.has_request.wait(PATIENCE_S)
        interrupt(future, trace)
        dify.may_answer.set()


@pytest.mark.parametrize("name", ["GET", "POST", "stream"])
def test_after_an_interruption_no_call_is_sent_until_the_request_resumes(name: str) -> None:
    with loopback(ok) as server:
        dify, trace = dify_client(server.url), tracing.Trace("a")
        in_a_request(CALLS["GET"], dify, trace)
        trace.interrupt()
        trace.interrupt()
        with pytest.raises(DifyUnreachable):
            in_a_request(CALLS[name], dify, trace)
        assert (len(server.requests), trace.dify_calls) == (1, 1)
        trace.resume()
        in_a_request(CALLS["POST"], dify, trace)
        assert len(server.requests) == 2


def test_other_requests_go_on_also_on_the_connection_of_the_one_that_was_interrupted(
    threads: ThreadPoolExecutor,
) -> None:
    with loopback(dify := Pausing()) as server:
        client = dify_client(server.url)
        dify.may_answer.set()
        first = tracing.Trace("a")
        in_a_request(CALLS["GET"], client, first)
        second = waiting_call(threads, dify, client)
        first.interrupt()
        assert ends_well(second, dify)
        assert server.connections == 1
        assert in_a_request(CALLS["POST"], client, tracing.Trace("c")) == OK


def test_a_shutdown_that_comes_late_does_not_end_the_next_request_on_the_connection(
    threads: ThreadPoolExecutor,
) -> None:
    """As when the last byte of an answer is read at the moment of the interruption."""
    with loopback(dify := Pausing()) as server:
        client = dify_client(server.url)
        dify.may_answer.set()
        with client.transport.open("GET", "/v1/x") as response:
            shutdown = shutdown_of(response)
            response.raw.read()
        second = waiting_call(threads, dify, client)
        shutdown()
        assert ends_well(second, dify)
        assert server.connections == 1


def test_a_connection_that_was_shut_down_while_it_was_idle_is_not_used_again() -> None:
    with loopback(ok) as server:
        client = dify_client(server.url)
        with client.transport.open("GET", "/v1/x") as response:
            shutdown = shutdown_of(response)
            response.raw.read()
        shutdown()
        assert CALLS["POST"](client) == OK
        shutdown()
        assert CALLS["POST"](client) == OK
        assert server.connections == 2


def waiting_call(threads: ThreadPoolExecutor, dify: Pausing, client: Dify) -> Future[Any]:
    """A call of another request that waits for its answer."""
    dify.may_answer.clear()
    dify.has_request.clear()
    future = threads.submit(in_a_request, CALLS["POST"], client, tracing.Trace("b"))
    assert dify.has_request.wait(PATIENCE_S)
    time.sleep(0.1)
    return future


def ends_well(future: Future[Any], dify: Pausing) -> bool:
    time.sleep(0.1)
    dify.may_answer.set()
    return bool(future.result(60) == OK)


def test_many_requests_on_few_connections_are_interrupted_and_no_other_fails(threads: ThreadPoolExecutor) -> None:
    """Interruptions at every moment of a call; only a request that was interrupted may fail."""

    def work(client: Dify, server: Loopback, number: int) -> None:
        for turn in range(150):
            trace = tracing.Trace(f"{number}-{turn}")
            timer = threading.Timer((turn % 15) / 10_000, trace.interrupt)
            if turn % 2:
                timer.start()
            try:
                in_a_request(CALLS["POST"], client, trace)
            except DifyUnreachable:
                assert trace.is_interrupted

    with loopback(ok) as server:
        client = dify_client(server.url, pool_size=2)
        for future in [threads.submit(work, client, server, number) for number in range(4)]:
            future.result(60)


def test_the_events_of_a_stream_end_with_their_request(threads: ThreadPoolExecutor) -> None:
    with loopback(dify := Pausing(CHUNKED_HEAD + chunk(FIRST), b"")) as server:
        trace = tracing.Trace("a")
        stream = in_a_request(CALLS["stream"], dify_client(server.url), trace)
        events = iter(stream)
        assert next(events)["event"] == "message"
        future = threads.submit(next, events)
        interrupt(future, trace)
        dify.may_answer.set()
        stream.close()


def test_a_stream_that_is_interrupted_alone_leaves_its_request_as_it_is() -> None:
    def send(connection: socket.socket, request: bytes) -> None:
        connection.sendall(CHUNKED_HEAD + chunk(FIRST) if request.startswith(b"POST") else answer(OK_BODY))

    with loopback(send) as server:
        dify, trace = dify_client(server.url), tracing.Trace("a")
        stream = in_a_request(CALLS["stream"], dify, trace)
        stream.interrupt()
        with pytest.raises(DifyUnreachable):
            list(stream)
        assert in_a_request(CALLS["GET"], dify, trace) == OK and not trace.is_interrupted
