"""The worker for WORKER_CLASS=gevent: each request runs in a greenlet.

gunicorn's master imports this file too, before any worker has patched the standard library. So nothing here may import
the application, a database driver or an HTTP client at the top of the file.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gunicorn.http.errors import NoMoreData
from gunicorn.workers.ggevent import GeventWorker

from .gevent_patches import check_idle_connections_at_once, send_bytes_at_once
from .stopping import StopsTurns

IDLE_AT_STOP_S = 0.5
"""Seconds for which an idle connection stays open after SIGTERM: a request may be on its way."""


class GatewayGeventWorker(StopsTurns, GeventWorker):
    """gunicorn's gevent worker, which stops turns in time, with two changes and those of `gevent_patches.py`.

    It closes idle connections when it stops. gunicorn counts a kept-alive connection on which nothing is asked as a
    request in progress: nginx keeps such connections, so each stop took all of `graceful_timeout`.

    It hashes passwords in real threads: a hash takes 60 ms, in which no other greenlet runs.
    """

    def init_process(self) -> None:
        """Patch the standard library, then load the application and serve."""
        self.idle: set[gevent.Greenlet] = set()
        super().init_process()

    def patch(self) -> None:
        """Called before anything of the application is imported."""
        super().patch()
        send_bytes_at_once()
        scrypt = hashlib.scrypt

        def scrypt_in_thread(*arguments: Any, **options: Any) -> bytes:
            digest: bytes = gevent.get_hub().threadpool.apply(scrypt, arguments, options)
            return digest

        hashlib.scrypt = scrypt_in_thread

    def load_wsgi(self) -> None:
        """Load the application, and urllib3 with it."""
        super().load_wsgi()
        check_idle_connections_at_once()

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """gunicorn wraps this around the wait for the next request on a connection."""
        greenlet = gevent.getcurrent()
        self.idle.add(greenlet)
        try:
            # A stream that ends while the worker stops leaves an idle connection: nobody may wait for `keepalive` then.
            with super().timeout_ctx() if self.alive else gevent.Timeout(IDLE_AT_STOP_S, False):
                yield
        finally:
            self.idle.discard(greenlet)

    def go_on_stopping(self, left_s: float) -> None:
        """Close the connections on which nothing is asked. A connection on which a request has just arrived is closed
        after its answer. gunicorn takes it as if the callers had closed the connections, and logs nothing."""
        if left_s < self.cfg.graceful_timeout - IDLE_AT_STOP_S:
            gevent.killall(list(self.idle), exception=NoMoreData, block=False)
        super().go_on_stopping(left_s)
