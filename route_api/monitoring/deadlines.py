"""Time limits for what a caller sends: a thread shuts down the connection of a caller who takes too long.

A timeout of the socket limits each read alone, so a caller who sends one byte a minute would never exceed it. Only the
time in which the gateway waits for the caller counts: while a slow Dify takes an upload, the caller cannot send either.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from time import monotonic

from .repeated_task import RepeatedTask

CHECK_S = 0.5
"""Seconds between two checks of the deadlines. A caller may exceed a limit by this time."""

SILENCE_S = 30.0
"""Seconds to wait for the next bytes of a body. nginx has the same limit (`client_body_timeout`)."""

SLOWEST_RATE = 1024
"""Bytes per second that a caller must send on average, after SILENCE_S."""


class Deadline:
    """Limits the wait for the data that one caller sends.

    :ivar connection: the caller's connection
    :ivar ends_at: the time by which all data must have arrived, as a value of `monotonic`
    :ivar has_passed: whether the caller was too slow; the connection is then shut down for reading
    """

    __slots__ = ("connection", "ends_at", "has_passed", "_received", "_waited_s", "_waits_since")

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self.connection = connection
        self.ends_at = monotonic() + seconds
        self.has_passed = False
        self._received = 0
        self._waited_s = 0.0
        self._waits_since = inf

    def read(self, function: Callable[[], bytes]) -> bytes:
        """Read from the connection, and note how long this takes and how much arrives."""
        self._waits_since = begun = monotonic()
        try:
            data = function()
        finally:
            self._waits_since = inf
            self._waited_s += monotonic() - begun
        self._received += len(data)
        return data

    def is_over(self, now: float) -> bool:
        """Whether the caller has been too slow."""
        silence_s = now - self._waits_since  # Minus infinity if the gateway is not waiting.
        allowed_s = SILENCE_S + self._received / SLOWEST_RATE
        return now > self.ends_at or silence_s > SILENCE_S or self._waited_s + silence_s > allowed_s


class Deadlines:
    """The deadlines of one process."""

    def __init__(self) -> None:
        self._open: dict[socket.socket, Deadline] = {}
        self._lock = threading.Lock()
        self._checks = RepeatedTask("deadlines", CHECK_S, self._check)

    @contextmanager
    def limit(self, connection: socket.socket, seconds: float = inf) -> Iterator[Deadline]:
        """Limit the time for all reads from a connection in this block.

        When the time is over, the connection is shut down for reading, and a waiting read returns the data that has
        arrived. Writing still works, so that the caller can get an error.

        :param seconds: for the whole block. SILENCE_S and SLOWEST_RATE apply in any case, to the reads that the worker
            makes through :meth:`read`
        """
        deadline = self.begin(connection, seconds)
        try:
            yield deadline
        finally:
            self.end(deadline)

    def begin(self, connection: socket.socket, seconds: float = inf) -> Deadline:
        """Begin a limit that :meth:`end` ends. The arguments are those of :meth:`limit`."""
        self._checks.start()
        deadline = Deadline(connection, seconds)
        with self._lock:
            self._open[connection] = deadline
        return deadline

    def end(self, deadline: Deadline) -> None:
        """End a limit. If it has ended already, this does nothing."""
        with self._lock:
            if self._open.get(deadline.connection) is deadline:
                del self._open[deadline.connection]

    def read(self, connection: socket.socket, function: Callable[[], bytes]) -> bytes:
        """Read from a connection, and note the read if the connection has a limit now.

        :param function: reads the next bytes
        """
        deadline = self._open.get(connection)
        return function() if deadline is None else deadline.read(function)

    def _check(self) -> None:
        # The lock keeps a block from ending here. Otherwise its connection could already serve the next request.
        with self._lock:
            now = monotonic()
            for deadline in [each for each in self._open.values() if each.is_over(now)]:
                deadline.has_passed = True
                del self._open[deadline.connection]
                with suppress(OSError):  # The caller has closed the connection.
                    deadline.connection.shutdown(socket.SHUT_RD)


deadlines = Deadlines()
"""The deadlines of this process."""
