"""How gunicorn runs Route API: `gunicorn wsgi:app`.

Measured: sync workers serve 39 requests a second once Dify takes 50 ms, gthread stalls beyond 60 open streams, gevent
holds 1,000. Never add `--preload`: it imports sockets before gevent patches them.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gunicorn.workers.ggevent import GeventWorker

from config import Config

settings = Config.load()

IDLE_AT_STOP_S = 0.5
"""Seconds that a connection must go on asking nothing after SIGTERM before it is closed: a request may be coming."""


class Worker(GeventWorker):
    """gunicorn's gevent worker counts a kept-alive connection on which nothing is asked as a request in progress: with
    nginx in front, which keeps such connections, every stop took all of `graceful_timeout`. This one closes them.

    It stands here and not in route_api, which must not be imported before a worker has patched the sockets.
    """

    def run(self) -> None:
        """Serve until told to stop."""
        self.idle: set[gevent.Greenlet] = set()
        super().run()

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """What gunicorn wraps around the wait for a connection's next request."""
        greenlet = gevent.getcurrent()
        self.idle.add(greenlet)
        try:
            # A stream that ends while we stop leaves its connection idle: nobody may wait for `keepalive` then.
            with super().timeout_ctx() if self.alive else gevent.Timeout(IDLE_AT_STOP_S, False):
                yield
        finally:
            self.idle.discard(greenlet)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: take nothing new, finish what runs, and do not wait for those who ask nothing."""
        super().handle_exit(sig, frame)
        gevent.spawn_later(IDLE_AT_STOP_S, self.close_idle)

    def close_idle(self) -> None:
        """Close the connections on which nothing is asked; those that asked just now are answered, and closed then."""
        gevent.killall(list(self.idle), block=False)


bind = f"{settings.HOST}:{settings.PORT}"
worker_class = Worker
workers = settings.WORKERS
worker_connections = 2000
keepalive = 75
"""Seconds; longer than nginx keeps an idle connection (60), so that nginx never writes into one that we just closed."""
timeout = 60
"""Seconds without a sign of life of the whole worker, not of a request: streams may run for hours."""
graceful_timeout = settings.STOP_GRACE
max_requests = 0
control_socket_disable = True
"""Two gateways of one user would share the one socket."""


def on_starting(server: Any) -> None:
    """Refuse to start without a Dify, or where nobody could call: every request would fail."""
    if missing := settings.missing_to_serve():
        for sentence in missing:
            server.log.error(sentence)
        sys.exit(2)
