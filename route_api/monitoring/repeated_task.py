"""What a process does again and again as long as it lives."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class RepeatedTask:
    """Calls a function again and again, in a thread. If the function raises an error, the log has it, and the next call
    follows.

    The thread starts with the first :meth:`start`: a thread of gunicorn's master process would not survive the fork of
    the worker.
    """

    def __init__(self, name: str, seconds: float, task: Callable[[], None]) -> None:
        """
        :param name: the name of the thread
        :param seconds: the pause before each call
        """
        self._name = name
        self._seconds = seconds
        self._task = task
        self._lock = threading.Lock()
        self._has_ended = threading.Event()
        self.has_started = False

    def start(self) -> None:
        """Start the thread, if it does not run.

        :raises RuntimeError: no thread could be started; the next call of this method tries again
        """
        if self.has_started:
            return
        with self._lock:
            if not self.has_started:
                has_ended = threading.Event()
                threading.Thread(target=self._repeat, args=(has_ended,), name=self._name, daemon=True).start()
                self._has_ended, self.has_started = has_ended, True

    def stop(self) -> None:
        """Let the thread end before its next call. A worker's threads end with its process; in tests, a process goes on
        when an application has served its purpose."""
        with self._lock:
            self._has_ended.set()
            self.has_started = False

    def _repeat(self, has_ended: threading.Event) -> None:
        while not has_ended.wait(self._seconds):
            try:
                self._task()
            except Exception:  # The next call may succeed.
                log.exception("unexpected error in the thread %s", self._name)
