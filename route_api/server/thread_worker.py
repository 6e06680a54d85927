"""The worker for WORKER_CLASS=gthread: each request runs in a thread of plain, unpatched Python."""

from select import select

from gunicorn.workers.gthread import ThreadWorker

from .stopping import StopsTurns


class GatewayThreadWorker(StopsTurns, ThreadWorker):
    """gunicorn's gthread worker, which stops turns in time, and closes its listeners when it stops.

    gunicorn's own stops accepting connections and keeps its listeners open until it has ended. So the kernel goes on
    taking connections for it, and nginx sends requests on them that nobody will answer.
    """

    def set_accept_enabled(self, enabled: bool) -> None:
        """Accept connections from now on, or stop accepting them.

        When the worker stops, it accepts the connections that the kernel has taken already, then closes the listeners.
        """
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive:
            for listener in self.sockets:
                while select([listener], [], [], 0)[0]:
                    self.accept(listener)
                listener.close()
