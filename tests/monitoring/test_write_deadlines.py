"""Callers who read nothing, read slowly, or wait for a slow application."""

import socket
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from route_api.monitoring.write_deadlines import WRITE_SIZE, WriteDeadlines

from ..support.patience import PATIENCE_S

LIMIT_S = 0.3
LONG = b"x" * 5_000_000


@pytest.fixture(autouse=True)
def check_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("route_api.monitoring.write_deadlines.CHECK_S", 0.05)


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The server's end of a connection, and the caller's end."""
    ours, callers = socket.socketpair()
    with ours, callers:
        yield ours, callers


def serve(body: Iterable[bytes], ours: socket.socket, deadlines: WriteDeadlines | None = None) -> None:
    """Write an answer as gunicorn does."""
    deadlines = deadlines or WriteDeadlines(lambda environ, start: body, LIMIT_S)
    watched: Any = deadlines({"gunicorn.socket": ours, "PATH_INFO": "/kb/list"}, None)
    try:
        for item in watched:
            ours.sendall(item)
    finally:
        watched.close()


@pytest.mark.parametrize("body", [[LONG], [b"x" * 1000] * 5000])
def test_a_write_to_a_caller_who_reads_nothing_fails(
    connection: tuple[socket.socket, socket.socket], body: list[bytes]
) -> None:
    began = time.monotonic()
    with pytest.raises(BrokenPipeError):
        serve(body, connection[0])
    assert time.monotonic() - began > LIMIT_S


def test_a_caller_who_reads_slowly_gets_all_of_a_long_answer(connection: tuple[socket.socket, socket.socket]) -> None:
    ours, callers = connection
    read: list[int] = []

    def read_slowly() -> None:
        while data := callers.recv(WRITE_SIZE * 4):
            read.append(len(data))
            time.sleep(LIMIT_S / 10)

    reader = threading.Thread(target=read_slowly)
    reader.start()
    began = time.monotonic()
    serve([LONG], ours)
    assert time.monotonic() - began > LIMIT_S, "the whole answer takes longer than one write may take"
    ours.shutdown(socket.SHUT_WR)
    reader.join(PATIENCE_S)
    assert sum(read) == len(LONG)


def test_an_application_may_take_longer_and_the_next_request_has_its_own_time(
    connection: tuple[socket.socket, socket.socket],
) -> None:
    def slow() -> Iterator[bytes]:
        for _ in range(2):
            time.sleep(LIMIT_S * 2)
            yield b"x"

    ours, callers = connection
    serve(slow(), ours)
    time.sleep(LIMIT_S * 2)
    ours.sendall(b"y")
    assert callers.recv(10) == b"xxy"


def test_a_connection_that_cannot_be_closed_does_not_end_the_watch_of_the_others(
    connection: tuple[socket.socket, socket.socket],
) -> None:
    deadlines = WriteDeadlines(lambda environ, start: [LONG], LIMIT_S)
    broken: Any = deadlines({"gunicorn.socket": object(), "PATH_INFO": "/kb/list"}, None)
    next(broken)
    time.sleep(LIMIT_S * 2)
    with pytest.raises(BrokenPipeError):
        serve([LONG], connection[0], deadlines)


def test_without_a_socket_the_answer_is_passed_on_as_it_is() -> None:
    body = [b"x"]
    assert WriteDeadlines(lambda environ, start: body, LIMIT_S)({"PATH_INFO": "/"}, None) is body
