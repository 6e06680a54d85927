"""urllib3's pools and connections, in which another thread can end the wait for an answer (:meth:`Trace.interrupt`)."""

import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any

import requests
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from ..monitoring import tracing
from .retries import is_repeatable

MAX_IDLE_S = 1.5
"""Seconds for which a connection may have been idle if a request that cannot be repeated is sent on it. Dify's gunicorn
closes idle connections after 2.0 seconds, and a request that meets the close is lost (tests/contract/README.md, 31)."""

_lock = Lock()
"""Held while a connection changes hands or is shut down. Both are short, so one lock serves all connections."""


class Interruptible(HTTPConnection):
    """A connection that serves one request after the other.

    A request returns its connection to the pool when it has read the last byte of the answer. At that very moment
    another thread may interrupt the request. This must not end the next request on the same connection. So each use of
    the connection has a number, and a shutdown that is meant for an earlier use does nothing.
    """

    idle_since = 0.0
    """When the connection was returned to the pool, as a value of `monotonic`."""
    _use = 0
    shutdown: Callable[[], None] | None = None
    """Ends the wait of the request that has the connection now: its reads find the end of the connection."""

    @property
    def is_connected(self) -> bool:
        """Whether an idle connection can be used again. urllib3 asks this of each connection that it takes from the
        pool, so the next use begins here. A connection that was shut down just before is found to be closed."""
        with _lock:
            self._use += 1
        return super().is_connected

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # urllib3's own differs from http.client's.
        """Wait for the head of the answer.

        :raises ConnectionAbortedError: the request was interrupted
        """
        self.shutdown = shutdown = partial(self._shut_down, self.sock, self._use)
        with tracing.current().interruptible(shutdown):
            return super().getresponse()

    def _shut_down(self, sock: socket.socket, use: int) -> None:
        with _lock, suppress(OSError):  # The connection is closed already.
            if use == self._use:
                # An SSLSocket's own method would take the TLS away from under the reader.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


def shutdown_of(response: requests.Response) -> Callable[[], None]:
    """How to end a wait for the next bytes of an answer. Call this before the first read: afterwards the connection may
    serve another request.

    :returns: a function that ends the wait. Another thread may call it at any time, also after the last read.
    """
    connection = response.raw.connection
    shutdown = connection.shutdown if isinstance(connection, Interruptible) else None
    return shutdown or _do_nothing  # An answer without a connection is in memory.


def _do_nothing() -> None:
    pass


class InterruptibleHttpConnection(Interruptible, HTTPConnection):
    """A plain connection."""


class InterruptibleHttpsConnection(Interruptible, HTTPSConnection):
    """A connection under TLS."""


class CarefulPool(HTTPConnectionPool):
    """A pool that sends no request on a connection which Dify may be closing, unless the request can be repeated."""

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.idle_since = monotonic()
        super()._put_conn(conn)

    def _make_request(  # type: ignore[override]  # The other arguments are urllib3's affair.
        self, conn: Any, method: str, url: str, *, retries: Any = None, **options: Any
    ) -> BaseHTTPResponse:
        """Send a request. It goes over a new connection if it is the repetition of one whose connection broke, or if it
        cannot be repeated and the connection was idle for too long.

        urllib3 opens a connection that is closed.
        """
        if conn.sock is not None and (
            retries.history or monotonic() - conn.idle_since > MAX_IDLE_S and not is_repeatable(method, url)
        ):
            conn.close()
        return super()._make_request(conn, method, url, retries=retries, **options)


class HttpPool(CarefulPool, HTTPConnectionPool):
    ConnectionCls = InterruptibleHttpConnection


class HttpsPool(CarefulPool, HTTPSConnectionPool):
    ConnectionCls = InterruptibleHttpsConnection


POOL_CLASSES = {"http": HttpPool, "https": HttpsPool}
"""For `PoolManager.pool_classes_by_scheme`."""
