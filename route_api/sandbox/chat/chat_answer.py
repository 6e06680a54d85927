"""Answers one question: store the question, run the model, stream or collect its answer, store the answer."""

import json
import time
import uuid
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from sqlite3 import Row
from typing import Any

from flask import Response, current_app, jsonify

from ..access.account_table import account_id_and_name
from ..apps.annotation_table import matching_annotation
from ..apps.app_config import Config, checked_inputs
from ..embedding.embedder import current_embedder, similarity_of
from ..errors import SandboxError
from ..model.available_models import EXTRACTIVE, EXTRACTIVE_BRIEF, find_model
from ..model.extractive_model import Message
from ..model.extractive_stream import streamed_answer
from ..model.generation import Generation, ModelError
from ..model.openai_stream import streamed_completion
from ..request_fields import RequestFields
from ..store import current_store
from ..text.token_estimate import estimate_tokens
from ..version import is_1_16
from .attached_files import AttachedFile, attach_files
from .conversation_table import NAME_LENGTH
from .dataset_passages import find_context
from .model_messages import build_messages

WORD_DELAY_S = 0.005
PING_AFTER_S = 10.0
PING = "event: ping\n\n"


@dataclass(frozen=True)
class Question:
    """A question, its user and its conversation.

    :param source: `api` or `console`
    :param user: the end user; for `console`, the account's id
    :param query: "" if the question of a completion app is among its inputs
    :param conversation: the row; None begins a new conversation
    :param parent_id: the id of the message before it, always NO_PARENT for a chat of the service API; None: it has none
    :param history: question and answer of the earlier turns that the model receives
    :param files: the files that come with the question
    """

    app: Row
    source: str
    user: str
    query: str
    inputs: dict[str, Any]
    config: Config
    conversation: Row | None = None
    parent_id: str | None = None
    history: Sequence[tuple[str, str]] = ()
    files: tuple[AttachedFile, ...] = ()

    @property
    def owner(self) -> str:
        """The identity that may stop the answer."""
        return owner_of_task(self.app["id"], self.source, self.user)


def owner_of_task(app_id: str, source: str, user: str) -> str:
    """Make the identity that may stop a running answer: the same app, source and user."""
    return json.dumps([app_id, source, user])


class Turn:
    """A stored question whose answer is being generated.

    :param is_streamed: pause between two words, as a real model does; a blocking answer needs no pauses
    :raises SandboxError: 400, if an input does not fit the form, or the model does not exist
    """

    def __init__(self, question: Question, *, is_streamed: bool) -> None:
        self.answer = ""
        self.was_stopped = False
        self._started = time.monotonic()
        self._created_at = int(time.time())
        self._store = current_store()
        self._is_1_16 = is_1_16()  # A stream is generated outside of the application's context.
        self._silence_s = current_app.config.get("SANDBOX_PING_AFTER_S", PING_AFTER_S)
        inputs = checked_inputs(question.config, question.inputs)
        self._mode = question.app["mode"]
        self._annotation = matching_annotation(self._store, question.app["id"], question.query)
        model = question.config["model"]
        params = {name: value for name, value in model["completion_params"].items() if name != "stop"}
        messages: list[Message] = []
        self._resources: list[dict[str, Any]] = []
        if self._annotation is None:
            asked = question.query or str(inputs.get(question.config["dataset_query_variable"]) or "")
            context, self._resources = find_context(self._store, question.config, asked, question.source)
            messages = build_messages(question.config, inputs, context, question.history, question.query)
            words = _model_stream(model["name"], messages, params, is_streamed)
        else:
            words = _fixed_answer(self._annotation["answer"], is_streamed)
        self._prompt_tokens = sum(estimate_tokens(message["content"]) for message in messages)
        self.message_id = str(uuid.uuid4())
        self.conversation_id = question.conversation["id"] if question.conversation else str(uuid.uuid4())
        self._store_question(question, inputs, {"model": model["name"], "params": params, "messages": messages})
        self._generation = Generation(words, question.owner)

    def _store_question(self, question: Question, inputs: dict[str, Any], request: dict[str, Any]) -> None:
        with self._store.transaction() as connection:
            if question.conversation is None:
                name = question.query[:NAME_LENGTH] + ("…" if len(question.query) > NAME_LENGTH else "")
                connection.execute(
                    "INSERT INTO conversation"
                    " (id, app_id, source, user, name, inputs, config, created_at, updated_at)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        self.conversation_id,
                        question.app["id"],
                        question.source,
                        question.user,
                        name,
                        _json(inputs),
                        _json(question.config),
                        self._created_at,
                        self._created_at,
                    ),
                )
            connection.execute(
                "INSERT INTO message (id, conversation_id, parent_id, query, inputs, retriever_resources,"
                " model_request, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    self.message_id,
                    self.conversation_id,
                    question.parent_id,
                    question.query,
                    _json(inputs),
                    _json(self._resources),
                    _json(request),
                    self._created_at,
                ),
            )
            attach_files(connection, self.message_id, question.files)

    def _pieces(self) -> Generator[str, None, None]:
        """Yield the pieces of the answer, and "" for a silence.

        At the end, also after an error, store the answer so far.
        """
        failure: ModelError | None = None
        try:
            for piece in self._generation.pieces(self._silence_s):
                self.answer += piece
                yield piece
        except ModelError as error:
            failure = error
            raise
        finally:
            self.was_stopped = self._generation.stopped
            self._generation.stop()
            self._store_answer(failure)

    def _store_answer(self, failure: ModelError | None) -> None:
        is_whole = failure is None and not self.was_stopped
        with self._store.transaction() as connection:
            connection.execute(
                "UPDATE message SET answer = ?, status = ?, error = ?, usage = ?, latency_s = ? WHERE id = ?",
                (
                    self.answer,
                    "error" if failure else "normal",
                    failure.message if failure else None,
                    _json(self._usage()) if is_whole else None,
                    time.monotonic() - self._started,
                    self.message_id,
                ),
            )
            connection.execute(
                "UPDATE conversation SET updated_at = ? WHERE id = ?",
                (int(time.time()), self.conversation_id),
            )

    def _usage(self) -> dict[str, Any]:
        """Count the tokens: zero for a stopped answer (chat/streaming-stopped), and for an annotation's, which no model
        has written. All prices are zero."""
        is_counted = not self.was_stopped and self._annotation is None
        prompt_tokens = self._prompt_tokens if is_counted else 0
        completion_tokens = estimate_tokens(self.answer) if is_counted else 0
        return {
            "prompt_tokens": prompt_tokens,
            "prompt_unit_price": "0",
            "prompt_price_unit": "0",
            "prompt_price": "0",
            "completion_tokens": completion_tokens,
            "completion_unit_price": "0",
            "completion_price_unit": "0",
            "completion_price": "0",
            "total_tokens": prompt_tokens + completion_tokens,
            "total_price": "0",
            "currency": "USD",
            "latency": time.monotonic() - self._started,
            "time_to_first_token": None,
            "time_to_generate": None,
        }

    def _metadata(self) -> dict[str, Any]:
        metadata = {
            "annotation_reply": self._annotation_reply(),
            "retriever_resources": self._resources,
            "usage": self._usage(),
        }
        return {**metadata, "reasoning": {}} if self._is_1_16 else metadata

    def _annotation_reply(self) -> dict[str, Any] | None:
        """Return the annotation that the answer is from, with the account that wrote it."""
        if self._annotation is None:
            return None
        account_id, name = account_id_and_name(self._store)
        return {"id": self._annotation["id"], "account": {"id": account_id, "name": name}}

    def _metadata_in_stream(self) -> dict[str, Any]:
        """The metadata of `message_end`. 1.16.1 leaves out what is null."""
        metadata = self._metadata()
        if self._is_1_16:
            metadata = _without_null(metadata)
            metadata["usage"] = _without_null(metadata["usage"])
            metadata["retriever_resources"] = [_without_null(resource) for resource in self._resources]
        return metadata

    def _event(self, name: str, **fields: Any) -> str:
        event = {
            "event": name,
            **self._conversation(),
            "message_id": self.message_id,
            "created_at": self._created_at,
            **fields,
        }
        return f"data: {_json(event)}\n\n"

    def _conversation(self) -> dict[str, str]:
        """Return the conversation's id, which a completion app does not tell."""
        return {"conversation_id": self.conversation_id} if self._mode == "chat" else {}

    def events(self) -> Iterator[str]:
        """Yield the answer as server-sent events.

        An `error` event has no task id; it is the last one (chat/error-mid-stream).
        """
        ids = {"task_id": self._generation.task_id, "id": self.message_id}
        nothing: list[str] | None = [] if self._is_1_16 else None
        try:
            with closing(self._pieces()) as pieces:
                for piece in pieces:
                    if piece:
                        yield self._event("message", **ids, answer=piece, from_variable_selector=nothing)
                    else:
                        yield PING
        except ModelError as error:
            yield self._event("error", code=error.code, status=400, message=error.message)
            return
        if not self.answer and not self.was_stopped:
            yield self._event("message", **ids, answer="", from_variable_selector=nothing)
        yield self._event("message_end", **ids, metadata=self._metadata_in_stream(), files=nothing)

    def blocking_answer(self) -> dict[str, Any]:
        """Return the blocking answer.

        :raises SandboxError: 400, if the model failed, or, in 1.12.1, its answer is empty (chat/blocking-empty-answer)
        """
        try:
            for _ in self._pieces():
                pass
        except ModelError as error:
            raise SandboxError(400, error.code, error.message) from error
        if not self.answer and not self.was_stopped and not self._is_1_16:
            raise SandboxError(
                400,
                "invalid_param",
                "1 validation error for Data\nanswer\n"
                "  Input should be a valid string [type=string_type, input_value=[], input_type=list]\n"
                "    For further information visit https://errors.pydantic.dev/2.11/v/string_type",
            )
        return {
            "event": "message",
            "task_id": self._generation.task_id,
            "id": self.message_id,
            "message_id": self.message_id,
            **self._conversation(),
            "mode": self._mode,
            "answer": self.answer,
            "metadata": self._metadata(),
            "created_at": self._created_at,
        }


def response_mode_of(body: RequestFields) -> str:
    """Read how the request wants its answer: `blocking`, which is the default, or `streaming`."""
    return body.optional_choice("response_mode", ("blocking", "streaming")) or "blocking"


def answer_question(question: Question, response_mode: str) -> Response:
    """Answer as JSON, or as a stream. The first event is sent with the model's first word."""
    turn = Turn(question, is_streamed=response_mode == "streaming")
    if response_mode == "streaming":
        return Response(turn.events(), content_type="text/event-stream; charset=utf-8")
    return jsonify(turn.blocking_answer())


def _model_stream(
    name: str, messages: list[Message], params: dict[str, Any], is_streamed: bool
) -> Generator[str, None, None]:
    if find_model(name) is None:
        text = f"Model {name} is not configured in this sandbox."
        raise SandboxError(400, "provider_not_initialize", text)
    if name not in (EXTRACTIVE, EXTRACTIVE_BRIEF):
        return streamed_completion(current_app.config["SANDBOX_LLM_URL"], name, messages, params)
    limit = params.get("num_predict", params.get("max_tokens"))
    return streamed_answer(
        messages,
        brief=name == EXTRACTIVE_BRIEF,
        max_tokens=limit if isinstance(limit, int) and limit > 0 else None,
        delay_s=current_app.config.get("SANDBOX_WORD_DELAY_S", WORD_DELAY_S) if is_streamed else 0.0,
        similarity=similarity_of(current_embedder()),
    )


def _fixed_answer(text: str, is_streamed: bool) -> Generator[str, None, None]:
    """Yield a text in one piece, or, streamed, character by character, as Dify does."""
    delay_s = current_app.config.get("SANDBOX_WORD_DELAY_S", WORD_DELAY_S)
    return _slowly(text, delay_s) if is_streamed else _slowly([text], 0)


def _slowly(pieces: Iterable[str], delay_s: float) -> Generator[str, None, None]:
    for piece in pieces:
        time.sleep(delay_s)
        yield piece


def _without_null(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
