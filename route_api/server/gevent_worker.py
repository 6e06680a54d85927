"""The worker for WORKER_CLASS=gevent: each request runs in a greenlet.

gunicorn's master imports this file too, before any worker has patched the standard library. So nothing here may import
the application, a database driver or an HTTP client at the top of the file.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from select import POLLIN
from time import monotonic
from typing import Any

import gevent
from gevent.monkey import get_original
from gevent.server import StreamServer
from gunicorn.http.errors import NoMoreData
from gunicorn.workers import ggevent

from .gevent_patches import patch_sendall, patch_slow_functions, patch_sockets_to_give_way, patch_wait_for_socket
from .request_reading import patch_longest_request_line, patch_unreader
from .stopping import TurnStoppingMixin

STOP_LINGER_S = 2.0
"""Seconds for which an idle connection stays open after SIGTERM, because a request may be on its way. The worker checks
this once a second, so a connection closes 2 to 3 seconds after SIGTERM. gunicorn's gthread worker has the same limit.
`keepalive_timeout` in deploy/nginx.conf is shorter, so that nginx closes its idle connections before the gateway."""


class AcceptingServer(StreamServer):
    """Accepts the connections of a worker. When it is closed, it first takes over the connections that the kernel has
    accepted. Otherwise the kernel would reset them, and a proxy would not send their requests to another gateway."""

    def close(self) -> None:
        try:
            while not self.closed and not self.full() and (accepted := self.do_read()):
                self.do_handle(*accepted)
        finally:
            super().close()


class GatewayGeventWorker(TurnStoppingMixin, ggevent.GeventWorker):
    """gunicorn's gevent worker, with the patches of `gevent_patches.py` and three further changes.

    - It ends running turns in time when it stops (`stopping.py`).
    - It loses no connection when it stops (:class:`AcceptingServer`).
    - It closes idle connections when it stops. gunicorn counts each idle connection as a request in progress. A proxy
      keeps idle connections open, so without this change each stop could take all of `graceful_timeout`.
    """

    def __init__(self, *arguments: Any) -> None:
        self.connections: dict[gevent.Greenlet, socket.socket] = {}
        self.idle_since: dict[gevent.Greenlet, float] = {}
        super().__init__(*arguments)

    def patch(self) -> None:
        """Patch the libraries. gunicorn calls this before it imports the application."""
        super().patch()
        ggevent.StreamServer = AcceptingServer
        patch_sockets_to_give_way()
        patch_sendall()
        patch_slow_functions()

    def load_wsgi(self) -> None:
        """Load the application, which imports urllib3, then patch urllib3 and gunicorn's reads of requests."""
        super().load_wsgi()
        patch_wait_for_socket()
        patch_unreader()
        patch_longest_request_line()

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:
        """Answer the requests of a connection until it is closed."""
        greenlet = gevent.getcurrent()
        self.connections[greenlet] = client
        try:
            super().handle(listener, client, addr)
        finally:
            del self.connections[greenlet]

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Limit the wait for the next request on a connection. gunicorn waits inside this context manager."""
        greenlet = gevent.getcurrent()
        self.idle_since[greenlet] = monotonic()
        try:
            with super().timeout_ctx():
                yield
        finally:
            del self.idle_since[greenlet]

    def continue_stop(self, left_s: float) -> None:
        """Close the connections that have been idle for STOP_LINGER_S or longer since SIGTERM."""
        linger_s = min(STOP_LINGER_S, self.cfg.graceful_timeout / 2)
        if left_s < self.cfg.graceful_timeout - linger_s:
            gevent.get_hub().loop.run_callback(self._close_idle, monotonic() - linger_s)
        super().continue_stop(left_s)

    def _close_idle(self, since: float) -> None:
        """Close the connections that have been idle since this time. A connection on which a request has arrived stays:
        the request gets its answer, with `Connection: close`.

        This runs in gevent's hub. So no greenlet runs between the look at a socket and the end of its greenlet, and no
        event arrives: what has arrived is still in the kernel. A request is lost only if it arrives in these
        microseconds, or when a proxy sends it before it has noticed that the connection is closed.

        gunicorn handles `NoMoreData` as if the client had closed the connection, and logs nothing.
        """
        for greenlet, idle_since in list(self.idle_since.items()):
            if idle_since <= since and not _has_arrived(self.connections[greenlet]):
                greenlet.throw(NoMoreData)


def _has_arrived(connection: socket.socket) -> bool:
    """Whether bytes, or the end of the connection, have arrived."""
    readable = get_original("select", "poll")()
    readable.register(connection, POLLIN)
    return bool(readable.poll(0))
