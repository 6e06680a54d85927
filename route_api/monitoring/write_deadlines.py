"""A time limit for each write to a caller: the connection of a caller who reads nothing is shut down.

Without the limit, such a caller would keep a worker's greenlet or thread, and a stream would keep its conversation. The
limit is for all answers: lists, downloads and streams. A stream's turn then ends as after a caller who has left.
"""

import _socket
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any

from .repeated_task import RepeatedTask

log = logging.getLogger(__name__)

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]

CHECK_S = 1.0
"""Seconds between two checks. A caller may exceed the limit by this time."""

WRITE_SIZE = 64 * 1024
"""Bytes that are written at a time. The limit is for each write, so a caller who reads slowly gets all of a long
answer: with a limit of 30 seconds, 2 KB a second are enough."""


class WriteDeadlines:
    """A WSGI application that watches the writes of the answers of another one."""

    def __init__(self, app: WsgiApp, seconds: float) -> None:
        """
        :param seconds: the longest time for one write
        """
        self._app = app
        self.seconds = seconds
        self._bodies: set[WatchedBody] = set()
        self._lock = threading.Lock()
        self._checks = RepeatedTask("write-deadlines", CHECK_S, self._check)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = self._app(environ, start_response)
        caller = environ.get("gunicorn.socket")
        return body if caller is None else self._watch(WatchedBody(body, caller, environ["PATH_INFO"], self))

    def _watch(self, body: "WatchedBody") -> "WatchedBody":
        self._checks.start()
        with self._lock:
            self._bodies.add(body)
        return body

    def forget(self, body: "WatchedBody") -> None:
        """Stop watching a body, whose last byte was written."""
        with self._lock:
            self._bodies.discard(body)

    def _check(self) -> None:
        # The lock keeps an answer from ending here. Otherwise its connection could already serve the next request.
        with self._lock:
            now = monotonic()
            for body in [body for body in self._bodies if body.must_be_written_by < now]:
                self._bodies.discard(body)
                log.warning("the caller of %s reads nothing; the connection is closed", body.path)
                shut_down(body.caller)


class WatchedBody:
    """The body of an answer. The server asks for the next item when it has written the one before."""

    __slots__ = ("path", "caller", "must_be_written_by", "_body", "_pieces", "_deadlines")

    def __init__(self, body: Iterable[bytes], caller: socket.socket, path: str, deadlines: WriteDeadlines) -> None:
        self.path = path
        self.caller = caller
        self.must_be_written_by = inf
        self._body = body
        self._pieces = pieces_of(body)
        self._deadlines = deadlines

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self.must_be_written_by = inf  # The application may take longer to make the next item.
        try:
            return next(self._pieces)
        finally:  # At the end, the server may still write an empty chunk.
            self.must_be_written_by = monotonic() + self._deadlines.seconds

    def close(self) -> None:
        """End the answer. The server calls this also if a write has failed."""
        self._deadlines.forget(self)
        if close := getattr(self._body, "close", None):
            close()


def pieces_of(body: Iterable[bytes]) -> Iterator[bytes]:
    """The items of a body, in pieces of WRITE_SIZE at the most. The time is linear however long an item is."""
    for item in body:
        for begin in range(0, len(item), WRITE_SIZE):
            yield item[begin : begin + WRITE_SIZE]


def duplicate(connection: socket.socket) -> _socket.socket:
    """A duplicate of a socket, which stays open when the server closes the original.

    Its class is the one of the C module `_socket`. gevent replaces the class in the module `socket`: the `recv` of
    gevent's class waits even with MSG_DONTWAIT, and its `shutdown` raises an unusual error in a greenlet that writes.
    """
    return _socket.socket(fileno=os.dup(connection.fileno()))


def shut_down(connection: socket.socket) -> None:
    """Shut down a connection, so that a write that waits in another thread or greenlet fails."""
    with suppress(OSError):  # The caller or the server has already closed the connection.
        copy = duplicate(connection)
        try:
            copy.shutdown(socket.SHUT_RDWR)
        finally:
            copy.close()
