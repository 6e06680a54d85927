"""The trace of one request: its id, what it has cost at Dify so far, and whether it is to wait for Dify any longer.

The client of Dify reads and writes the trace, so nothing of Flask is used here. One thread or greenlet serves a request
from its first byte to its last, and each has a context of its own.
"""

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Trace:
    """One request.

    :param request_id: empty outside of a request
    :param started_at: when the request came in, as a moment of `perf_counter`
    :param dify_calls: how many calls were made to Dify
    :param dify_s: seconds spent waiting for Dify; while an upload is passed on as it comes, the seconds in which our
        caller was sending count too
    :param status: the HTTP status of a failure, also where ERROR_HTTP_STATUS hides it
    :param error: the name of the failure
    :param is_interrupted: whether :meth:`interrupt` was called
    """

    request_id: str = ""
    started_at: float = field(default_factory=perf_counter)
    dify_calls: int = 0
    dify_s: float = 0.0
    status: int | None = None
    error: str | None = None
    is_interrupted: bool = False
    _lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)
    _shutdowns: list[Callable[[], None]] = field(default_factory=list, init=False, repr=False, compare=False)

    def waited_since(self, moment: float) -> None:
        """Add a wait for Dify that began at this moment of `perf_counter`."""
        self.dify_s += perf_counter() - moment

    def interrupt(self) -> None:
        """End the wait for Dify that is under way, and let every later call to Dify fail at once.

        Another thread than that of the request may call this, and may call it again.
        """
        with self._lock:
            self.is_interrupted = True
            for shutdown in self._shutdowns:
                shutdown()

    def resume(self) -> None:
        """Let calls to Dify be made again after :meth:`interrupt`: the call that stops a generation, for example."""
        self.is_interrupted = False

    def interruptible(self, shutdown: Callable[[], None]) -> "InterruptibleWait":
        """A context manager for a wait that :meth:`interrupt` can end.

        :param shutdown: ends the wait; it is called in the thread that interrupts, only while the wait lasts, and it
            must not raise
        """
        return InterruptibleWait(self, shutdown)


class InterruptibleWait:
    """What :meth:`Trace.interruptible` returns. `contextlib.contextmanager` would take twice the time."""

    __slots__ = ("_trace", "_shutdown")

    def __init__(self, trace: Trace, shutdown: Callable[[], None]) -> None:
        self._trace = trace
        self._shutdown = shutdown

    def __enter__(self) -> None:
        """
        :raises ConnectionAbortedError: the trace is interrupted already
        """
        trace = self._trace
        with trace._lock:
            if trace.is_interrupted:
                raise ConnectionAbortedError("the request was interrupted")
            trace._shutdowns.append(self._shutdown)

    def __exit__(self, *_: object) -> None:
        trace = self._trace
        with trace._lock:  # A shutdown that has begun ends before the wait does.
            trace._shutdowns.remove(self._shutdown)


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def begin(request_id: str) -> Trace:
    """Make the trace of a request that comes in now the current one.

    :returns: that trace
    """
    trace = Trace(request_id)
    _current.set(trace)
    return trace


def end() -> None:
    """End the request: what this thread or greenlet does from now on belongs to no request."""
    _current.set(None)


def current() -> Trace:
    """The trace of the present request; outside of a request a new trace that nobody reads."""
    return _current.get() or Trace()


def timed(pieces: Iterator[T]) -> Iterator[T]:
    """Hand out the pieces of one of Dify's answers, and add the wait for each piece to the trace."""
    trace = current()
    while True:
        asked_at = perf_counter()
        try:
            piece = next(pieces)
        except StopIteration:
            return
        finally:
            trace.waited_since(asked_at)
        yield piece
