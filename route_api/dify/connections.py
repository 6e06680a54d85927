"""urllib3's pools and connections, in which another thread can end the wait for an answer (:meth:`Trace.interrupt`)."""

import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Lock

import requests
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from ..monitoring import tracing

_lock = Lock()
"""Held while a connection changes hands or is shut down. Both are short, so one lock serves all connections."""


class Interruptible(HTTPConnection):
    """A connection that serves one request after the other.

    A request returns its connection to the pool when it has read the last byte of the answer. At that very moment
    another thread may interrupt the request. This must not end the next request on the same connection. So each use of
    the connection has a number, and a shutdown that is meant for an earlier use does nothing.
    """

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


class HttpPool(HTTPConnectionPool):
    ConnectionCls = InterruptibleHttpConnection


class HttpsPool(HTTPSConnectionPool):
    ConnectionCls = InterruptibleHttpsConnection


POOL_CLASSES = {"http": HttpPool, "https": HttpsPool}
"""For `PoolManager.pool_classes_by_scheme`."""
