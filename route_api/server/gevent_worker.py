"""The worker for WORKER_CLASS=gevent: each request runs in a greenlet.

gunicorn's master imports this file too, before any worker has patched the standard library. So nothing here may import
the application, a database driver or an HTTP client at the top of the file.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import gevent
from gevent.server import StreamServer
from gunicorn.http.errors import NoMoreData
from gunicorn.workers import ggevent

from .gevent_patches import patch_sendall, patch_slow_functions, patch_sockets_to_give_way, patch_wait_for_socket
from .request_reading import patch_longest_request_line, patch_unreader
from .stopping import TurnStoppingMixin

IDLE_AT_STOP_S = 0.5
"""Seconds for which an idle connection stays open after SIGTERM, because a request may be on its way. The worker checks
this once a second, so a connection closes 0.5 to 1.5 seconds after SIGTERM."""


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
    - It closes idle connections when it stops. gunicorn counts each idle connection as a request in progress. nginx
      keeps idle connections open, so without this change each stop would take all of `graceful_timeout`.
    """

    def init_process(self) -> None:
        """Patch the standard library, then load the application and serve."""
        self.idle: set[gevent.Greenlet] = set()
        super().init_process()

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

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Limit the wait for the next request on a connection. gunicorn waits inside this context manager."""
        greenlet = gevent.getcurrent()
        self.idle.add(greenlet)
        try:
            # A stream may end while the worker stops. Its idle connection must not delay the stop by `keepalive`.
            with super().timeout_ctx() if self.alive else gevent.Timeout(IDLE_AT_STOP_S, False):
                yield
        finally:
            self.idle.discard(greenlet)

    def continue_stop(self, left_s: float) -> None:
        """Close the idle connections. A connection on which a request has just arrived is closed after its answer.

        gunicorn handles `NoMoreData` as if the client had closed the connection, and logs nothing.
        """
        if left_s < self.cfg.graceful_timeout - IDLE_AT_STOP_S:
            gevent.killall(list(self.idle), exception=NoMoreData, block=False)
        super().continue_stop(left_s)
