"""The running turns of this process, and the two threads that check all of them once a second.

The polling thread detects callers who have left, and blocking answers that take too long. It calls neither Dify nor
the database, so neither can delay it.

The flushing thread stores the progress of each answer, so that a killed process loses at most the last second of the
answer. It also renews the leases on the conversations, and reads which turns `conversation/stop` wants to stop.

When the gateway is stopped, the worker (`server/stopping.py`) calls :meth:`TurnMonitor.end_turns`.
"""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from time import monotonic
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ..dify import EventStream
from ..errors import ApiError, DifyUnreadable, GatewayStopped
from ..extensions import component
from ..monitoring import metrics
from ..monitoring.repeated_task import RepeatedTask
from ..monitoring.tracing import Trace
from ..monitoring.write_deadlines import duplicate
from ..storage.database import refuses_values
from ..storage.dead_letters import DeadLetters
from ..storage.leases import RENEWAL_S
from ..storage.turns import TurnEnd, TurnRow, finish_turn, progress_of, stop_requests, store_progress

Json = dict[str, Any]

log = logging.getLogger(__name__)

CHECK_INTERVAL_S = 1.0
"""Seconds between two runs of :meth:`TurnMonitor.poll`, and between two runs of :meth:`TurnMonitor.flush`."""

TURNS_PER_TRANSACTION = 100
"""Turns whose progress is stored in one transaction. A transaction needs memory for a second copy of their texts."""

MAX_ANSWER_LENGTH = 1_000_000
"""In characters. No model writes so much. MariaDB refuses a statement of more than 16 MB by closing the connection.
This looks like a database that is away, so the other answers of a batch would not be stored either."""

NOT_STORED = "not_stored"
"""The reason of a failed turn whose answer the database has refused."""

PATIENT_REASONS = ("caller_left", "stop_requested")
"""After these reasons, a turn still waits until Dify has named its task, because only then the model can be stopped."""


class TurnStopped(Exception):
    """The turn ended before Dify began to answer, because its caller left or somebody asked to stop it."""


class TurnInProgress:
    """A running turn with the answer so far.

    The turn writes these attributes, and the monitor reads them. The monitor writes `end_reason` and `unstored_end`.

    :ivar text: the answer so far
    :ivar pieces: the number of pieces that were streamed
    :ivar passages: Dify's records that are in the prompt
    :ivar last_event: Dify's last event with a message id; None before that
    :ivar chatflow_end: the event of Dify that says that a chatflow has ended or waits for a person; None before that
    :ivar end_reason: why the turn must end early: `caller_left`, `stop_requested`, `dify_timeout` or `gateway_stopped`;
        None if it need not end early
    :ivar has_ended: whether the turn's end was given to the monitor
    :ivar unstored_end: the end of a turn that has ended, if the database has not accepted it yet; else None
    :ivar has_dead_letter: whether the database has refused the answer so far, which is kept as a file
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
        self.chatflow_end: Json | None = None
        self.end_reason: str | None = None
        self.has_ended = False
        self.unstored_end: TurnEnd | None = None
        self.has_dead_letter = False
        self._trace = trace
        self._is_asked = False
        self._answer_by: float | None = None
        self._events: EventStream | None = None
        self._caller = None if caller is None else duplicate(caller)
        self._counted_pieces = 0
        self._stored_text = ""
        self._stored_reason: str | None = None
        self._stored_at = monotonic()

    def add_text(self, piece: str) -> None:
        """Add a piece to the answer.

        :raises DifyUnreadable: the answer is longer than MAX_ANSWER_LENGTH
        """
        self.replace_text(self.text + piece)

    def replace_text(self, text: str) -> None:
        """Replace the answer so far. Errors are those of :meth:`add_text`."""
        if len(text) > MAX_ANSWER_LENGTH:
            raise DifyUnreadable(f"The answer is longer than {MAX_ANSWER_LENGTH:,} characters.")
        self.text = text

    @property
    def task_id(self) -> str | None:
        """The id of Dify's task that generates the answer; None before Dify has sent it."""
        return self.last_event.get("task_id") if self.last_event else None

    @property
    def is_answered(self) -> bool:
        """Whether Dify has sent the event that completes the answer."""
        return self.last_event is not None and self.last_event.get("event") == "message_end"

    def prepare(self) -> None:
        """Begin to prepare the question. From now on :meth:`interrupt` ends the turn at once."""
        self._is_asked = False

    def begin_asking(self, answer_timeout: float | None) -> None:
        """Begin to ask Dify. Dify may start the model from now on.

        :param answer_timeout: seconds that the whole answer may take; None: no limit
        :raises TurnStopped: the turn was interrupted before
        """
        # In this order, and `interrupt` in the opposite order: so one of the two threads always sees the other.
        self._is_asked = True
        if self.end_reason is not None:
            raise TurnStopped
        self._answer_by = None if answer_timeout is None else monotonic() + answer_timeout

    def attach_events(self, events: EventStream) -> None:
        """Set the stream of Dify's events, so that :meth:`interrupt` can end a wait for the next event."""
        self._events = events
        if self.end_reason is not None and self.end_reason not in PATIENT_REASONS:
            events.interrupt()

    def interrupt(self, reason: str) -> None:
        """End the turn early. A wait for Dify fails, and the turn stores the answer so far.

        When Dify was asked, but has not sent the id of its task yet, `caller_left` and `stop_requested` do not end the
        wait. The turn still waits for this id, because the call that stops the model needs it.

        :param reason: a value of `end_reason`
        """
        self.end_reason = self.end_reason or reason
        if reason in PATIENT_REASONS and self._is_asked and self.task_id is None:
            return
        if self._events is not None:
            self._events.interrupt()
        else:
            self._trace.interrupt()

    def check_time(self) -> None:
        """Interrupt the turn if the whole answer takes too long."""
        if self._answer_by is not None and self._answer_by < monotonic():
            self._answer_by = None
            self.interrupt("dify_timeout")

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

        :returns: parameters for `store_progress`; None if there is nothing new and the lease needs no renewal
        """
        text, now = self.text, monotonic()
        stop_reason = self.end_reason if self.end_reason in PATIENT_REASONS else None
        is_stored = text is self._stored_text and stop_reason == self._stored_reason
        if is_stored and now - self._stored_at < RENEWAL_S:
            return None
        return progress_of(self.row, text, self.task_id, stop_reason)

    def note_stored(self, progress: Json) -> None:
        """Remember that the database has accepted this progress."""
        self._stored_text, self._stored_at = progress["m_response"], monotonic()
        self._stored_reason = progress["m_meta_data"].get("reason")

    def acceptable_progress(self) -> Json:
        """The progress without the new text, which the database refuses: the text that it has accepted before."""
        return progress_of(self.row, self._stored_text, None)

    def acceptable_end(self) -> TurnEnd:
        """The end of a turn whose real end the database refuses."""
        return TurnEnd(self._stored_text, "failed", NOT_STORED, self.row.dify_conversation)

    def close(self) -> None:
        """Close our duplicate of the caller's socket. The server's socket stays open."""
        caller, self._caller = self._caller, None
        if caller is not None:
            caller.close()


class TurnMonitor:
    """Watches the turns of one process."""

    def __init__(self, engine: Engine, dead_letters: DeadLetters) -> None:
        self._engine = engine
        self._dead_letters = dead_letters
        self._turns: dict[str, TurnInProgress] = {}
        self._lock = threading.Lock()
        self._threads = [
            RepeatedTask("turn-monitor-poll", CHECK_INTERVAL_S, self.poll),
            RepeatedTask("turn-monitor-flush", CHECK_INTERVAL_S, self._flush_or_log),
        ]
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
        for thread in self._threads:
            thread.start()

    def finish(self, turn: TurnInProgress, end: TurnEnd) -> None:
        """Store the end of a turn, and stop watching the turn.

        If the database fails, the monitor keeps the end and tries again each second. Otherwise a short failure of the
        database would lose an answer that the caller has already received. If the database refuses the answer, the
        monitor writes a dead letter, and the turn's row is completed without the answer.
        """
        turn.has_ended = True
        turn.close()
        turn.count_pieces()
        try:
            self._store_end(turn, end)
        except BaseException as error:
            # A thread that is ended in the middle of the statement must leave the end for the next flush, too.
            turn.unstored_end = end
            self._turns[turn.row.message_id] = turn
            if not isinstance(error, Exception):
                raise
            log.error("the answer %s could not be stored yet: %s", turn.row.message_id, error)
            metrics.unstored_answers.inc()
        else:
            self._turns.pop(turn.row.message_id, None)
            metrics.running_turns.set(len(self._turns))

    @contextmanager
    def ensure_end(self, turn: TurnInProgress, reason: str = ApiError.code) -> Iterator[None]:
        """At the end of the block, end the turn if nothing else has done it.

        Otherwise an unexpected error would leave the turn running: the monitor would renew its lease for ever, and the
        conversation would accept no other turn.

        :param reason: why the turn failed
        """
        try:
            yield
        finally:
            if not turn.has_ended:
                self.finish(turn, TurnEnd(turn.text, "failed", reason, turn.row.dify_conversation))

    def _store_end(self, turn: TurnInProgress, end: TurnEnd) -> None:
        """
        :raises Exception: the database failed, or a dead letter is needed and cannot be written
        """
        try:
            finish_turn(self._engine, turn.row, end)
        except Exception as error:
            if not refuses_values(error):
                raise
            content = asdict(replace(end, for_repeats=None))
            del content["for_repeats"]  # A repeated request is carried out.
            with self._lock:
                self._write_dead_letter(turn, error, **content)
            finish_turn(self._engine, turn.row, turn.acceptable_end())
        else:
            if turn.has_dead_letter:
                self._dead_letters.discard(turn.row.message_id)

    def _write_dead_letter(self, turn: TurnInProgress, refusal: Exception, **content: Any) -> None:
        about = {
            "user_id": turn.row.user_id,
            "conversation_id": turn.row.conversation_id,
            "position": turn.row.position,
        }
        self._dead_letters.write(turn.row.message_id, refusal, {**about, **content})
        turn.has_dead_letter = True

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
        """Check each turn for a caller who has left, and for the time. The polling thread calls this once a second."""
        for turn in self._running():
            turn.check_caller()
            turn.check_time()
            turn.count_pieces()

    def flush(self) -> None:
        """Store the new progress of each turn, and the ends that the database has not accepted yet. The flushing thread
        calls this once a second."""
        running = self._running()
        self._note_stop_requests(running)
        apart = [[turn] for turn in running if turn.has_dead_letter]  # The database would refuse a batch with them.
        together = [turn for turn in running if not turn.has_dead_letter]
        batches = range(0, len(together), TURNS_PER_TRANSACTION)
        for batch in [*(together[first : first + TURNS_PER_TRANSACTION] for first in batches), *apart]:
            progress = [(turn, row) for turn in batch if (row := turn.progress()) is not None]
            if progress:
                self._store_progress(progress)
        self.flush_ends()

    def _store_progress(self, progress: list[tuple[TurnInProgress, Json]]) -> None:
        """Store the progress of several turns. If the database refuses one of them, this holds up no other.

        The refused progress is written to a dead letter. The turn goes on, and keeps its lease.

        :raises Exception: the database failed
        """
        try:
            store_progress(self._engine, [row for _, row in progress])
        except Exception as error:
            if not refuses_values(error):
                raise
            if len(progress) > 1:
                for each in progress:
                    self._store_progress([each])
                return
            ((turn, row),) = progress
            store_progress(self._engine, [turn.acceptable_progress()])
            with self._lock:
                if not turn.has_ended:  # Otherwise this older text would replace the whole answer in the dead letter.
                    self._write_dead_letter(turn, error, response=row["m_response"], meta_data=row["m_meta_data"])
            return
        for turn, row in progress:
            turn.note_stored(row)

    def _note_stop_requests(self, running: list[TurnInProgress]) -> None:
        """Interrupt the turns that `conversation/stop` wants to stop. That call may have reached another process."""
        requested = stop_requests(self._engine) if running else ()
        for turn in running:
            if turn.row.message_id in requested and turn.end_reason is None:
                turn.interrupt("stop_requested")

    def has_stop_request(self, turn: TurnInProgress) -> bool:
        """Whether `conversation/stop` was called for this turn. If the database does not answer: yes."""
        try:
            return turn.end_reason == "stop_requested" or turn.row.message_id in stop_requests(self._engine)
        except SQLAlchemyError as error:
            log.warning("the requests to stop an answer could not be read: %s", error)
            return True

    def flush_ends(self) -> None:
        """Store the ends of turns that the database has not accepted yet."""
        for turn in list(self._turns.values()):
            if turn.unstored_end is not None:
                self.finish(turn, turn.unstored_end)

    def _flush_or_log(self) -> None:
        try:
            self.flush()
        except SQLAlchemyError as error:
            # The next call tries again. If the process dies before that, the log shows that progress was lost.
            metrics.unstored_progress.inc()
            log.error("the progress of running answers could not be stored: %s", error)


turn_monitor: TurnMonitor = component("turn_monitor")
