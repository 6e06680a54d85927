"""The trace of one request: its id, its calls to Dify and their time, and whether these calls are interrupted.

The Dify client uses the trace and must not depend on Flask, so the trace is kept in a context variable. One thread or
greenlet serves a request from the first byte to the last, and each thread or greenlet has its own context.
"""

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

from ..languages import ENGLISH, Sentence

if TYPE_CHECKING:
    from opentelemetry.trace import Span

T = TypeVar("T")


@dataclass(slots=True)
class Trace:
    """The trace of one request.

    :param request_id: empty outside of a request
    :param started_at: when the request came in, as a value of `perf_counter`
    :param dify_calls: the number of calls to Dify
    :param dify_s: seconds spent waiting for Dify. A streamed upload also counts the time in which the caller sends.
    :param status: the HTTP status of a failure, even if ERROR_HTTP_STATUS hides this status from the caller
    :param error: the error code of a failure, such as `kb_not_found`
    :param is_interrupted: whether :meth:`interrupt` was called
    :param warnings: sentences for the caller about what the gateway changed or ignored in the request
    :param language: the language of the sentences for the caller
    :param has_sentences: whether a sentence in this language was written into the answer
    :param span: the span of the request for OpenTelemetry; None without traces (`spans.py`)
    """

    request_id: str = ""
    started_at: float = field(default_factory=perf_counter)
    dify_calls: int = 0
    dify_s: float = 0.0
    status: int | None = None
    error: str | None = None
    is_interrupted: bool = False
    warnings: list[Sentence] = field(default_factory=list)
    language: str = ENGLISH
    has_sentences: bool = False
    span: "Span | None" = None
    _lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)
    _shutdowns: list[Callable[[], None]] = field(default_factory=list, init=False, repr=False, compare=False)

    def waited_since(self, moment: float) -> None:
        """Add a wait for Dify that ends now.

        :param moment: when the wait began, as a value of `perf_counter`
        """
        self.dify_s += perf_counter() - moment

    def warn(self, sentence: Sentence) -> None:
        """Tell the caller something in the answer's `warnings`. A sentence is told once."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def interrupt(self) -> None:
        """End the current wait for Dify, and let every later call to Dify fail at once.

        Any thread may call this, and more than once.
        """
        with self._lock:
            self.is_interrupted = True
            for shutdown in self._shutdowns:
                shutdown()

    def branch(self) -> "Trace":
        """The trace of a call that runs in another thread, at the same time as those of this trace (:meth:`join`).

        It has the same request id, warnings and span, but its own calls and times. The caller must let
        :meth:`interrupt` reach it: `trace.interruptible(branch.interrupt)`.
        """
        return Trace(
            self.request_id,
            self.started_at,
            is_interrupted=self.is_interrupted,
            warnings=self.warnings,
            span=self.span,
        )

    def join(self, branch: "Trace") -> None:
        """Count the calls of a branch that has ended. Its wait ran beside ours, so its seconds do not count again."""
        self.dify_calls += branch.dify_calls

    def resume(self) -> None:
        """Allow calls to Dify again after :meth:`interrupt`, for example the call that stops a generation."""
        self.is_interrupted = False

    def interruptible(self, shutdown: Callable[[], None]) -> "InterruptibleWait":
        """A context manager for a wait that :meth:`interrupt` can end.

        :param shutdown: a function that ends the wait and raises nothing. The interrupting thread calls it, and only
            while the wait lasts.
        """
        return InterruptibleWait(self, shutdown)


class InterruptibleWait:
    """The context manager of :meth:`Trace.interruptible`. `contextlib.contextmanager` would take twice the time."""

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
        with trace._lock:  # If a shutdown has begun, wait until it has ended.
            trace._shutdowns.remove(self._shutdown)


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def begin(request_id: str) -> Trace:
    """Begin the trace of a new request in this thread or greenlet.

    :returns: the trace, which is now the current one
    """
    trace = Trace(request_id)
    _current.set(trace)
    return trace


def continue_with(trace: Trace) -> None:
    """Let a trace be the current one of this thread or greenlet."""
    _current.set(trace)


def end() -> None:
    """End the current trace: later log lines of this thread or greenlet belong to no request."""
    _current.set(None)


def current() -> Trace:
    """The trace of the current request, or a new and unused trace outside of a request."""
    return _current.get() or Trace()


def timed(pieces: Iterator[T]) -> Iterator[T]:
    """Iterate over the pieces of an answer of Dify, and add the wait for each piece to the trace."""
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
