"""How a worker stops: SIGTERM lets the running turns end, and ends those that take too long in time to store them."""

from time import monotonic
from typing import Any

STORE_S = 3.0
"""Seconds before the end of the grace time at which running turns are ended: to stop the models, to store what has come
and to tell the callers. Half of a grace time that is shorter than twice this."""

NOTIFY_S = 1.0
"""Seconds between two calls of `notify`, which gunicorn's workers make while they serve and while they stop."""


class StopsTurns:
    """The part of a worker that stops turns; stands before one of gunicorn's worker classes in the list of bases.

    gunicorn calls `notify` once a second until the worker has ended. What has to happen at a certain time of the stop
    happens there: a signal handler may interrupt any line of code, so that it must not do more than set a flag.
    """

    def load_wsgi(self: Any) -> None:
        """Load the application."""
        super().load_wsgi()  # type: ignore[misc]
        self.monitor = self.wsgi.extensions["route_api"].turn_monitor
        self.stops_at: float | None = None

    def run(self: Any) -> None:
        """Serve until SIGTERM; at the end, store the turns that the database did not take before."""
        super().run()  # type: ignore[misc]
        self.monitor.flush_ends()

    def handle_exit(self: Any, sig: int, frame: Any) -> None:
        """SIGTERM: take no new connections and finish what runs. A second SIGTERM changes nothing."""
        super().handle_exit(sig, frame)  # type: ignore[misc]
        if self.booted and self.stops_at is None:
            self.stops_at = monotonic() + self.cfg.graceful_timeout
            self.monitor.is_stopping = True

    def notify(self: Any) -> None:
        """Tell the master that this worker is alive, and do what the stop needs now."""
        super().notify()  # type: ignore[misc]
        if self.booted and self.stops_at is not None:
            self.go_on_stopping(self.stops_at - monotonic())

    def go_on_stopping(self: Any, left_s: float) -> None:
        """End the turns that still run, when there is just time enough to store them.

        :param left_s: seconds until the master kills this worker
        """
        store_s = min(STORE_S, self.cfg.graceful_timeout / 2)
        if left_s - NOTIFY_S < store_s:  # The next call would come too late.
            self.monitor.end_turns()
        if left_s - NOTIFY_S < store_s / 2:
            self.monitor.drop_callers()
