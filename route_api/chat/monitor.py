"""The turns that this process is carrying out right now, and the two threads that look after them all, once a second.

One stores what has come so far, so that a killed process loses at most the last second, and renews the claims, which
end by themselves soon after their process. The other notices callers who have left, while a model is still silent as
well, and a Dify that is silent for too long; it asks nobody, so that no slow database holds it up.

When the gateway is stopped, gunicorn.conf.py tells the caretaker when to end the turns that still run.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

import gevent
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ..dify import EventStream
from ..errors import GatewayStopped
from ..monitoring import metrics
from ..storage.turns import CLAIM_S, Turn, store_progress

log = logging.getLogger(__name__)

ROUND_S = 1.0
TURNS_AT_ONCE = 100
"""Turns whose progress is stored in one transaction: all of a thousand would be in memory a second time."""
RENEW_S = CLAIM_S / 4


class LiveTurn:
    """A running turn: its relay writes `text`, `tokens` and `task_id`, the caretaker reads them.

    Attributes: `tokens` counts the pieces that were streamed; `ended_by` says why the turn is to end early,
    `caller_left` or `gateway_stopped`; `interrupt` ends the wait for Dify's next event then, and `end_silence` one
    that takes too long; `unstored` completes a turn that has ended, as long as the database does not take it.
    """

    def __init__(self, turn: Turn, caller: socket.socket | None) -> None:
        self.turn = turn
        self.text = ""
        self.tokens = 0
        self.ended_by: str | None = None
        self.interrupt: Callable[[], None] | None = None
        self.end_silence: Callable[[], None] | None = None
        self.unstored: Callable[[], None] | None = None
        self._caller = _listener(caller)
        self._waiting: Any = None
        self._counted_tokens = 0
        self._stored_length = 0
        self._stored_at = monotonic()

    def watch(self, events: EventStream) -> None:
        """Look after the wait for Dify's events from now on."""
        self.interrupt, self.end_silence = events.interrupt, events.end_silence
        events.leave_timing()

    def look_for_dify(self) -> None:
        """Give up on a Dify that has said nothing for too long, not even a ping."""
        if self.end_silence is not None:
            self.end_silence()

    def look_for_caller(self) -> None:
        """Notice, once, that the caller has closed the connection."""
        caller = self._caller  # The turn may end, and let go of it, while we look.
        if caller is None or self.ended_by:
            return
        try:
            left = caller.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return
        except OSError:
            left = True
        if left:
            self.ended_by = "caller_left"
            if self.interrupt is not None:
                self.interrupt()

    @contextmanager
    def abortable(self) -> Iterator[None]:
        """While Dify has not begun to answer there is nothing to interrupt: `end` raises `GatewayStopped` in here."""
        self._waiting = gevent.getcurrent()
        try:
            yield
        finally:
            self._waiting = None

    def end(self) -> None:
        """End the turn, because the gateway is stopped."""
        self.ended_by = self.ended_by or "gateway_stopped"
        if self._waiting is not None:
            # From the hub, whose turn it is only while the other waits: never in the midst of storing an answer.
            gevent.get_hub().loop.run_callback(self._end_now)
        else:
            self._end_now()

    def _end_now(self) -> None:
        if self._waiting is not None:
            self._waiting.throw(GatewayStopped())
        elif self.interrupt is not None:
            self.interrupt()

    def leave_caller(self) -> None:
        """Drop the connection of a caller who does not read: the relay waits for him, and cannot store what came."""
        caller = self._caller
        if caller is not None:
            with suppress(OSError):  # He has left just now.
                caller.shutdown(socket.SHUT_RDWR)

    def count_tokens(self) -> None:
        """Let the tokens since the last time be counted."""
        tokens = self.tokens
        if tokens != self._counted_tokens:
            metrics.stream_tokens.inc(tokens - self._counted_tokens)
            self._counted_tokens = tokens

    def progress(self) -> dict[str, Any] | None:
        """What is to be stored now; None if nothing new came and the claim is fresh."""
        text, now = self.text, monotonic()
        if len(text) == self._stored_length and now - self._stored_at < RENEW_S:
            return None
        self._stored_length, self._stored_at = len(text), now
        return self.turn.progress(text)

    def close(self) -> None:
        """Let go of the caller's connection."""
        caller, self._caller = self._caller, None
        if caller is not None:
            caller.close()


def _listener(caller: socket.socket | None) -> socket.socket | None:
    """A second handle on the caller's connection that never waits."""
    if caller is None:
        return None
    listener = socket.socket(fileno=os.dup(caller.fileno()))
    listener.settimeout(0)
    return listener


class TurnMonitor:
    """Looks after the live turns of one process. Its threads start with the first of them, in the process that serves:
    a thread of the process that gunicorn forks from would not come along."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._live: dict[str, LiveTurn] = {}
        self._lock = threading.Lock()
        self._pid: int | None = None
        self.is_stopping = False
        """Whether this process was told to stop; it still finishes what runs."""
        self._has_ended_turns = False

    def admit(self, live: LiveTurn) -> None:
        """Look after this turn from now on.

        :raises GatewayStopped: it comes too late
        """
        if self._has_ended_turns:
            raise GatewayStopped
        self._live[live.turn.message_id] = live
        metrics.running_turns.set(len(self._live))
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._pid = os.getpid()
                    for round_ in (self.look, self.store):
                        name = f"caretaker-{round_.__name__}"
                        threading.Thread(target=self._run, args=(round_,), name=name, daemon=True).start()

    def complete(self, live: LiveTurn, store: Callable[[], None]) -> None:
        """Store a turn that has ended, and stop looking after it.

        While the database does not take it, the turn is kept and tried again in each round: an answer that the caller
        has got is not lost because the database was away for a moment.
        """
        live.close()
        live.count_tokens()
        try:
            store()
        except SQLAlchemyError as error:
            log.error("the answer %s could not be stored yet: %s", live.turn.message_id, error)
            metrics.unstored_answers.inc()
            live.unstored = store
        else:
            self._live.pop(live.turn.message_id, None)
            metrics.running_turns.set(len(self._live))

    def end_turns(self) -> None:
        """End all turns that still run, because the gateway is stopped."""
        self._has_ended_turns = True
        running = self._running()
        if running:
            log.warning("answers that did not end in time, and are ended and stored now: %d", len(running))
        for live in running:
            live.end()

    def leave_callers(self) -> None:
        """Drop the callers for whom ended turns still wait."""
        for live in self._running():
            live.leave_caller()

    def _running(self) -> list[LiveTurn]:
        return [live for live in list(self._live.values()) if live.unstored is None]

    def look(self) -> None:
        """One round: who has left or fallen silent."""
        for live in self._running():
            live.look_for_caller()
            live.look_for_dify()
            live.count_tokens()

    def store(self) -> None:
        """One round: what is new, and what could not be stored before."""
        running = self._running()
        for first in range(0, len(running), TURNS_AT_ONCE):
            batch = running[first : first + TURNS_AT_ONCE]
            if rows := [row for live in batch if (row := live.progress()) is not None]:
                store_progress(self._engine, rows)
        self.store_rest()

    def store_rest(self) -> None:
        """Try again to store the answers that the database did not take."""
        for live in list(self._live.values()):
            if live.unstored is not None:
                self.complete(live, live.unstored)

    def _run(self, round_: Callable[[], None]) -> None:
        wake = threading.Event()
        while not wake.wait(ROUND_S):
            try:
                round_()
            except SQLAlchemyError as error:
                # The next round stores the same and more; what is lost if the process dies meanwhile, the log tells.
                metrics.unstored_progress.inc()
                log.error("the progress of running answers could not be stored: %s", error)
            except Exception:
                log.exception("the caretaker of running answers met an unexpected error")
