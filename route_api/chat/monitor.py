"""The turns that this process carries out now, and the two threads that watch them all, once a second.

The polling thread notices callers who have left. It asks neither Dify nor the database, so that neither can hold it up.
The flushing thread stores what has come of each answer, so that a killed
process loses the last second of an answer at the most, and renews the leases on the conversations.

When the gateway is stopped, the worker (`server/stopping.py`) says when the turns that still run must end.
"""

import _socket
import logging
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ..dify import EventStream
from ..errors import GatewayStopped
from ..monitoring import metrics
from ..monitoring.tracing import Trace
from ..storage.turns import LEASE_S, TurnEnd, TurnRow, finish_turn, progress_of, store_progress

Json = dict[str, Any]

log = logging.getLogger(__name__)

INTERVAL_S = 1.0
TURNS_PER_TRANSACTION = 100
"""Turns whose progress is stored in one transaction: a thousand texts at once would be in memory a second time."""
RENEW_S = LEASE_S / 4


class TurnInProgress:
    """A running turn, and what has come of its answer so far.

    The turn writes these attributes, and the monitor reads them:

    :ivar text: the answer so far
    :ivar pieces: how many pieces of it were streamed
    :ivar passages: Dify's records that the prompt holds
    :ivar last_event: Dify's last event that names the message; None before the first one
    :ivar ended_by: why the turn must end early, `caller_left` or `gateway_stopped`; the monitor sets it
    :ivar end: how the turn ended, as long as the database has not taken it; None while the turn runs
    """

    def __init__(self, row: TurnRow, trace: Trace, caller: socket.socket | None) -> None:
        """
        :param trace: of the request that carries the turn out; by it a wait for Dify's answer is interrupted
        :param caller: the caller's connection, None where the server does not tell it
        """
        self.row = row
        self.text = ""
        self.pieces = 0
        self.passages: list[Json] = []
        self.last_event: Json | None = None
        self.ended_by: str | None = None
        self.end: TurnEnd | None = None
        self._trace = trace
        self._events: EventStream | None = None
        self._caller = None if caller is None else _duplicate(caller)
        self._counted_pieces = 0
        self._stored_length = 0
        self._stored_at = monotonic()

    @property
    def task_id(self) -> str | None:
        """The task in which Dify writes the answer; None before Dify has named it."""
        return self.last_event.get("task_id") if self.last_event else None

    @property
    def is_answered(self) -> bool:
        """Whether Dify has said that the answer is complete."""
        return self.last_event is not None and self.last_event.get("event") == "message_end"

    def watch(self, events: EventStream) -> None:
        """Let the monitor interrupt the wait for these events from now on."""
        self._events = events
        if self.ended_by:
            events.interrupt()

    def interrupt(self, reason: str) -> None:
        """End the turn early: its wait for Dify fails, and the turn stores what has come.

        :param reason: `caller_left` or `gateway_stopped`
        """
        self.ended_by = self.ended_by or reason
        if self._events is not None:
            self._events.interrupt()
        elif reason == "gateway_stopped":
            self._trace.interrupt()

    def check_caller(self) -> None:
        """Interrupt the turn if its caller has closed the connection."""
        caller = self._caller  # The turn may end and close it at this moment.
        if caller is None or self.ended_by:
            return
        try:
            has_left = caller.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return
        except OSError:
            has_left = True
        if has_left:
            self.interrupt("caller_left")

    def drop_caller(self) -> None:
        """Shut down the connection of a caller who reads nothing: the turn waits for the caller, and could not end."""
        caller = self._caller
        if caller is not None:
            with suppress(OSError):  # The caller has left just now.
                caller.shutdown(socket.SHUT_RDWR)

    def count_pieces(self) -> None:
        """Add the pieces since the last call to the metrics."""
        pieces = self.pieces
        if pieces != self._counted_pieces:
            metrics.stream_tokens.inc(pieces - self._counted_pieces)
            self._counted_pieces = pieces

    def progress(self) -> Json | None:
        """What is to be stored now; None if nothing new has come and the lease is fresh."""
        text, now = self.text, monotonic()
        if len(text) == self._stored_length and now - self._stored_at < RENEW_S:
            return None
        self._stored_length, self._stored_at = len(text), now
        return progress_of(self.row, text, self.task_id)

    def close(self) -> None:
        """Close our handle on the caller's connection; the server's own stays open."""
        caller, self._caller = self._caller, None
        if caller is not None:
            caller.close()


def _duplicate(caller: socket.socket) -> _socket.socket:
    """A second handle on the caller's connection, which stays valid when the server closes its own.

    It is a socket of the C module: gevent replaces those of Python's module by ones that wait in spite of MSG_DONTWAIT.
    """
    return _socket.socket(fileno=os.dup(caller.fileno()))


class TurnMonitor:
    """Watches the turns of one process. Its threads start with the first turn, so that they run in the process that
    serves: threads do not survive a fork."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._turns: dict[str, TurnInProgress] = {}
        self._lock = threading.Lock()
        self._has_started = False
        self.is_stopping = False
        """Whether this process was told to stop; it still finishes the turns that run."""
        self._has_ended_turns = False

    def register(self, turn: TurnInProgress) -> None:
        """Watch this turn from now on.

        :raises GatewayStopped: the process ends its turns already
        """
        if self._has_ended_turns:
            raise GatewayStopped
        self._turns[turn.row.message_id] = turn
        metrics.running_turns.set(len(self._turns))
        if not self._has_started:
            with self._lock:
                if not self._has_started:
                    self._has_started = True
                    for task in (self.poll, self.flush):
                        name = f"turn-monitor-{task.__name__}"
                        threading.Thread(target=self._repeat, args=(task,), name=name, daemon=True).start()

    def finish(self, turn: TurnInProgress, end: TurnEnd) -> None:
        """Store the end of a turn, and stop watching it.

        While the database does not take the end, the monitor keeps it and tries again each second: an answer that the
        caller has got must not be lost because the database was away for a moment.
        """
        turn.close()
        turn.count_pieces()
        try:
            finish_turn(self._engine, turn.row, end)
        except SQLAlchemyError as error:
            log.error("the answer %s could not be stored yet: %s", turn.row.message_id, error)
            metrics.unstored_answers.inc()
            turn.end = end
        else:
            self._turns.pop(turn.row.message_id, None)
            metrics.running_turns.set(len(self._turns))

    def end_turns(self) -> None:
        """End all turns that still run, because the gateway is stopped."""
        self._has_ended_turns = True
        running = self._running()
        if running:
            log.warning("answers that did not end in time, and are ended and stored now: %d", len(running))
        for turn in running:
            turn.interrupt("gateway_stopped")

    def drop_callers(self) -> None:
        """Drop the callers who keep ended turns waiting, because they read nothing."""
        for turn in self._running():
            turn.drop_caller()

    def _running(self) -> list[TurnInProgress]:
        return [turn for turn in list(self._turns.values()) if turn.end is None]

    def poll(self) -> None:
        """Notice the callers who have left. The polling thread calls it once a second."""
        for turn in self._running():
            turn.check_caller()
            turn.count_pieces()

    def flush(self) -> None:
        """Store what has come since the last call, and the ends that the database did not take before. The flushing
        thread calls it once a second."""
        running = self._running()
        for first in range(0, len(running), TURNS_PER_TRANSACTION):
            batch = running[first : first + TURNS_PER_TRANSACTION]
            if progress := [row for turn in batch if (row := turn.progress()) is not None]:
                store_progress(self._engine, progress)
        self.flush_ends()

    def flush_ends(self) -> None:
        """Store the ends of turns that the database did not take before."""
        for turn in list(self._turns.values()):
            if turn.end is not None:
                self.finish(turn, turn.end)

    def _repeat(self, task: Callable[[], None]) -> None:
        pause = threading.Event()
        while not pause.wait(INTERVAL_S):
            try:
                task()
            except SQLAlchemyError as error:
                # The next call stores the same and more. If the process dies meanwhile, the log tells what was lost.
                metrics.unstored_progress.inc()
                log.error("the progress of running answers could not be stored: %s", error)
            except Exception:
                log.exception("the monitor of running answers met an unexpected error")
