"""Time limits for a caller's whole request body: a thread shuts down the connection of a caller who takes too long.

A timeout of the socket limits each read alone, so a caller who sends one byte a minute would never exceed it.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic

CHECK_S = 0.5
"""Seconds between two checks of the deadlines. A caller may exceed a limit by this time."""


class Deadline:
    """The time by which a caller must have sent the data that the gateway waits for.

    :ivar has_passed: whether the time is over; the connection is then shut down for reading
    """

    __slots__ = ("connection", "ends_at", "has_passed")

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self.connection = connection
        self.ends_at = monotonic() + seconds
        self.has_passed = False


class Deadlines:
    """The deadlines of one process.

    The thread that checks them starts with the first deadline: a thread of gunicorn's master process would not survive
    the fork of the worker.
    """

    def __init__(self) -> None:
        self._open: set[Deadline] = set()
        self._lock = threading.Lock()
        self._has_started = False

    @contextmanager
    def limit(self, connection: socket.socket, seconds: float) -> Iterator[Deadline]:
        """Limit the total time for all reads from a connection in this block.

        When the time is over, the connection is shut down for reading, and a waiting read returns the data that has
        arrived. Writing still works, so that the caller can get an error.
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
            # The lock keeps a block from ending here. Otherwise its connection could already serve the next request.
            with self._lock:
                late = [deadline for deadline in self._open if deadline.ends_at < monotonic()]
                for deadline in late:
                    deadline.has_passed = True
                    self._open.discard(deadline)
                    with suppress(OSError):  # The caller has closed the connection.
                        deadline.connection.shutdown(socket.SHUT_RD)


deadlines = Deadlines()
"""The deadlines of this process."""
