"""What goes with one request through all layers: its id, and what it has cost at Dify so far.

Nothing of Flask here, because the client of Dify reads and writes it. One thread or greenlet serves a request from its
first byte to its last, and each has a context of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_waits: dict[int, list[Any]] = {}


@dataclass(slots=True)
class Trace:
    """One request.

    :param request_id: empty outside of a request
    :param started_at: when the request came in, as a moment of `perf_counter`
    :param dify_calls: how many calls were made to Dify
    :param dify_s: seconds spent waiting for Dify; of an upload that is passed on as it comes also those in which our
        caller was sending
    :param status: the HTTP status of a failure, also where ERROR_HTTP_STATUS hides it
    :param error: the name of the failure
    """

    request_id: str = ""
    started_at: float = field(default_factory=perf_counter)
    dify_calls: int = 0
    dify_s: float = 0.0
    status: int | None = None
    error: str | None = None

    is_interrupted: bool = False

    def interrupt(self) -> None:
        """Temporary."""
        self.is_interrupted = True
        for shut in list(_waits.get(id(self), [])):
            shut()

    @contextmanager
    def interruptible(self, shut: Any) -> Iterator[None]:
        _waits.setdefault(id(self), []).append(shut)
        try:
            yield
        finally:
            _waits.pop(id(self), None)

    def waited_since(self, moment: float) -> None:
        """Add a wait for Dify that began at this moment of `perf_counter`."""
        self.dify_s += perf_counter() - moment


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def begin(request_id: str) -> Trace:
    """The trace of the request that comes in now."""
    trace = Trace(request_id)
    _current.set(trace)
    return trace


def end() -> None:
    """What this thread or greenlet does from now on belongs to no request."""
    _current.set(None)


def current() -> Trace:
    """The trace of the request at hand; outside of one a trace that nobody reads."""
    return _current.get() or Trace()


class Timed(Generic[T]):
    """The same pieces of an answer of Dify's, with the wait for each added to the trace.

    :ivar waits_since: the moment of `perf_counter` since which a piece is being waited for; None: nobody waits
    """

    def __init__(self, pieces: Iterator[T]) -> None:
        self._pieces = pieces
        self.waits_since: float | None = None

    def __iter__(self) -> Iterator[T]:
        pieces, trace = self._pieces, current()
        while True:
            self.waits_since = asked_at = perf_counter()
            try:
                piece = next(pieces)
            except StopIteration:
                return
            finally:
                self.waits_since = None
                trace.waited_since(asked_at)
            yield piece
