"""Time limits for what callers send: a thread shuts down the connection of a caller who takes too long.

A timeout of the socket itself limits a single read. A caller who sends one byte a minute is never late for it.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic

CHECK_S = 0.5
"""Seconds between two looks at the deadlines, so that a limit may be exceeded by this much."""


class Deadline:
    """A moment by which a caller must have sent something.

    :ivar has_passed: whether the moment has passed; the connection then gives no more data
    """

    __slots__ = ("connection", "ends_at", "has_passed")

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self.connection = connection
        self.ends_at = monotonic() + seconds
        self.has_passed = False


class Deadlines:
    """The deadlines of one process. The thread starts with the first of them, in the process that serves."""

    def __init__(self) -> None:
        self._open: set[Deadline] = set()
        self._lock = threading.Lock()
        self._has_started = False

    @contextmanager
    def limit(self, connection: socket.socket, seconds: float) -> Iterator[Deadline]:
        """Limit the time for everything that is read from a connection in this block.

        When the time is over, the connection is shut down for reading: a read that waits returns what has come. Writing
        goes on, so that the caller can be told.
        """
        deadline = Deadline(connection, seconds)
        with self._lock:
            self._open.add(deadline)
            if not self._has_started:
                self._has_started = True
                threading.Thread(target=self._check_repeatedly, name="deadlines", daemon=True).start()
        try:
            yield deadline
        finally:
            with self._lock:
                self._open.discard(deadline)

    def _check_repeatedly(self) -> None:
        pause = threading.Event()
        while not pause.wait(CHECK_S):
            # Under the lock, no block can end: its connection cannot be closed, and serve another request, meanwhile.
            with self._lock:
                late = [deadline for deadline in self._open if deadline.ends_at < monotonic()]
                for deadline in late:
                    deadline.has_passed = True
                    self._open.discard(deadline)
                    with suppress(OSError):  # The caller has closed the connection.
                        deadline.connection.shutdown(socket.SHUT_RD)


deadlines = Deadlines()
"""The deadlines of this process."""
