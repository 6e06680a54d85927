"""How a worker stops: after SIGTERM the running turns may finish. Turns that take too long are ended and stored."""

from time import monotonic
from typing import Any

TIME_TO_STORE_S = 3.0
"""Running turns are ended at least this many seconds before the grace time is over. In these seconds the models are
stopped, the answers so far are stored, and the callers are told. If half of the grace time is shorter, it is used."""

NOTIFY_INTERVAL_S = 1.0
"""The longest time in seconds between two calls of `notify`. gunicorn's workers call it while they serve and stop."""


class TurnStoppingMixin:
    """Ends running turns when a worker stops. A mixin; list it before gunicorn's worker class.

    gunicorn calls `notify` at least once a second until the worker has ended, so `notify` does each step of the stop at
    its time. The signal handler only sets flags, because it may interrupt any line of code.
    """

    def load_wsgi(self: Any) -> None:
        """Load the application."""
        super().load_wsgi()  # type: ignore[misc]
        self.monitor = self.wsgi.extensions["route_api"].turn_monitor
        self.stops_at: float | None = None

    def run(self: Any) -> None:
        """Serve until SIGTERM. At the end, try once more to store the turns that the database did not accept before."""
        super().run()  # type: ignore[misc]
        self.monitor.flush_ends()

    def handle_exit(self: Any, sig: int, frame: Any) -> None:
        """Handle SIGTERM: accept no new connections, and finish the running requests. Ignore a second SIGTERM."""
        super().handle_exit(sig, frame)  # type: ignore[misc]
        if self.booted and self.stops_at is None:
            self.stops_at = monotonic() + self.cfg.graceful_timeout
            self.monitor.is_stopping = True

    def notify(self: Any) -> None:
        """Tell the master that this worker is alive. After SIGTERM, do the next step of the stop."""
        super().notify()  # type: ignore[misc]
        if self.booted and self.stops_at is not None:
            self.continue_stop(self.stops_at - monotonic())

    def continue_stop(self: Any, left_s: float) -> None:
        """End the turns that still run, if the time that is left is only enough to store them.

        :param left_s: seconds until the master kills this worker
        """
        time_to_store_s = min(TIME_TO_STORE_S, self.cfg.graceful_timeout / 2)
        left_at_next_call_s = left_s - NOTIFY_INTERVAL_S
        if left_at_next_call_s < time_to_store_s:
            self.monitor.end_turns()
        if left_at_next_call_s < time_to_store_s / 2:
            self.monitor.drop_callers()
