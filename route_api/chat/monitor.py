"""The running turns of this process, and the two threads that check all of them once a second.

The polling thread detects callers who have left, and blocking answers that take too long. It calls neither Dify nor
the database, so neither can delay it.

The flushing thread stores the progress of each answer, so that a killed process loses at most the last second of the
answer. It also renews the leases on the conversations, reads which turns `conversation/stop` wants to stop, and ends
the turns that must end while Dify has not named their tasks.

When the gateway is stopped, the worker (`server/stopping.py`) calls :meth:`TurnMonitor.end_turns`.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ..errors import ApiError, GatewayStopped
from ..extensions import component
from ..monitoring import metrics
from ..monitoring.repeated_task import RepeatedTask
from ..storage.database import refuses_values
from ..storage.dead_letters import DeadLetters
from ..storage.stop_requests import stop_requests
from ..storage.turns import TurnEnd, finish_turn, store_progress
from .turn_in_progress import TurnInProgress

Json = dict[str, Any]

log = logging.getLogger(__name__)

CHECK_INTERVAL_S = 1.0
"""Seconds between two runs of :meth:`TurnMonitor.poll`, and between two runs of :meth:`TurnMonitor.flush`."""

TURNS_PER_TRANSACTION = 100
"""Turns whose progress is stored in one transaction. A transaction needs memory for a second copy of their texts."""


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

    def finish(self, turn: TurnInProgress, end: TurnEnd, *, is_over: bool = True) -> None:
        """Store the end of a turn, unless another thread has done it, and stop watching the turn.

        If the database fails, the monitor keeps the end and tries again each second. Otherwise a short failure of the
        database would lose an answer that the caller has already received. If the database refuses the answer, the
        monitor writes a dead letter, and the turn's row is completed without the answer.

        :param is_over: whether the turn's request waits for Dify no more
        """
        if end is not turn.unstored_end and not turn.claim_end():
            self._forget(turn)
            return
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
            turn.unstored_end = None
            if is_over:
                self._forget(turn)

    def _forget(self, turn: TurnInProgress) -> None:
        """Stop watching a turn, unless its end must still be stored."""
        if turn.unstored_end is None:
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
        for turn in running:
            if turn.waits_for_task and not turn.has_ended:
                # Dify may be silent for long. The question may still be carried out there, so that the next turn begins
                # a new conversation on Dify.
                self.finish(turn, TurnEnd(turn.text, "stopped", turn.end_reason, None), is_over=False)
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
        """Whether `conversation/stop` was called for this turn, as far as the database tells it."""
        try:
            return turn.end_reason == "stop_requested" or turn.row.message_id in stop_requests(self._engine)
        except SQLAlchemyError as error:
            log.warning("the requests to stop an answer could not be read: %s", error)
            return False

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
