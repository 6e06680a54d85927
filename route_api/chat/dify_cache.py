"""Caches Dify's answers about its apps and models, which rarely change.

Threads that need the same answer at the same time make one call together. An answer that is too old is still used
while Dify does not give a new one.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

from ..errors import ApiError, DifyFailed, DifyTimeout, DifyTooBusy, DifyUnreachable
from ..extensions import component
from ..languages import Sentence
from ..monitoring import tracing

T = TypeVar("T")
Key = tuple[Any, ...]

log = logging.getLogger(__name__)

CACHE_LIFETIME_S = 300.0
"""Seconds after which an answer is too old, and Dify is asked again."""

REFRESH_WAIT_S = 1.0
"""Seconds for which a caller waits for the answer that takes the place of an old one, before the old one is used."""

REFRESH_PAUSE_S = 10.0
"""If Dify gave no new answer, the old one is used for this many seconds before Dify is asked again."""

LONGEST_WAIT_S = 60.0
"""Seconds for which a caller waits for the call of another caller."""

WAIT_STEP_S = 0.5
"""A caller who waits and leaves is noticed after this many seconds at most."""

OUTAGES = (DifyUnreachable, DifyTimeout, DifyFailed, DifyTooBusy)
"""After these errors an old answer is still right, as far as we know. After any other error of Dify it is wrong, for
example if the app was deleted."""


class _AskerLeft(Exception):
    """The caller whose request made the call has left, so Dify's answer is not known."""


@dataclass(slots=True)
class _Answer:
    value: Any
    asked_at: float
    not_before: float = 0.0
    """When Dify may be asked again, after it gave no new answer."""

    def is_due(self, lifetime: float) -> bool:
        return monotonic() >= max(self.asked_at + lifetime, self.not_before)


class DifyCache:
    """The answers by key. A key has only names that Dify or the settings have, so callers cannot fill the memory."""

    def __init__(self) -> None:
        self._answers: dict[Key, _Answer] = {}
        self._asking: dict[Key, Future[Any]] = {}
        self._lock = threading.Lock()

    def get(self, key: Key, ask: Callable[[], T], lifetime: float | None = None) -> T:
        """The answer for this key. Calls Dify only if there is no answer, or if it is too old.

        :param ask: gets the answer from Dify. It may run in another thread, so it must not use the current request
        :param lifetime: seconds after which an answer is too old; None: CACHE_LIFETIME_S
        :raises DifyError: there is no answer that could be used, and Dify gave none, to us or to another caller for
            whom we waited
        """
        answer = self._answers.get(key)
        if answer is None:
            value: T = self._ask_together(key, ask)
            return value
        if answer.is_due(CACHE_LIFETIME_S if lifetime is None else lifetime):
            self._refresh(key, answer, ask)
            answer = self._answers.get(key, answer)
        value = answer.value
        return value

    def known(self, key: Key) -> Any:
        """The answer for this key, without a call to Dify; None if there is no answer, or if it is too old."""
        answer = self._answers.get(key)
        return None if answer is None or answer.is_due(CACHE_LIFETIME_S) else answer.value

    def _ask_together(self, key: Key, ask: Callable[[], T]) -> T:
        """Ask Dify, or wait for another caller who asks for the same."""
        while True:
            future, is_ours = self._begin(key)
            answer = self._answers.get(key)
            if answer is not None:  # It came just before we began.
                if is_ours:
                    self._end(key).set_result(answer.value)
                value: T = answer.value
                return value
            if is_ours:
                return self._ask(key, ask, future)
            try:
                value = _wait(future)
                return value
            except _AskerLeft:
                continue

    def _refresh(self, key: Key, old: _Answer, ask: Callable[[], Any]) -> None:
        """Let a thread ask for a new answer, and wait a moment for it. Nobody waits if another caller did that already.

        :raises DifyError: the old answer is wrong
        """
        future, is_ours = self._begin(key)
        if not is_ours:
            return
        try:
            threading.Thread(target=self._ask_again, args=(key, old, ask, future), daemon=True).start()
        except RuntimeError as error:  # No thread could be started.
            self._end(key)
            log.warning("Dify was not asked again for %s: %s", key[0], error)
            return
        try:
            future.result(REFRESH_WAIT_S)
        except TimeoutError:
            log.warning("Dify is silent: its old answer about %s is used", key[0])
        except Exception as error:
            if not _may_keep(error):
                raise

    def _ask_again(self, key: Key, old: _Answer, ask: Callable[[], Any], future: Future[Any]) -> None:
        tracing.end()  # A thread of gevent begins with the trace of the request that started it.
        with suppress(Exception):  # `_judge` has logged it.
            self._ask(key, lambda: self._judge(key, old, ask), future)

    def _judge(self, key: Key, old: _Answer, ask: Callable[[], T]) -> T:
        """Ask Dify, and decide about the old answer if Dify gives no new one, before any caller learns of that."""
        try:
            return ask()
        except Exception as error:
            if _may_keep(error):
                old.not_before = monotonic() + REFRESH_PAUSE_S
                log.warning("Dify gave no new answer about %s, the old one is used: %s", key[0], error)
            else:
                self._answers.pop(key, None)
                log.warning("Dify's answer about %s is no longer valid: %s", key[0], error)
            raise

    def _ask(self, key: Key, ask: Callable[[], T], future: Future[Any]) -> T:
        """Ask Dify, and give the result to the callers who wait."""
        asked_at = monotonic()
        try:
            value = ask()
            self._answers[key] = _Answer(value, asked_at)
            future.set_result(value)
            return value
        except BaseException as error:
            is_ours_alone = tracing.current().is_interrupted or not isinstance(error, Exception)
            future.set_exception(_AskerLeft() if is_ours_alone else error)
            raise
        finally:
            self._end(key)

    def _begin(self, key: Key) -> tuple["Future[Any]", bool]:
        """The future of the call for this key, and whether we are to make the call."""
        with self._lock:
            running = self._asking.get(key)
            if running is not None:
                return running, False
            future = self._asking[key] = Future()
            return future, True

    def _end(self, key: Key) -> "Future[Any]":
        with self._lock:
            return self._asking.pop(key)


dify_cache: DifyCache = component("dify_cache")


def _may_keep(error: Exception) -> bool:
    """Whether an old answer may still be used after this error. An error that is not Dify's is a bug, and no reason to
    let turns fail."""
    return isinstance(error, OUTAGES) or not isinstance(error, ApiError)


def _wait(future: "Future[Any]") -> Any:
    """Wait for the call of another caller.

    :raises DifyTimeout: it takes too long
    :raises DifyUnreachable: our own request was interrupted
    """
    trace, give_up_at = tracing.current(), monotonic() + LONGEST_WAIT_S
    while not future.done():
        if trace.is_interrupted:
            raise DifyUnreachable(Sentence("The request was ended while it waited for Dify."))
        if monotonic() > give_up_at:
            raise DifyTimeout(Sentence("Dify did not answer in time."))
        try:
            return future.result(WAIT_STEP_S)
        except TimeoutError:
            continue
    return future.result()
