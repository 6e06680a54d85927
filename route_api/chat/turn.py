"""A turn of a conversation: retrieve, prompt, ask the Dify app, answer or relay, store.

Nothing that was said is lost: the question is stored before Dify is called, the answer while it comes
(`chat/monitor.py`) and when it is complete; and no database connection is held in between.
"""

import logging
import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import orjson

from .. import presenters, prompts
from ..dify import EventStream, error_text
from ..envelope import elapsed_s, failure_body, internal_error
from ..errors import (
    ApiError,
    DifyError,
    DifyNotFound,
    DifyRejected,
    DifyTimeout,
    GatewayStopped,
    ModelFailed,
    ValidationFailed,
)
from ..extensions import components, db
from ..knowledge.retrieval import find_passages_of
from ..monitoring import metrics
from ..storage.models import dashed
from ..storage.turns import DifyThread, Turn, begin_turn, complete_turn, past_turns
from .backends import Carrier, Wish, choose_carrier
from .monitor import LiveTurn
from .stream_events import KEEP_ALIVE, LAST_LINE, Shaper

Json = dict[str, Any]
T = TypeVar("T")

log = logging.getLogger(__name__)

TURNS_REMEMBERED = 100
"""Turns that are read for a history; the budget of characters usually ends it sooner."""

NO_PROMPT = prompts.Prompt(query="", inputs={}, context="", passages=[], history_used=0)
"""Of a turn that failed before it had one."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a caller asks, checked.

    :param conversation_id: with dashes, as Dify writes ids; None starts a conversation
    :param kb_ids: none for a conversation without a knowledge base
    :param has_kb: whether the endpoint knows knowledge bases, so that its answers have `rag_info`
    :param history: how many turns the model is reminded of, or of what; None leaves it to Dify's memory
    :param think: keep, drop or separate
    :param cumulative: whether each event of a stream has the whole text so far
    """

    user_id: str
    text: str
    conversation_id: str | None = None
    conversation_name: str | None = None
    kb_ids: tuple[str, ...] = ()
    has_kb: bool = False
    wish: Wish = field(default_factory=Wish)
    history: int | list[dict[str, str]] | None = None
    prompt_name: str | None = None
    think: str = "keep"
    cumulative: bool = False


class Chat:
    """One turn, from the claim to the stored answer."""

    def __init__(self, question: Question) -> None:
        """Refuse what cannot be honoured, before anything is stored.

        :raises ValidationFailed: no such model, parameter or prompt template
        :raises NotSupported: the wish needs settings that are missing
        """
        self.question = question
        self.template = prompt_template(question.prompt_name)
        self.carrier: Carrier
        self.no_carrier: DifyError | None = None
        try:
            self.carrier = choose_carrier(question.wish)
        except DifyError as error:
            self.no_carrier = error  # Raised when the question is stored: a failing Dify must not lose it.
        self.engine = db.engine
        self.monitor = components.turn_monitor
        self.live: LiveTurn
        self.thread: DifyThread | None = None
        self.prompt = NO_PROMPT

    def answer(self) -> tuple[Json, Json]:
        """Answer in one piece: `data`, and what stands beside it.

        One upstream call; with a knowledge base two, retrieve and chat. Two round trips to the database.
        """
        with self._turn(caller=None):
            reply = self._call(self.carrier.api.send)
            text = reply["answer"]
        self._complete(text, "done", reply)
        return self._answer_data(text, "done"), self._beside_data()

    def stream(self, caller: socket.socket | None) -> Generator[bytes]:
        """Answer as server-sent events; what fails before Dify's first event is raised here, not in the stream.

        :param caller: the caller's connection, if the server tells; it is watched for the caller's leaving
        """
        with self._turn(caller):
            relay = self._relay(self._call(self.carrier.api.stream))
        next(relay)
        return relay

    # -------------------------------------------------------------- the parts of a turn

    @contextmanager
    def _turn(self, caller: socket.socket | None) -> Iterator[None]:
        """Claim the conversation and make the prompt. What fails from then on lets go of it again, and keeps the
        question and the reason."""
        self.live = LiveTurn(self._begin(), caller)
        try:
            self.monitor.admit(self.live)
            if self.no_carrier is not None:
                raise self.no_carrier
            with self.live.abortable():
                self._remember()
                yield
        except BaseException as error:
            self.live.turn.meta_data["reason"] = reason_of(error)
            self._complete("", "failed")
            raise

    def _begin(self) -> Turn:
        question, wish = self.question, self.question.wish
        asked = {
            "kb_ids": list(question.kb_ids),
            "carrier": None if self.no_carrier else self.carrier.name,
            "model_name": wish.model_name,
            "temperature": wish.temperature,
            "max_tokens": wish.max_tokens,
            "prompt_name": question.prompt_name,
        }
        return begin_turn(
            self.engine,
            user_id=question.user_id,
            conversation_id=question.conversation_id and question.conversation_id.replace("-", ""),
            kb_id=",".join(sorted(question.kb_ids)) or None,
            query=question.text,
            chat_type="kb_chat" if question.kb_ids else "chat",
            name=question.conversation_name,
            meta_data={name: value for name, value in asked.items() if value not in (None, [])},
        )

    def _remember(self) -> None:
        """Decide where on Dify the turn goes on, and what the model is reminded of from our database.

        Dify remembers by itself what its own conversation holds. It is reminded of what that does not hold: all that
        came before, when the conversation is carried another way than so far; and exactly what the caller wants, in a
        conversation of Dify's for this turn alone, when the caller gives a history.
        """
        turn, thread = self.live.turn, self.live.turn.thread
        if thread is not None and thread.carrier != self.carrier.name:
            thread = None
        given = self.question.history
        if given is not None:
            self.thread = thread = None
            history = self._past(most=given) if isinstance(given, int) else prompts.history_from_list(given)
        elif thread is None or "history" in self.carrier.form:
            self.thread = thread
            history = self._past(before=thread.since if thread else turn.position)
        else:
            self.thread = thread
            history = []  # It went into a question of this conversation on Dify, which remembers that.
        records = find_passages_of(self.question.kb_ids, self.question.text)
        self.prompt = prompts.compose(
            self.template, self.carrier.form, question=self.question.text, records=records, history=history
        )

    def _past(self, *, most: int = TURNS_REMEMBERED, before: int | None = None) -> list[str]:
        """Turns of this conversation as texts, the oldest first."""
        turn = self.live.turn
        before = before or turn.position
        if most == 0 or before == 1:
            return []
        rows = past_turns(self.engine, turn, before=before, most=most)
        return prompts.history_from_turns((row.query, row.response) for row in reversed(rows))

    def _call(self, ask: Callable[[Json], T]) -> T:
        """Ask the app, in its own conversation; in a new one, with our memory, if Dify has lost it."""
        turn = self.live.turn
        body: Json = {"query": self.prompt.query, "inputs": self.prompt.inputs, "user": turn.user_id}
        if self.carrier.model_config is not None:
            body["model_config"] = self.carrier.model_config
        try:
            if self.thread is None:
                return ask(body)
            return ask({**body, "conversation_id": self.thread.dify_conversation_id, **self._parent()})
        except DifyNotFound:
            if self.thread is None:
                raise
            log.warning("Dify no longer has its conversation behind %s", turn.conversation_id)
            turn.thread, self.thread = None, None
            self._remember()
            return self._call(ask)
        except DifyRejected as error:
            raise ModelFailed(f"The model could not answer: {error.message}") from error

    def _parent(self) -> Json:
        """The message before, by which alone the debugger remembers (FINDINGS a); the last one that succeeded."""
        turn, thread = self.live.turn, self.thread
        if not self.carrier.is_debugger or thread is None:
            return {}
        parent = turn.last_dify_message_id
        if parent is None:
            rows = past_turns(self.engine, turn, before=turn.position, most=TURNS_REMEMBERED)
            parents = (row.dify_message_id for row in rows if row.position >= thread.since and row.dify_message_id)
            parent = next(parents, None)
        return {"parent_message_id": parent} if parent else {}

    def _broke_off(self, error: Exception) -> ApiError:
        """Remember and log why a stream fails in its middle, and put it into words that may be shown."""
        problem = error if isinstance(error, ApiError) else internal_error()
        if problem is not error:
            log.exception("unexpected error in the middle of an answer")
        log.error("the answer broke off: %s: %s", problem.code, problem.message)
        self.live.turn.meta_data["reason"] = problem.code
        return problem

    def _complete(self, text: str, status: str, reply: Json | None = None) -> None:
        """Store the answer, or the part of it that came, and let the next turn in.

        :param reply: Dify's answer or one of its events, for its ids
        """
        turn, reply = self.live.turn, reply or {}
        if self.prompt.passages:
            turn.meta_data["references"] = [presenters.reference(record) for record in self.prompt.passages]
        if usage := (reply.get("metadata") or {}).get("usage"):
            turn.meta_data["usage"] = usage
        thread = self._next_thread(reply.get("conversation_id"))
        store = partial(complete_turn, thread=thread, dify_message_id=reply.get("message_id"))
        self.monitor.complete(self.live, partial(store, self.engine, turn, text, status))

    def _next_thread(self, dify_conversation_id: str | None) -> DifyThread | None:
        """Where on Dify the next turn goes on."""
        turn = self.live.turn
        if dify_conversation_id is None:
            return turn.thread
        turn.meta_data["dify_conversation_id"] = dify_conversation_id
        if self.question.history is not None:
            return None
        since = self.thread.since if self.thread else turn.position
        return DifyThread(self.carrier.name, dify_conversation_id, since)

    # -------------------------------------------------------------- what the caller gets

    def _ids(self) -> Json:
        turn = self.live.turn
        return {
            "conversation_id": dashed(turn.conversation_id),
            "is_new_conversation": turn.is_first,
            "message_id": dashed(turn.message_id),
        }

    def _answer_data(self, text: str, status: str) -> Json:
        thinking, content = prompts.split_thinking(text)
        shown = text if self.question.think == "keep" else content
        data = {"answer": shown, **self._ids(), "content": content, "status": status}
        data["thinking"] = "" if self.question.think == "drop" else thinking
        if self.question.has_kb:
            data["reference"] = presenters.ragflow_reference(self.prompt.passages)
        return data

    def _beside_data(self) -> Json:
        if not self.question.has_kb:
            return {}
        prompt, kb_ids = self.prompt, self.question.kb_ids
        rag_info = {
            "context_length": len(prompt.context),
            "context_used": bool(prompt.passages),
            "kb_id": kb_ids[0] if kb_ids else None,
            "kb_ids": list(kb_ids),
            "references": [presenters.reference(record) for record in prompt.passages],
        }
        return {"rag_info": rag_info}

    def _relay(self, events: EventStream) -> Generator[bytes]:
        """Dify's events as ours. Every way out stores what came, the caller's leaving included.

        The first, empty piece is for `stream`: closing a generator that never started would run nothing of it.
        """
        live, turn = self.live, self.live.turn
        live.watch(events)
        metrics.open_streams.inc()
        shaper = Shaper(self._ids(), think=self.question.think, cumulative=self.question.cumulative)
        status, latest = "stopped", None
        try:
            yield b""
            for event in events:
                is_first = latest is None
                if "message_id" in event:
                    latest = event  # before a piece is yielded: who leaves at the first one must stop the model too
                    if is_first:
                        turn.meta_data["task_id"] = event.get("task_id")
                if live.ended_by and event.get("event") != "message_end":
                    break
                match event.get("event"):
                    case "message" | "agent_message":
                        live.text += event["answer"]
                        live.tokens += 1
                        if live.tokens == 1:
                            metrics.first_token_seconds.observe(elapsed_s())
                        yield shaper.shape(event["answer"])
                    case "message_replace":
                        live.text = event["answer"]
                    case "message_end":
                        status = end_status(event)
                        if status == "stopped":
                            turn.meta_data["reason"] = "stop_requested"
                    case "error":
                        reason = error_text(event.get("status", 500), event)
                        raise ModelFailed(f"The model could not answer: {reason}")
                    case "ping":
                        yield KEEP_ALIVE
                    case _ if is_first:
                        yield shaper.shape("")
        except Exception as error:
            if not live.ended_by:
                status = "failed"
                yield self._failure_event(self._broke_off(error))
            if isinstance(error, DifyTimeout):
                self._stop_generation(latest)
        finally:
            events.close()
            if status == "stopped" and (latest is None or latest.get("event") != "message_end"):
                turn.meta_data["reason"] = live.ended_by or "caller_left"
                self._stop_generation(latest)
            metrics.open_streams.dec()
            metrics.count_stream(turn.meta_data["reason"] if status == "stopped" else status)
            self._complete(live.text, status, latest)
        if latest is not None and latest.get("event") == "message_end":
            yield shaper.rest() + self._last_event(live.text, status) + LAST_LINE
        elif live.ended_by == "gateway_stopped":
            yield self._failure_event(GatewayStopped())

    def _failure_event(self, error: ApiError) -> bytes:
        return b"data: %b\n\n" % orjson.dumps({**failure_body(error), "data": self._ids()})

    def _last_event(self, text: str, status: str) -> bytes:
        data = self._answer_data(text, status)
        event = {"code": 0, "message": "", "data": data, "elapsed_s": elapsed_s(), **self._beside_data()}
        return b"data: %b\n\n" % orjson.dumps(event)

    def _stop_generation(self, latest: Json | None) -> None:
        """Nobody listens any more: without a stop Dify would run on and save an empty answer (FINDINGS f)."""
        if latest is None or "task_id" not in latest:
            return
        try:
            self.carrier.api.stop(latest["task_id"], self.live.turn.user_id)
        except DifyError as error:
            log.warning("Dify could not be told to stop: %s", error.message)


def reason_of(error: BaseException) -> str:
    """The name under which a failed turn remembers its cause."""
    if isinstance(error, ApiError):
        return error.code
    return ApiError.code if isinstance(error, Exception) else "interrupted"


def prompt_template(name: str | None) -> prompts.PromptTemplate:
    """The template of this name, or the default one.

    :raises ValidationFailed: there is none of this name
    """
    templates = components.prompt_templates
    template = templates.get(name or prompts.DEFAULT_TEMPLATE)
    if template is None:
        raise ValidationFailed(f"prompt_name '{name}' is none of: {', '.join(sorted(templates))}.")
    return template


def end_status(message_end: Json) -> str:
    """done or stopped: a stopped answer ends like any other, but with a usage of nothing (chat/streaming-stopped)."""
    usage = (message_end.get("metadata") or {}).get("usage") or {}
    return "stopped" if usage.get("total_tokens") == 0 else "done"
