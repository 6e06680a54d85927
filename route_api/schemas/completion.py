"""A turn of a conversation: parameters and answers. Source: the API document, "调用模型进行对话", and document 000."""

import re
from typing import Any

from marshmallow import ValidationError, fields

from ..languages import Sentence, shown
from .answers import Answer, Empty, OrNull, answer, schema_like
from .base import Parameters
from .fields import (
    Choice,
    Flag,
    Given,
    Id,
    Ids,
    JsonObject,
    Number,
    OptionalId,
    Question,
    Text,
    UserIdText,
    Whole,
    as_list,
    ascii_digits,
)
from .unused import report

MAX_NAMED = 5
"""How many keys of the entries of a history a warning names."""

MESSAGE_LENGTH = 100_000
"""Maximum length of a question, in characters."""

USER_ID_LENGTH = 32
"""Maximum length in characters: the length of the column in document 000."""

CONVERSATION_NAME_LENGTH = 50
MAX_HISTORY = 1000
"""Number of past turns that a request may ask for. The limit on their characters is usually reached before."""

NOT_GIVEN = -1
"""The number in `history` and `history_len` that means the same as no number, as in Langchain-Chatchat, which has the
parameters of document 000."""

MAX_HISTORY_ENTRIES = 2 * MAX_HISTORY
"""Number of entries of a history that is given as a list: a question and an answer for each turn."""

MAX_KBS = 10
STREAM_MODES = ["delta", "cumulative", "events"]
HISTORY_ROLES = ("user", "assistant", "system")
HISTORY_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": NOT_GIVEN, "maximum": MAX_HISTORY},
        {
            "type": "array",
            "maxItems": MAX_HISTORY_ENTRIES,
            "items": {
                "type": "object",
                "properties": {
                    "role": {"type": "string", "enum": list(HISTORY_ROLES)},
                    "content": {"type": "string"},
                },
                "required": ["role", "content"],
            },
        },
    ]
}


class History(Given):
    """The history that the model gets: a number of past turns, or a list of `{"role", "content"}`. -1 becomes None."""

    takes_lists = True

    default_error_messages = {
        "invalid": Sentence(
            "must be a whole number from {minimum} to {maximum}, or a list of objects with role and content.",
            minimum=NOT_GIVEN,
            maximum=MAX_HISTORY,
        ),
        "entry": Sentence("must be an object with a role (user, assistant or system) and a content, both strings."),
        "nul": Sentence("must not hold a NUL character."),
        "too_long": Sentence("must hold {message_length:,} characters at the most.", message_length=MESSAGE_LENGTH),
        "too_many": Sentence(
            "must have {max_history_entries} entries at the most.", max_history_entries=MAX_HISTORY_ENTRIES
        ),
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(metadata={**HISTORY_SCHEMA, **kwargs.pop("metadata", {})}, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int | list[dict[str, str]] | None:
        value = as_list(value)
        if isinstance(value, str) and re.fullmatch(r"-?\d{1,9}(\.0*)?", ascii_digits(value), re.ASCII):
            value = float(ascii_digits(value))
        if isinstance(value, float) and value.is_integer():  # JSON does not tell 5.0 from 5.
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and NOT_GIVEN <= value <= MAX_HISTORY:
            return None if value == NOT_GIVEN else value
        if not isinstance(value, list):
            raise self.make_error("invalid")
        return self._entries(value)

    def _entries(self, entries: list[Any]) -> list[dict[str, str]]:
        if len(entries) > MAX_HISTORY_ENTRIES:
            raise self.make_error("too_many")
        checked = []
        for index, entry in enumerate(entries):
            role, content = (entry.get("role"), entry.get("content")) if isinstance(entry, dict) else (None, None)
            if role not in HISTORY_ROLES or not isinstance(content, str):
                raise ValidationError({index: self.make_error("entry").messages})
            if "\0" in content:
                raise ValidationError({index: self.make_error("nul").messages})
            checked.append({"role": role, "content": content})
        if unused := sorted({shown(name) for entry in entries for name in entry} - {"role", "content"}):
            names = ", ".join(unused[:MAX_NAMED])
            report(
                [
                    Sentence(
                        "history: the entries have more than role and content, which was not used: {names}.",
                        names=names,
                    )
                ]
            )
        if sum(len(entry["content"]) for entry in checked) > MESSAGE_LENGTH:
            raise self.make_error("too_long")
        return checked


class Completion(Parameters):
    """Parameters of `conversation/completion`."""

    # The API document and document 000 have different names for two parameters.
    other_names = {"query": "message", "stream": "streaming"}

    user_id = UserIdText(max_length=USER_ID_LENGTH)
    message = Question(max_length=MESSAGE_LENGTH, metadata={"description": "the question; or `query`"})
    conversation_id = OptionalId(metadata={"description": "empty in the first turn"})
    conversation_name = Text(
        max_length=CONVERSATION_NAME_LENGTH,
        load_default=None,
        metadata={"description": "name of a new conversation; else its first question"},
    )
    streaming = Flag(load_default=False, metadata={"description": "or `stream`", "example": False})
    stream_mode = Choice(
        STREAM_MODES,
        load_default="delta",
        metadata={
            "description": "`cumulative`: each event has the whole text so far, as RAGFlow's UI expects; `events`: each"
            " event has a name"
        },
    )
    think = Choice(
        ["keep", "drop", "separate"],
        load_default=None,
        metadata={
            "description": "where all reasoning goes: into `answer` (the default, but not of a stream with"
            " `stream_mode` `events`), nowhere, or into `thinking` alone (the default there). A stream cannot take back"
            " reasoning that began without `<think>`: it stays in `answer`"
        },
    )
    inputs = JsonObject(
        max_length=MESSAGE_LENGTH,
        load_default=dict,
        metadata={
            "description": "values for variables that the Dify app declares, by name; the gateway itself fills"
            " `instructions`, `context` and `history`. What the app does not take is a 400, and no model is asked"
        },
    )
    history = History(
        load_default=None,
        metadata={
            "description": "instead of Dify's memory: the last n turns, 0 for none, -1 for Dify's memory; or a list of"
            " {role, content}. A chatflow without a variable `history` keeps Dify's memory"
        },
    )
    history_len = Whole(
        minimum=NOT_GIVEN,
        maximum=MAX_HISTORY,
        load_default=None,
        metadata={"description": "`history` as a number; -1 is Dify's memory"},
    )
    model_name = Text(max_length=200, load_default=None, metadata={"description": "another model for this turn"})
    temperature = Number(minimum=0, maximum=2, load_default=None, metadata={"description": "for this turn"})
    max_tokens = Whole(minimum=1, maximum=1_000_000, load_default=None, metadata={"description": "for this turn"})
    prompt_name = Text(max_length=100, load_default=None, metadata={"description": "a template of `prompt/list`"})


class CompletionWithKb(Completion):
    """Parameters of `conversation/completion_db` and `chat/chat`."""

    kb_id = OptionalId(metadata={"description": "the knowledge base to answer from; another one starts a conversation"})
    kb_ids = Ids(max_items=MAX_KBS, empty=True, load_default=list, metadata={"description": "several knowledge bases"})


class SubmitForm(Parameters):
    """Parameters of `conversation/submit_form`."""

    other_names = {"stream": "streaming"}

    user_id = UserIdText(max_length=USER_ID_LENGTH)
    message_id = Id(required=True, metadata={"description": "of the paused answer"})
    form_id = OptionalId(metadata={"description": "needed if the answer waits for several forms"})
    action = Text(max_length=100, required=True, metadata={"description": "the `id` of the action", "example": "ok"})
    inputs = JsonObject(
        max_length=MESSAGE_LENGTH,
        load_default=dict,
        metadata={"description": "a text for each field, by its `name`; a field that is left out has its default"},
    )
    streaming, stream_mode, think = (
        Completion._declared_fields[name] for name in ("streaming", "stream_mode", "think")
    )


FORM = {
    "actions": [{"id": "ok", "title": "同意"}],
    "content": "{{#$output.reason#}}",
    "expires_at": OrNull(1754489803),
    "form_id": "0198a3b2-7c1e-7d57-9f7c-6a3f6f0c2b11",
    "inputs": [{"default": "", "name": "reason", "options": Empty("是"), "type": "paragraph"}],
    "title": "审批",
}
ANSWER = {
    "answer": "<think>\n嗯，太阳在诞生过程中……\n</think>\n\n太阳在诞生过程中会损失质量。",
    "content": "太阳在诞生过程中会损失质量。",
    "conversation_id": "a29fde42-6714-42a5-bb52-e4e0ee587acd",
    "forms": Empty(FORM),
    "is_new_conversation": False,
    "message_id": "35a58db4-420d-4774-8d76-e7cca21ab40d",
    "status": "done",
    "thinking": "嗯，太阳在诞生过程中……",
}
REFERENCE = {
    "chunk_id": "ae0c9559-49cf-4500-ba0e-02bbd58ec7ef",
    "content": "葫芦庙在姑苏城阊门外十里街的仁清巷内。",
    "doc_id": "1ead7466-dd54-4caf-a0a4-dd1e3174901f",
    "doc_name": "红楼梦.txt",
    "kb_id": "5edb7f74-9f47-4244-951a-807b6e9626b4",
    "score": 0.71,
    "source": "kb",
}
RAG_INFO = {
    "context_length": 836,
    "context_used": True,
    "kb_id": OrNull("5edb7f74-9f47-4244-951a-807b6e9626b4"),
    "kb_ids": ["5edb7f74-9f47-4244-951a-807b6e9626b4"],
    "references": [REFERENCE],
}

RAGFLOW_REFERENCE = {
    "chunks": [
        {
            "content": REFERENCE["content"],
            "dataset_id": REFERENCE["kb_id"],
            "document_id": REFERENCE["doc_id"],
            "document_name": REFERENCE["doc_name"],
            "id": REFERENCE["chunk_id"],
            "positions": Empty([1]),
            "similarity": REFERENCE["score"],
            "source": REFERENCE["source"],
        }
    ],
    "doc_aggs": [{"count": 1, "doc_id": REFERENCE["doc_id"], "doc_name": REFERENCE["doc_name"]}],
}


class StreamTexts(Answer):
    """The `data` of the event `replacement`: the texts that replace all pieces so far."""

    answer = fields.String(required=True)
    thinking = fields.String(metadata={"description": "only with `think` `separate`"})


class StreamPieceData(StreamTexts):
    """The next piece of an answer, or with `stream_mode` `cumulative` the text so far."""

    conversation_id = fields.String(required=True)
    is_new_conversation = fields.Boolean(required=True)
    message_id = fields.String(required=True)
    replacement = fields.Nested(
        StreamTexts,
        metadata={"description": "only if Dify's moderation takes the answer back: the texts that replace the pieces"},
    )


class StreamPiece(Answer):
    """An event of the stream modes `delta` and `cumulative`."""

    code = fields.Integer(required=True)
    data = fields.Nested(StreamPieceData, required=True)
    message = fields.String(required=True)


class StreamEnd(Answer):
    """The last event of the stream modes `delta` and `cumulative`."""

    code = fields.Integer(required=True)
    data = fields.Boolean(required=True, metadata={"const": True})
    message = fields.String(required=True)


IDS = {name: ANSWER[name] for name in ("conversation_id", "is_new_conversation", "message_id")}
SourcesEvent = schema_like("SourcesEvent", {**IDS, "references": Empty(REFERENCE)})
ThinkingEvent = schema_like("ThinkingEvent", {"thinking": "嗯，"})
DeltaEvent = schema_like("DeltaEvent", {"answer": "太阳"})

EVENTS = [StreamPiece, StreamEnd, *map(type, (SourcesEvent, ThinkingEvent, DeltaEvent)), StreamTexts]
"""What the `data` of an event may be in the modes of a stream, beside the complete answer and a failure."""

KB_ANSWER = {**ANSWER, "reference": RAGFLOW_REFERENCE}

CompletionAnswer = answer("CompletionAnswer", ANSWER, message="Chat successful!")
CompletionWithKbAnswer = answer("CompletionWithKbAnswer", KB_ANSWER, message="Chat successful!", rag_info=RAG_INFO)
