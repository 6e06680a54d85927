"""The worker for WORKER_CLASS=gthread: each request runs in a thread of plain, unpatched Python."""

import signal
import socket
from contextlib import suppress
from select import select
from time import monotonic
from typing import Any

from gunicorn.util import close_graceful
from gunicorn.workers.gthread import ThreadWorker

from .request_reading import patch_longest_request_line, patch_unreader
from .stopping import TurnStoppingMixin

HEAD_TIMEOUT_S = 30.0
"""Seconds within which the whole head of a request must arrive. gunicorn's class has no such limit; its gevent worker
waits for `keepalive` seconds."""


class GatewayThreadWorker(TurnStoppingMixin, ThreadWorker):
    """gunicorn's gthread worker, which also ends running turns in time and closes its listeners when it stops.

    gunicorn's class stops accepting connections, but keeps its listeners open until the worker has ended. The kernel
    still accepts connections for these listeners, and nginx would send requests that nobody answers.

    gunicorn's class closes connections in its main thread, and waits there up to two seconds for each caller to close
    it too. The main thread also accepts all connections and calls `notify`, so this class waits in the thread of the
    request. It also limits the time for the head of a request, which would otherwise hold a thread without limit.
    """

    def load_wsgi(self) -> None:
        """Load the application, then patch gunicorn's reads of requests."""
        super().load_wsgi()
        patch_unreader()
        patch_longest_request_line()

    def set_accept_enabled(self, enabled: bool) -> None:
        """Start or stop accepting connections.

        When the worker stops, it takes over the connections that the kernel has accepted, then closes the listeners.
        Connections on which nothing has arrived so far expire now.
        """
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive:
            for listener in self.sockets:
                while select([listener], [], [], 0)[0]:
                    self.accept(listener)
                listener.close()
            for connection in self.pending_conns:
                connection.timeout = monotonic()

    def handle(self, conn: Any) -> Any:
        """Handle a request in a thread of the pool. If the connection is to be closed, wait here for the caller."""
        # Imported here because gunicorn's master, which must not load the application, imports this file.
        from ..monitoring.deadlines import deadlines

        conn.head_deadline = deadlines.begin(conn.sock, HEAD_TIMEOUT_S)
        try:
            keeps_open = super().handle(conn)
        finally:
            deadlines.end(conn.head_deadline)
        if not keeps_open:
            with suppress(OSError):  # The caller has already closed the connection.
                close_graceful(conn.sock.dup())
                conn.sock.shutdown(socket.SHUT_RDWR)  # The main thread, which closes the socket, finds it at its end.
        return keeps_open

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Handle a request whose head has arrived."""
        from ..monitoring.deadlines import deadlines

        deadlines.end(conn.head_deadline)
        return super().handle_request(req, conn)

    def handle_quit(self, sig: int, frame: Any) -> None:
        """Handle SIGQUIT and Ctrl-C: stop as after SIGTERM, but end the running turns at the next call of `notify`.

        Python waits for the threads of a process that exits, and so would wait for the turns.
        """
        if not self.booted:
            super().handle_quit(sig, frame)
        self.handle_exit(sig, frame)
        self.stops_at = monotonic()

    def is_parent_alive(self) -> bool:
        """Whether the master lives. If it was killed, the worker stops as after SIGTERM, and a new master can start."""
        is_alive: bool = super().is_parent_alive()
        if not is_alive:
            self.handle_exit(signal.SIGTERM, None)
        return is_alive
