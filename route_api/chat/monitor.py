"""The running turns of this process, and the two threads that check all of them once a second.

The polling thread detects callers who have left. It calls neither Dify nor the database, so neither can delay it.

The flushing thread stores the progress of each streamed answer, so that a killed process loses at most the last second
of the answer. It also renews the leases on the conversations.

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
from ..storage.turns import TURN_LEASE_S, TurnEnd, TurnRow, finish_turn, progress_of, store_progress

Json = dict[str, Any]

log = logging.getLogger(__name__)

CHECK_INTERVAL_S = 1.0
"""Seconds between two runs of :meth:`TurnMonitor.poll`, and between two runs of :meth:`TurnMonitor.flush`."""

TURNS_PER_TRANSACTION = 100
"""Turns whose progress is stored in one transaction. A transaction needs memory for a second copy of their texts."""

LEASE_RENEWAL_S = TURN_LEASE_S / 4
"""Seconds after which the monitor renews a lease."""


class TurnInProgress:
    """A running turn with the answer so far.

    The turn writes these attributes, and the monitor reads them. The monitor writes `end_reason` and `unstored_end`.

    :ivar text: the answer so far
    :ivar pieces: the number of pieces that were streamed
    :ivar passages: Dify's records that are in the prompt
    :ivar last_event: Dify's last event with a message id, or Dify's whole reply to a blocking call; None before that
    :ivar end_reason: why the turn must end early: `caller_left` or `gateway_stopped`; None if it need not end early
    :ivar unstored_end: the end of a turn that has ended, if the database has not accepted it yet; else None
    """

    def __init__(self, row: TurnRow, trace: Trace, caller: socket.socket | None) -> None:
        """
        :param trace: the trace of the request, which can end a wait for Dify
        :param caller: the caller's connection; None if the monitor must not watch it
        """
        self.row = row
        self.text = ""
        self.pieces = 0
        self.passages: list[Json] = []
        self.last_event: Json | None = None
        self.end_reason: str | None = None
        self.unstored_end: TurnEnd | None = None
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

    def attach_events(self, events: EventStream) -> None:
        """Set the stream of Dify's events, so that :meth:`interrupt` can end a wait for the next event."""
        self._events = events
        if self.end_reason == "gateway_stopped":
            events.interrupt()

    def interrupt(self, reason: str) -> None:
        """End the turn early. A wait for Dify's next event fails, and the turn stores the answer so far.

        Before Dify has sent the id of its task, only `gateway_stopped` ends a wait. After `caller_left` the turn still
        waits for this id, because the call that stops the model needs it.

        :param reason: `caller_left` or `gateway_stopped`
        """
        self.end_reason = self.end_reason or reason
        if reason == "gateway_stopped" and self._events is None:
            self._trace.interrupt()
        elif self._events is not None and (reason == "gateway_stopped" or self.task_id is not None):
            self._events.interrupt()

    def check_caller(self) -> None:
        """Interrupt the turn if its caller has closed the connection."""
        caller = self._caller  # A local name, because the turn may end now and set the attribute to None.
        if caller is None or self.end_reason:
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
        """Shut down the caller's connection. A turn cannot end while it waits for a caller who reads nothing."""
        caller = self._caller
        if caller is not None:
            with suppress(OSError):  # The caller has already closed the connection.
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
        if text is self._stored_text and now - self._stored_at < LEASE_RENEWAL_S:
            return None
        return progress_of(self.row, text, self.task_id)

    def note_stored(self, progress: Json) -> None:
        """Remember that the database has accepted this progress."""
        self._stored_text, self._stored_at = progress["m_response"], monotonic()

    def close(self) -> None:
        """Close our duplicate of the caller's socket. The server's socket stays open."""
        caller, self._caller = self._caller, None
        if caller is not None:
            caller.close()


def _duplicate(caller: socket.socket) -> _socket.socket:
    """A duplicate of the caller's socket, which stays open when the server closes the original.

    Its class is the one of the C module `_socket`. gevent replaces the class in the module `socket`, and the `recv` of
    gevent's class waits even with MSG_DONTWAIT.
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
        self._accepts_turns = True

    def register(self, turn: TurnInProgress) -> None:
        """Watch this turn from now on.

        :raises GatewayStopped: :meth:`end_turns` was called before
        """
        if not self._accepts_turns:
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
        database would lose an answer that the caller has already received.
        """
        turn.close()
        turn.count_pieces()
        try:
            finish_turn(self._engine, turn.row, end)
        except SQLAlchemyError as error:
            log.error("the answer %s could not be stored yet: %s", turn.row.message_id, error)
            metrics.unstored_answers.inc()
            turn.unstored_end = end
        else:
            self._turns.pop(turn.row.message_id, None)
            metrics.running_turns.set(len(self._turns))

    def end_turns(self) -> None:
        """End all running turns, because the gateway is stopped."""
        self._accepts_turns = False
        running = self._running()
        if running:
            log.warning("ending and storing %d running answers, because the gateway is stopping", len(running))
        for turn in running:
            turn.interrupt("gateway_stopped")

    def drop_callers(self) -> None:
        """Shut down the caller's connection of each turn that still runs. After :meth:`end_turns` these turns wait for
        callers who read nothing."""
        for turn in self._running():
            turn.drop_caller()

    def _running(self) -> list[TurnInProgress]:
        return [turn for turn in list(self._turns.values()) if turn.unstored_end is None]

    def poll(self) -> None:
        """Check each turn for a caller who has left. The polling thread calls this once a second."""
        for turn in self._running():
            turn.check_caller()
            turn.count_pieces()

    def flush(self) -> None:
        """Store the new progress of each turn, and the ends that the database has not accepted yet. The flushing thread
        calls this once a second."""
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
        """Store the ends of turns that the database has not accepted yet."""
        for turn in list(self._turns.values()):
            if turn.unstored_end is not None:
                self.finish(turn, turn.unstored_end)

    def _repeat(self, task: Callable[[], None]) -> None:
        pause = threading.Event()
        while not pause.wait(CHECK_INTERVAL_S):
            try:
                task()
            except SQLAlchemyError as error:
                # The next call tries again. If the process dies before that, the log shows that progress was lost.
                metrics.unstored_progress.inc()
                log.error("the progress of running answers could not be stored: %s", error)
            except Exception:
                log.exception("the monitor of running answers met an unexpected error")


turn_monitor: TurnMonitor = component("turn_monitor")
