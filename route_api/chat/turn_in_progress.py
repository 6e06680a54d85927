"""A running turn, with the answer so far. The turn's own thread writes it, and the monitor reads it."""

import socket
import threading
from contextlib import suppress
from time import monotonic
from typing import Any, NamedTuple

from ..dify import EventStream
from ..dify.records import record_of_source
from ..errors import DifyUnreadable
from ..languages import Sentence
from ..monitoring import metrics
from ..monitoring.tracing import Trace
from ..monitoring.write_deadlines import duplicate
from ..presenters.message import form
from ..prompts.reasoning import ReasoningWriter
from ..storage.leases import RENEWAL_S
from ..storage.turns import TurnEnd, TurnRow, progress_of

Json = dict[str, Any]

MAX_ANSWER_LENGTH = 1_000_000
"""In characters. No model writes so much. MariaDB refuses a statement of more than 16 MB by closing the connection.
This looks like a database that is away, so the other answers of a batch would not be stored either."""

NOT_STORED = "not_stored"
"""The reason of a failed turn whose answer the database has refused."""

PATIENT_REASONS = ("caller_left", "stop_requested")
"""After these reasons, the request still waits until Dify has named its task, because only then the model can be
stopped. The turn itself ends at once."""


class TurnStopped(Exception):
    """The turn ended before Dify began to answer, because its caller left or somebody asked to stop it."""


class Change(NamedTuple):
    """What an event of Dify has changed in the answer.

    :param text: the text that was added; with `replaces` the whole answer so far
    """

    text: str
    replaces: bool = False


class TurnInProgress:
    """A running turn with the answer so far.

    The turn writes these attributes, and the monitor reads them. The monitor writes `end_reason` and `unstored_end`.

    :ivar text: the answer so far
    :ivar pieces: the number of pieces that were streamed
    :ivar passages: Dify's records that are in the prompt; at the end also those that the app itself has found
    :ivar last_event: Dify's last event with a message id; None before that
    :ivar chatflow_end: the event of Dify that says that a chatflow has ended or waits for a person; None before that
    :ivar is_lost: whether Dify no longer has the conversation that the turn has continued
    :ivar is_chatflow: whether Dify's events are those of a chatflow
    :ivar has_agent_text: whether an agent of Dify writes the answer
    :ivar end_reason: why the turn must end early: `caller_left`, `stop_requested`, `dify_timeout` or `gateway_stopped`;
        None if it need not end early
    :ivar has_ended: whether the turn's end was given to the monitor
    :ivar unstored_end: the end of a turn that has ended, if the database has not accepted it yet; else None
    :ivar has_dead_letter: whether the database has refused the answer so far, which is kept as a file
    """

    def __init__(self, row: TurnRow, trace: Trace, caller: socket.socket | None, text: str = "") -> None:
        """
        :param trace: the trace of the request, which can end a wait for Dify
        :param caller: the caller's connection; None if the monitor must not watch it
        :param text: the answer so far that is stored already
        """
        self.row = row
        self.text = text
        self.pieces = 0
        self.passages: list[Json] = []
        self.last_event: Json | None = None
        self.chatflow_end: Json | None = None
        self.end_reason: str | None = None
        self.has_ended = self.is_lost = False
        self.unstored_end: TurnEnd | None = None
        self.has_dead_letter = False
        self._reasoning = ReasoningWriter()
        self.is_chatflow = self.has_agent_text = self._is_replaced = False
        self._trace = trace
        self._is_asked = False
        self._needs_task = True
        self._end_claim = threading.Lock()
        self._answer_by: float | None = None
        self._events: EventStream | None = None
        self._caller = None if caller is None else duplicate(caller)
        self._counted_pieces = 0
        self._stored_text = text
        self._stored_at = monotonic()

    def take(self, event: Json) -> Change | None:
        """Take Dify's next event.

        :returns: what it has changed in the answer; None if it has nothing to do with the text
        :raises DifyUnreadable: the answer is longer than MAX_ANSWER_LENGTH
        """
        match event.get("event"):
            case "message" if self.has_agent_text:
                # An app of the mode agent ends its pieces with the whole answer (tests/contract/openapi).
                whole = event["answer"]
                return self._add(whole[len(self.text) :]) if whole.startswith(self.text) else self._replace(whole)
            case "message" | "agent_message" as name:
                self.has_agent_text = name == "agent_message"
                self.pieces += 1
                return self._add(self._reasoning.answer(event["answer"], self.text)) or Change("")
            case "reasoning_chunk":
                self.pieces += 1
                data = event["data"]
                return self._add(self._reasoning.think(data["reasoning"], data.get("node_id") or "", self.text))
            case "message_replace":
                self._reasoning, self._is_replaced = ReasoningWriter(), True
                return self._replace(event["answer"])
            case "workflow_started":
                self.is_chatflow = True
            case "workflow_finished" | "workflow_paused":
                self.chatflow_end = event
                return self._add(self._reasoning.end({}, self.text))
            case "message_end":
                metadata = event.get("metadata") or {}
                self._add_sources(metadata.get("retriever_resources") or [])
                reasoning = {} if self._is_replaced else metadata.get("reasoning") or {}
                return self._add(self._reasoning.end(reasoning, self.text))
        return None

    def _add(self, text: str) -> Change | None:
        self._set_text(self.text + text)
        return Change(text) if text else None

    def _replace(self, text: str) -> Change:
        self._set_text(text)
        return Change(text, replaces=True)

    def _set_text(self, text: str) -> None:
        if len(text) > MAX_ANSWER_LENGTH:
            raise DifyUnreadable(
                Sentence(
                    "The answer is longer than {max_answer_length:,} characters.", max_answer_length=MAX_ANSWER_LENGTH
                )
            )
        self.text = text

    def _add_sources(self, sources: list[Json]) -> None:
        """Add the passages that the app itself has found. A passage that is in the prompt too is not listed twice."""
        known = {record["segment"]["id"] for record in self.passages}
        for record in map(record_of_source, sources):
            segment_id = record["segment"]["id"]
            if segment_id not in known:
                self.passages = [*self.passages, record]
                known |= {segment_id} - {""}

    @property
    def task_id(self) -> str | None:
        """The id of Dify's task that generates the answer; None before Dify has sent it."""
        return self.last_event.get("task_id") if self.last_event else None

    @property
    def is_answered(self) -> bool:
        """Whether the answer is complete: Dify has sent the event that says so, or its moderation has replaced it."""
        return self.is_taken_back or self.last_event is not None and self.last_event.get("event") == "message_end"

    @property
    def is_taken_back(self) -> bool:
        """Whether Dify's moderation has replaced the answer and stopped the chatflow. 1.14.2 sends no `message_end`
        then (seen there; its reason is "Stopped by output moderation.")."""
        return (
            self._is_replaced and self.chatflow_end is not None and self.chatflow_end["data"].get("status") == "stopped"
        )

    @property
    def is_paused(self) -> bool:
        """Whether Dify waits until a person has filled in a form."""
        return self.chatflow_end is not None and self.chatflow_end["event"] == "workflow_paused"

    @property
    def pause_reasons(self) -> list[Json]:
        """Dify's reasons for which the turn is paused: the forms that a person must fill in."""
        reasons = self.chatflow_end["data"].get("reasons") or [] if self.chatflow_end and self.is_paused else []
        return [reason for reason in reasons if reason.get("form_id")]

    @property
    def forms(self) -> list[Json]:
        """The forms for which the turn is paused, as our API shows them."""
        return [form(reason) for reason in self.pause_reasons]

    def drop_pause(self) -> None:
        """End the paused turn as one that somebody has stopped. Dify was told so, keeps it in mind and ends the
        chatflow as soon as the form is filled in (seen on 1.14.2), so the form leads nowhere."""
        self.end_reason, self.chatflow_end = "stop_requested", None

    @property
    def is_over(self) -> bool:
        """Whether Dify has nothing more to say, so that nobody can stop the turn any more."""
        return self.is_answered or self.is_paused

    def prepare(self) -> None:
        """Begin to prepare the question. From now on :meth:`interrupt` ends the turn at once."""
        self._is_asked = False

    @property
    def waits_for_task(self) -> bool:
        """Whether the turn must end, and its request still waits for the id of Dify's task."""
        is_asked = self._is_asked and self._needs_task and self.task_id is None
        return is_asked and self.end_reason in PATIENT_REASONS

    def begin_asking(self, answer_timeout: float | None, *, needs_task: bool = True) -> None:
        """Begin to ask Dify. Dify may start the model from now on.

        :param answer_timeout: seconds that the whole answer may take; None: no limit
        :param needs_task: whether only a call with the id of Dify's task stops the model, so that a stop waits for it
        :raises TurnStopped: the turn was interrupted before
        """
        # In this order, and `interrupt` in the opposite order: so one of the two threads always sees the other.
        self._is_asked, self._needs_task = True, needs_task
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
        wait. The request still waits for this id, because the call that stops the model needs it. The turn ends with
        the next :meth:`TurnMonitor.flush`.

        :param reason: a value of `end_reason`
        """
        self.end_reason = self.end_reason or reason
        if reason in PATIENT_REASONS and self.waits_for_task:
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

        :returns: parameters for `store_progress`; None if the turn has ended, or if there is nothing new and the lease
            needs no renewal
        """
        text, now = self.text, monotonic()
        if self.has_ended or text is self._stored_text and now - self._stored_at < RENEWAL_S:
            return None
        return progress_of(self.row, text, self.task_id)

    def note_stored(self, progress: Json) -> None:
        """Remember that the database has accepted this progress."""
        self._stored_text, self._stored_at = progress["m_response"], monotonic()

    def acceptable_progress(self) -> Json:
        """The progress without the new text, which the database refuses: the text that it has accepted before."""
        return progress_of(self.row, self._stored_text, None)

    def acceptable_end(self) -> TurnEnd:
        """The end of a turn whose real end the database refuses."""
        return TurnEnd(self._stored_text, "failed", NOT_STORED, self.row.dify_conversation)

    def claim_end(self) -> bool:
        """Whether the caller of this is the first one who ends the turn."""
        return self._end_claim.acquire(blocking=False)

    def close(self) -> None:
        """Close our duplicate of the caller's socket. The server's socket stays open."""
        caller, self._caller = self._caller, None
        if caller is not None:
            caller.close()
