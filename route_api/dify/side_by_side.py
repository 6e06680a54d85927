"""Independent calls to Dify at the same time, for one request: it waits for the slowest of them, not for their sum."""

import threading
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

from ..errors import DifyUnreachable, TooManyDifyCalls
from ..monitoring import tracing
from .transport import UNREACHABLE_TEXT

T = TypeVar("T")

MAX_AT_ONCE = 4
"""How many calls of one request run at the same time. Dify itself has ten connections unless its operator gives it more
(SERVER_WORKER_CONNECTIONS), and others want some of them."""


def side_by_side(*calls: Callable[[], T]) -> list[T]:
    """Make calls that do not need each other's results, MAX_AT_ONCE of them at the same time.

    The calling thread makes calls too. Each thread (with gevent: greenlet) runs in a copy of its context, so that the
    application and the request id are the same, and with a trace of its own. All have ended when this returns. Each
    call takes its own place of DIFY_MAX_CALLS; one that finds no place is made again when the others have ended. An
    interruption of the request ends all of them.

    :param calls: they may be made twice, so they only read
    :returns: the results, in the order of the calls
    :raises DifyError: what the call raised that failed first. The other calls are interrupted then, and those that have
        not begun are not made
    """
    if len(calls) < 2:  # As in each turn with one knowledge base or none.
        return [call() for call in calls]
    work = _Work(calls)
    trace = tracing.current()
    waits_since = perf_counter()
    try:
        with trace.interruptible(work.interrupt):
            own = work.branch()
            threads = work.start(min(len(calls), MAX_AT_ONCE) - 1)
            copy_context().run(work.run, own)
            for thread in threads:
                thread.join()
            copy_context().run(partial(work.run, own, is_last=True))
    except ConnectionAbortedError:  # The request was interrupted before the calls began.
        raise DifyUnreachable(UNREACHABLE_TEXT) from None
    trace.waited_since(waits_since)
    for branch in work.branches:
        trace.join(branch)
    if work.error is not None:
        raise work.error
    return [work.results[number] for number in range(len(calls))]


class _Work:
    """The calls that are left, and what came of the others."""

    def __init__(self, calls: tuple[Callable[[], Any], ...]) -> None:
        self._left = deque(enumerate(calls))
        self.results: dict[int, Any] = {}
        self.error: BaseException | None = None
        self.branches: list[tracing.Trace] = []

    def branch(self) -> tracing.Trace:
        """A new trace of one thread, for :meth:`run`."""
        trace = tracing.current()
        branch = trace.branch()
        self.branches.append(branch)
        if trace.is_interrupted:  # Perhaps just before the branch was in the list.
            branch.interrupt()
        return branch

    def start(self, count: int) -> list[threading.Thread]:
        """Start up to `count` threads. If the system has no more, the calling thread makes the calls of the rest."""
        threads: list[threading.Thread] = []
        for _ in range(count):
            branch = self.branch()
            thread = threading.Thread(target=copy_context().run, args=(self.run, branch), daemon=True)
            try:
                thread.start()
            except RuntimeError:
                break
            threads.append(thread)
        return threads

    def run(self, branch: tracing.Trace, *, is_last: bool = False) -> None:
        """Make calls until none is left, one has failed, or one finds no place.

        :param is_last: whether a call that finds no place has failed, because no other thread makes calls
        """
        tracing.continue_with(branch)
        while True:
            try:
                number, call = self._left.popleft()
            except IndexError:
                return
            try:
                self.results[number] = call()
            except BaseException as error:  # `side_by_side` raises it in the thread of the request.
                if isinstance(error, TooManyDifyCalls) and not is_last:
                    self._left.append((number, call))
                    return
                self.error = self.error or error  # An interrupted call fails after the one that failed by itself.
                self._left.clear()
                self.interrupt()
                return

    def interrupt(self) -> None:
        """End the waits of all threads."""
        for branch in self.branches:
            branch.interrupt()
