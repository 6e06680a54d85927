"""The worker for WORKER_CLASS=gthread: each request runs in a thread of plain, unpatched Python."""

from select import select

from gunicorn.workers.gthread import ThreadWorker

from .stopping import TurnStoppingMixin


class GatewayThreadWorker(TurnStoppingMixin, ThreadWorker):
    """gunicorn's gthread worker, which also ends running turns in time and closes its listeners when it stops.

    gunicorn's class stops accepting connections, but keeps its listeners open until the worker has ended. The kernel
    still accepts connections for these listeners, and nginx would send requests that nobody answers.
    """

    def set_accept_enabled(self, enabled: bool) -> None:
        """Start or stop accepting connections.

        When the worker stops, it takes over the connections that the kernel has accepted, then closes the listeners.
        """
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive:
            for listener in self.sockets:
                while select([listener], [], [], 0)[0]:
                    self.accept(listener)
                listener.close()
