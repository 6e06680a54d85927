"""How gunicorn runs Route API: `gunicorn wsgi:app`.

Measured: sync workers serve 39 requests a second once Dify takes 50 ms, gthread stalls beyond 60 open streams, gevent
holds 1,000. Never add `--preload`: it imports sockets before gevent patches them.
"""

import gc
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gunicorn.glogging import Logger
from gunicorn.http.errors import NoMoreData
from gunicorn.workers.ggevent import GeventWorker
from pythonjsonlogger.orjson import OrjsonFormatter

from config import Config

settings = Config.load()

IDLE_AT_STOP_S = 0.5
"""Seconds that a connection must go on asking nothing after SIGTERM before it is closed: a request may be coming."""

LAST_WORDS_S = min(3.0, settings.STOP_GRACE / 2)
"""Seconds before the end of the grace time at which running answers are ended: to stop the models, store what came and
tell the callers."""

METRICS_DIR = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus_client finds the folder that the workers count in."""


class Log(Logger):
    """What gunicorn itself says, in the form of our own log.

    The workers' share goes through `route_api.monitoring.logs`, once they have it; the master must not import that.
    """

    def setup(self, cfg: Any) -> None:
        """Called at the start, and again when the configuration is read anew."""
        super().setup(cfg)
        if settings.LOG_FORMAT == "text":
            form = logging.Formatter("%(asctime)s %(levelname)s %(name)s [-] %(message)s")
        else:
            columns = ("time", "levelname", "name", "request_id", "message")
            names = {"levelname": "level", "name": "logger", "exc_info": "exception"}
            form = OrjsonFormatter(columns, rename_fields=names, timestamp="time", static_fields={"request_id": "-"})
        for handler in self.error_log.handlers:
            handler.setFormatter(form)


class Packets:
    """A caller's connection, as gunicorn's answers are written to it, with two habits that save system calls: the head
    of an answer leaves with the first piece of its body, not before it; and what fits into the socket is sent, where
    gevent's `sendall` would ask for the size of its buffer each time.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._head: bytes | None = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def sendall(self, data: bytes) -> None:
        """Send a piece of the answer; the first one, which is its head, with the next."""
        if self._head is not None:
            if not self._head:
                self._head = data
                return
            data, self._head = self._head + data, None
        sent = self._connection.send(data)
        if sent < len(data):
            self._connection.sendall(memoryview(data)[sent:])

    def sendfile(self, *arguments: Any, **options: Any) -> Any:
        """Send a file as the body of the answer."""
        self.flush()
        return self._connection.sendfile(*arguments, **options)

    def flush(self) -> None:
        """Send a head that no piece of a body has followed."""
        if self._head:
            self.sendall(b"")


class Worker(GeventWorker):
    """gunicorn's gevent worker counts a kept-alive connection on which nothing is asked as a request in progress: with
    nginx in front, which keeps such connections, every stop took all of `graceful_timeout`. This one closes them.

    It stands here and not in route_api, which must not be imported before a worker has patched the sockets.
    """

    def load_wsgi(self) -> None:
        """Import the application."""
        super().load_wsgi()
        self.idle: set[gevent.Greenlet] = set()
        self.monitor = self.wsgi.extensions["route_api"].turn_monitor

    def run(self) -> None:
        """Serve until told to stop; then store what the database did not take before."""
        super().run()
        self.monitor.store_rest()

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

    def handle_request(self, listener_name: Any, request: Any, connection: Any, address: Any) -> None:
        """Answer one request."""
        packets = Packets(connection)
        try:
            super().handle_request(listener_name, request, packets, address)
        finally:
            packets.flush()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: take nothing new, finish what runs, and do not wait for those who ask nothing. What runs for too
        long is ended in time to be stored. A second SIGTERM changes nothing."""
        was_alive = self.alive
        super().handle_exit(sig, frame)
        if self.booted and was_alive:
            self.monitor.is_stopping = True
            gevent.spawn_later(IDLE_AT_STOP_S, self.close_idle)
            gevent.spawn_later(settings.STOP_GRACE - LAST_WORDS_S, self.monitor.end_turns)
            gevent.spawn_later(settings.STOP_GRACE - LAST_WORDS_S / 2, self.monitor.leave_callers)

    def close_idle(self) -> None:
        """Close the connections on which nothing is asked; those that asked just now are answered, and closed then.

        To gunicorn it looks as if the callers had closed them, of which it makes no fuss in the log.
        """
        gevent.killall(list(self.idle), exception=NoMoreData, block=False)


bind = f"{settings.HOST}:{settings.PORT}"
worker_class = Worker
logger_class = Log
workers = settings.WORKERS
worker_connections = 2000
keepalive = 75
"""Seconds; longer than nginx keeps an idle connection (60), so that nginx never writes into one that we just closed."""
timeout = 60
"""Seconds without a sign of life of the whole worker, not of a request: streams may run for hours."""
graceful_timeout = settings.STOP_GRACE
forwarded_allow_ips, secure_scheme_headers, forwarder_headers = "*", {}, ""
"""What a proxy says of its caller is read in one place, by PROXIES: gunicorn believes whoever calls nothing, and need
not look up who that is. By default a neighbour, as nginx is, may even name another path than the request's."""
max_requests = 0
control_socket_disable = True
"""Two gateways of one user would share the one socket."""


def on_starting(server: Any) -> None:
    """Refuse to start without a Dify, or where nobody could call: every request would fail. Make a folder for the
    workers' counters."""
    if missing := settings.missing_to_serve():
        for sentence in missing:
            server.log.error(sentence)
        sys.exit(2)
    os.environ[METRICS_DIR] = tempfile.mkdtemp(prefix="route-api-metrics-")


def post_worker_init(worker: Any) -> None:
    """What the application is made of stays. To look through its 150,000 objects for garbage would hold up everybody
    for a tenth of a second, every few thousand requests."""
    gc.collect()
    gc.freeze()


def child_exit(server: Any, worker: Any) -> None:
    """What a dead worker had open, nobody has open any more; what it counted stays counted."""
    # Imported now: without the variable, which is set after this file is read, it would count for one process alone.
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)


def on_exit(server: Any) -> None:
    """Take the folder of the counters away."""
    shutil.rmtree(os.environ[METRICS_DIR], ignore_errors=True)
