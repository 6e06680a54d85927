"""The pool's connections: urllib3's own, with two habits that make each call cheaper.

Measured with `benchmarks/cost.py`, together 5 % of what a request to us costs.
"""

from select import POLLIN
from typing import Any

from gevent.monkey import get_original
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

_poll = get_original("select", "poll")
"""Asked without waiting it holds up nobody, and gevent's goes around its whole loop to find nothing."""


class _Thrifty(HTTPConnection):
    """Sends a request whose body is in memory with one system call, and looks with one whether the server has left."""

    _held: list[bytes] | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the connection may be used once more: an idle one that can be read has been closed by the server."""
        if self.sock is None:
            return False
        poll = _poll()
        poll.register(self.sock, POLLIN)
        return not poll.poll(0)

    def request(self, method: str, url: str, body: Any = None, *arguments: Any, **options: Any) -> None:
        """Send a request. urllib3 would send the head and a body of bytes one after the other."""
        self._held = [] if isinstance(body, bytes) else None
        super().request(method, url, body, *arguments, **options)
        if self._held:
            whole, self._held = b"".join(self._held), None
            self.send(whole)

    def send(self, data: Any) -> None:
        """Send a part of the request at hand, now or with the rest of it."""
        if self._held is not None:
            self._held.append(data)
        elif self.sock is None or not isinstance(data, bytes):
            super().send(data)
        elif (sent := self.sock.send(data)) < len(data):  # gevent's `sendall` would ask for the size of its buffer.
            self.sock.sendall(memoryview(data)[sent:])


class _Connection(_Thrifty, HTTPConnection):
    """A plain connection."""


class _TlsConnection(_Thrifty, HTTPSConnection):
    """A connection under TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


POOL_CLASSES = {"http": _Pool, "https": _TlsPool}
"""For urllib3's PoolManager."""
