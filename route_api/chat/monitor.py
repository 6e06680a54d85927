"""The running turns of this process, and the two threads that check all of them once a second.

The polling thread detects callers who have left. It calls neither Dify nor the database, so a slow one cannot delay it.

The flushing thread stores the progress of each answer, so that a killed process loses at most the last second of it. It
also renews the leases on the conversations.

When the gateway is stopped, the worker (`server/stopping.py`) calls :meth:`TurnMonitor.end_turns`.
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
from ..extensions import component
from ..monitoring import metrics
from ..monitoring.tracing import Trace
from ..storage.turns import LEASE_S, TurnEnd, TurnRow, finish_turn, progress_of, store_progress

Json = dict[str, Any]

log = logging.getLogger(__name__)

INTERVAL_S = 1.0
TURNS_PER_TRANSACTION = 100
"""Turns whose progress is stored in one transaction. A transaction has all its texts in memory a second time."""
RENEW_S = LEASE_S / 4


class TurnInProgress:
    """A running turn with the answer so far.

    The turn writes these attributes, and the monitor reads them. The monitor writes only `ended_by` and `end`.

    :ivar text: the answer so far
    :ivar pieces: the number of pieces that were streamed
    :ivar passages: Dify's records that are in the prompt
    :ivar last_event: Dify's last event with a message id; None before the first one
    :ivar ended_by: why the turn must end early, `caller_left` or `gateway_stopped`; None while it may go on
    :ivar end: the end of the turn that the database has not stored yet; None while the turn runs
    """

    def __init__(self, row: TurnRow, trace: Trace, caller: socket.socket | None) -> None:
        """
        :param trace: the trace of the request; it can interrupt a wait for Dify's answer
        :param caller: the caller's connection; None if the server does not give it to the application
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
        self._stored_text = ""
        self._stored_at = monotonic()

    @property
    def task_id(self) -> str | None:
        """The id of Dify's task that generates the answer; None before Dify has sent it."""
        return self.last_event.get("task_id") if self.last_event else None

    @property
    def is_answered(self) -> bool:
        """Whether Dify has sent the event that completes the answer."""
        return self.last_event is not None and self.last_event.get("event") == "message_end"

    def watch(self, events: EventStream) -> None:
        """Give the monitor the events of Dify, so that it can interrupt the wait for them."""
        self._events = events
        if self.ended_by == "gateway_stopped":
            events.interrupt()

    def interrupt(self, reason: str) -> None:
        """End the turn early: its wait for Dify fails, and the turn stores the answer so far.

        A turn whose caller has left goes on waiting until Dify has named the task: Dify can stop nothing else.

        :param reason: `caller_left` or `gateway_stopped`
        """
        self.ended_by = self.ended_by or reason
        if reason == "gateway_stopped" and self._events is None:
            self._trace.interrupt()
        elif self._events is not None and (reason == "gateway_stopped" or self.task_id is not None):
            self._events.interrupt()

    def check_caller(self) -> None:
        """Interrupt the turn if its caller has closed the connection."""
        caller = self._caller  # A local name: the turn may end now, which sets the attribute to None.
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
        """Shut down the connection of a caller who reads nothing: the turn waits for this caller, and cannot end."""
        caller = self._caller
        if caller is not None:
            with suppress(OSError):  # The caller has left just now.
                caller.shutdown(socket.SHUT_RDWR)

    def count_pieces(self) -> None:
        """Add the pieces that came since the last call to the metrics."""
        pieces = self.pieces
        if pieces != self._counted_pieces:
            metrics.stream_tokens.inc(pieces - self._counted_pieces)
            self._counted_pieces = pieces

    def progress(self) -> Json | None:
        """The progress that must be stored now.

        :returns: parameters for `store_progress`; None if there is no new text and the lease needs no renewal
        """
        text, now = self.text, monotonic()
        if text is self._stored_text and now - self._stored_at < RENEW_S:
            return None
        return progress_of(self.row, text, self.task_id)

    def note_stored(self, progress: Json) -> None:
        """Remember that the database has taken this progress."""
        self._stored_text, self._stored_at = progress["m_response"], monotonic()

    def close(self) -> None:
        """Close our duplicate of the caller's socket. The server's socket stays open."""
        caller, self._caller = self._caller, None
        if caller is not None:
            caller.close()


def _duplicate(caller: socket.socket) -> _socket.socket:
    """A duplicate of the caller's socket, which stays valid when the server closes its own.

    It comes from the C module `_socket`. The socket class that gevent puts into the module `socket` waits in `recv`,
    even with MSG_DONTWAIT.
    """
    return _socket.socket(fileno=os.dup(caller.fileno()))


class TurnMonitor:
    """Watches the turns of one process.

    Its threads start with the first turn. If gunicorn's master process started them, they would not survive the fork of
    the worker.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._turns: dict[str, TurnInProgress] = {}
        self._lock = threading.Lock()
        self._has_started = False
        self.is_stopping = False
        """Whether this process was told to stop. It still finishes the running turns."""
        self._has_ended_turns = False

    def register(self, turn: TurnInProgress) -> None:
        """Watch this turn from now on.

        :raises GatewayStopped: this process has already ended its running turns
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
        """Store the end of a turn, and stop watching the turn.

        If the database fails, the monitor keeps the end and tries again each second. Otherwise a short failure of the
        database could lose an answer that the caller has already got.
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
        """End all running turns, because the gateway is stopped."""
        self._has_ended_turns = True
        running = self._running()
        if running:
            log.warning("answers that did not end in time, and are ended and stored now: %d", len(running))
        for turn in running:
            turn.interrupt("gateway_stopped")

    def drop_callers(self) -> None:
        """Shut down the connections of callers who read nothing, so that their turns can end."""
        for turn in self._running():
            turn.drop_caller()

    def _running(self) -> list[TurnInProgress]:
        return [turn for turn in list(self._turns.values()) if turn.end is None]

    def poll(self) -> None:
        """Check each turn for a caller who has left. The polling thread calls this once a second."""
        for turn in self._running():
            turn.check_caller()
            turn.count_pieces()

    def flush(self) -> None:
        """Store the new progress of each turn, and the ends that could not be stored before. The flushing thread calls
        this once a second."""
        running = self._running()
        for first in range(0, len(running), TURNS_PER_TRANSACTION):
            batch = running[first : first + TURNS_PER_TRANSACTION]
            progress = [(turn, row) for turn in batch if (row := turn.progress()) is not None]
            if progress:
                store_progress(self._engine, [row for _, row in progress])
            for turn, row in progress:
                turn.note_stored(row)
        self.flush_ends()

    def flush_ends(self) -> None:
        """Store the ends of turns that could not be stored before."""
        for turn in list(self._turns.values()):
            if turn.end is not None:
                self.finish(turn, turn.end)

    def _repeat(self, task: Callable[[], None]) -> None:
        pause = threading.Event()
        while not pause.wait(INTERVAL_S):
            try:
                task()
            except SQLAlchemyError as error:
                # The next call tries again. If the process dies before, this line tells the operator of the loss.
                metrics.unstored_progress.inc()
                log.error("the progress of running answers could not be stored: %s", error)
            except Exception:
                log.exception("the monitor of running answers met an unexpected error")


turn_monitor: TurnMonitor = component("turn_monitor")
