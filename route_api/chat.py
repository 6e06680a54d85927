"""A turn of a conversation: retrieve, prompt, ask the Dify app, answer or relay, store.

Nothing that was said is lost: the question is stored before Dify is called, the answer, or the part of it that came,
after; and no database connection is held in between.
"""

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar
from uuid import UUID

import orjson
from flask import current_app

from . import presenters, prompts
from .dify import ChatApi, EventStream, refusal_text
from .envelope import elapsed_s, failure_body
from .errors import ApiError, DifyError, DifyNotFound, DifyRejected, ModelFailed
from .extensions import db, dify
from .retrieval import find_passages
from .turns import Turn, begin_turn, complete_turn, renew_claim

Json = dict[str, Any]
T = TypeVar("T")

log = logging.getLogger(__name__)

CLAIM_S = 90.0
"""Seconds that a streaming turn claims its conversation for; renewed while events come."""

RENEW_AFTER_S = 30.0

FORM_LIFETIME_S = 300.0
"""Seconds for which an app's declared variables are taken for granted."""

LAST_LINE = b'data: {"code":0,"message":"","data":true}\n\n'
"""The end of a stream that went well, as RAGFlow's clients expect it."""

KEEP_ALIVE = b": ping\n\n"


@dataclass(frozen=True, slots=True)
class Question:
    """What a caller asks, checked.

    :param conversation_id: with dashes, as Dify writes ids; None starts a conversation
    :param kb_id: None for a conversation without a knowledge base
    :param has_kb: whether the endpoint knows knowledge bases, so that its answers have `rag_info`
    """

    user_id: str
    text: str
    conversation_id: str | None = None
    conversation_name: str | None = None
    kb_id: str | None = None
    has_kb: bool = False


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the Dify app is asked, and the passages that went into it."""

    query: str
    inputs: dict[str, str]
    context: str
    passages: list[Json]


class Chat:
    """One turn, from the claim to the stored answer."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.app: ChatApi = dify.chat()
        self.engine = db.engine
        self.turn: Turn
        self.prompt: Prompt

    def answer(self) -> tuple[Json, Json]:
        """Answer in one piece: `data`, and what stands beside it.

        One upstream call; with a knowledge base two, retrieve and chat. Two transactions.
        """
        self._begin(claim_s=current_app.config["DIFY_CHAT_TIMEOUT"] + RENEW_AFTER_S)
        with self._stored_if_it_fails():
            reply = self._call(self.app.send)
            text = reply["answer"]
        self._complete(text, "done", reply)
        return self._answer_data(text), self._beside_data()

    def stream(self) -> Generator[bytes]:
        """Answer as server-sent events; what fails before Dify's first event is raised here, not in the stream."""
        self._begin(claim_s=CLAIM_S + current_app.config["DIFY_CHAT_TIMEOUT"])
        with self._stored_if_it_fails():
            relay = self._relay(self._call(self.app.stream))
        next(relay)
        return relay

    # -------------------------------------------------------------- the parts of a turn

    def _begin(self, claim_s: float) -> None:
        question = self.question
        self.turn = begin_turn(
            self.engine,
            user_id=question.user_id,
            conversation_id=question.conversation_id and question.conversation_id.replace("-", ""),
            kb_id=question.kb_id,
            query=question.text,
            chat_type="kb_chat" if question.kb_id else "chat",
            name=question.conversation_name,
            claim_s=claim_s,
        )
        with self._stored_if_it_fails():
            self.prompt = self._make_prompt()

    def _make_prompt(self) -> Prompt:
        question, form = self.question, app_form(self.app)
        if not question.kb_id:
            return Prompt(question.text, prompts.app_inputs(form, ""), "", [])
        records = find_passages(question.kb_id, question.text)
        passages, context = prompts.passages_within(records, prompts.context_budget(form))
        query = prompts.app_query(form, question.text, context)
        return Prompt(query, prompts.app_inputs(form, context), context, passages)

    def _call(self, ask: Callable[[Json], T]) -> T:
        """Ask the app, in its own conversation; in a new one if Dify has lost it, since a question is not for nothing."""
        body: Json = {"query": self.prompt.query, "inputs": self.prompt.inputs, "user": self.turn.user_id}
        if self.turn.dify_conversation_id:
            try:
                return ask({**body, "conversation_id": self.turn.dify_conversation_id})
            except DifyNotFound:
                log.warning("Dify no longer has the conversation behind %s", self.turn.conversation_id)
        try:
            return ask(body)
        except DifyRejected as error:
            raise ModelFailed(f"The model could not answer: {error.message}") from error

    @contextmanager
    def _stored_if_it_fails(self) -> Iterator[None]:
        """Let go of the conversation, and keep the question and the reason, when a turn fails before its answer."""
        try:
            yield
        except BaseException as error:
            self.turn.meta_data["error"] = error.code if isinstance(error, ApiError) else "interrupted"
            complete_turn(self.engine, self.turn, "", "failed")
            raise

    def _complete(self, text: str, status: str, reply: Json | None = None) -> None:
        if self.prompt.passages:
            self.turn.meta_data["references"] = [presenters.reference(record) for record in self.prompt.passages]
        usage = ((reply or {}).get("metadata") or {}).get("usage")
        if usage:
            self.turn.meta_data["usage"] = usage
        complete_turn(self.engine, self.turn, text, status, reply)

    # -------------------------------------------------------------- what the caller gets

    def _ids(self) -> Json:
        turn = self.turn
        return {
            "conversation_id": str(UUID(turn.conversation_id)),
            "is_new_conversation": turn.is_new_conversation,
            "message_id": str(UUID(turn.message_id)),
        }

    def _answer_data(self, text: str) -> Json:
        thinking, content = prompts.split_thinking(text)
        data = {"answer": text, **self._ids(), "thinking": thinking, "content": content}
        if self.question.has_kb:
            data["reference"] = presenters.ragflow_reference(self.prompt.passages, self.question.kb_id)
        return data

    def _beside_data(self) -> Json:
        if not self.question.has_kb:
            return {}
        prompt = self.prompt
        rag_info = {
            "context_length": len(prompt.context),
            "context_used": bool(prompt.passages),
            "kb_id": self.question.kb_id,
            "references": [presenters.reference(record) for record in prompt.passages],
        }
        return {"rag_info": rag_info}

    def _relay(self, events: EventStream) -> Generator[bytes]:
        """Dify's events as ours. Every way out stores what came, the caller's leaving included.

        The first, empty piece is for `stream`: closing a generator that never started would run nothing of it.
        """
        before = b'data: {"code":0,"message":"","data":' + orjson.dumps(self._ids())[:-1] + b',"answer":'
        text = ""
        status, latest = "stopped", None
        renew_at = monotonic() + RENEW_AFTER_S
        try:
            yield b""
            for event in events:
                is_first = latest is None
                if "message_id" in event:
                    latest = event  # before a piece is yielded: who leaves at the first one must stop the model too
                match event.get("event"):
                    case "message" | "agent_message":
                        text += event["answer"]
                        yield b"%b%b}}\n\n" % (before, orjson.dumps(event["answer"]))
                    case "message_replace":
                        text = event["answer"]
                    case "message_end":
                        status = "done"
                    case "error":
                        raise ModelFailed(
                            f"The model could not answer: {refusal_text(event.get('status', 500), event)}"
                        )
                    case "ping":
                        yield KEEP_ALIVE
                    case _ if is_first:
                        yield b'%b""}}\n\n' % before
                if monotonic() > renew_at:
                    renew_at = monotonic() + RENEW_AFTER_S
                    renew_claim(self.engine, self.turn, CLAIM_S)
        except ApiError as error:
            status = "failed"
            self.turn.meta_data["error"] = error.code
            log.error("the answer broke off: %s: %s", error.code, error.message)
            yield b"data: %b\n\n" % orjson.dumps({**failure_body(error), "data": self._ids()})
        finally:
            events.close()
            if status == "stopped":
                self._stop_generation(latest)
            self._complete(text, status, latest)
        if status == "done":
            yield self._last_event(text)
            yield LAST_LINE

    def _last_event(self, text: str) -> bytes:
        data = self._answer_data(text)
        event = {"code": 0, "message": "", "data": data, "elapsed_s": elapsed_s(), **self._beside_data()}
        return b"data: %b\n\n" % orjson.dumps(event)

    def _stop_generation(self, latest: Json | None) -> None:
        """The caller left: without a stop Dify would run on and save an empty answer (FINDINGS f)."""
        if latest is None or "task_id" not in latest:
            return
        try:
            self.app.stop(latest["task_id"], self.turn.user_id)
        except DifyError as error:
            log.warning("Dify could not be told to stop: %s", error.message)


def app_form(app: ChatApi) -> dict[str, int | None]:
    """The variables that the app declares; asked for once in five minutes and process."""
    forms: dict[ChatApi, tuple[float, dict[str, int | None]]] = current_app.extensions.setdefault("app_forms", {})
    known = forms.get(app)
    if known is None or known[0] < monotonic():
        known = (monotonic() + FORM_LIFETIME_S, prompts.declared_variables(app.parameters()))
        forms[app] = known
    return known[1]
