"""A turn of a conversation: parameters and answers. Source: the API document, "调用模型进行对话", and document 000."""

import re
from typing import Any

from .answers import OrNull, answer
from .base import (
    Choice,
    Flag,
    Given,
    Ids,
    Number,
    OptionalId,
    Parameters,
    Question,
    Text,
    UserIdText,
    Whole,
    as_list,
    ascii_digits,
)
from .unused import report, shown

MAX_NAMED = 5
"""How many keys of the entries of a history a warning names."""

MESSAGE_LENGTH = 100_000
"""Maximum length of a question, in characters."""

USER_ID_LENGTH = 32
"""Maximum length in characters: the length of the column in document 000."""

CONVERSATION_NAME_LENGTH = 50
MAX_HISTORY = 1000
"""Number of past turns that a request may ask for. The limit on their characters is usually reached before."""

MAX_HISTORY_ENTRIES = 2 * MAX_HISTORY
"""Number of entries of a history that is given as a list: a question and an answer for each turn."""

MAX_KBS = 10
HISTORY_ROLES = ("user", "assistant", "system")
HISTORY_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": MAX_HISTORY},
        {
            "type": "array",
            "maxItems": MAX_HISTORY_ENTRIES,
            "items": {
                "type": "object",
                "properties": {"role": {"enum": list(HISTORY_ROLES)}, "content": {"type": "string"}},
                "required": ["role", "content"],
            },
        },
        {"type": "null"},
    ]
}


class History(Given):
    """The history that the model gets: a number of past turns, or a list of `{"role", "content"}`."""

    takes_lists = True

    default_error_messages = {
        "invalid": f"must be a whole number from 0 to {MAX_HISTORY}, or a list of objects with role and content.",
        "entry": "[{index}] must be an object with a role (user, assistant or system) and a content, both strings.",
        "nul": "[{index}] must not hold a NUL character.",
        "too_long": f"must hold {MESSAGE_LENGTH:,} characters at the most.",
        "too_many": f"must have {MAX_HISTORY_ENTRIES} entries at the most.",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(metadata={**HISTORY_SCHEMA, **kwargs.pop("metadata", {})}, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int | list[dict[str, str]]:
        value = as_list(value)
        if isinstance(value, str) and re.fullmatch(r"\d{1,9}(\.0*)?", ascii_digits(value), re.ASCII):
            value = float(ascii_digits(value))
        if isinstance(value, float) and value.is_integer():  # JSON does not tell 5.0 from 5.
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_HISTORY:
            return value
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
                raise self.make_error("entry", index=index)
            if "\0" in content:
                raise self.make_error("nul", index=index)
            checked.append({"role": role, "content": content})
        if unused := sorted({shown(name) for entry in entries for name in entry} - {"role", "content"}):
            names = ", ".join(unused[:MAX_NAMED])
            report([f"history: the entries have more than role and content, which was not used: {names}."])
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
        ["delta", "cumulative"],
        load_default="delta",
        metadata={"description": "`cumulative`: each event has the whole text so far, as RAGFlow's UI expects"},
    )
    think = Choice(
        ["keep", "drop", "separate"],
        load_default="keep",
        metadata={
            "description": "where all reasoning goes: into `answer`, nowhere, or into `thinking` alone. A stream cannot"
            " take back reasoning that began without `<think>`: it stays in `answer`"
        },
    )
    history = History(
        load_default=None,
        metadata={
            "description": "instead of Dify's memory: the last n turns, 0 for none; or a list of {role, content}"
        },
    )
    history_len = Whole(
        minimum=-1,
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


ANSWER = {
    "answer": "<think>\n嗯，太阳在诞生过程中……\n</think>\n\n太阳在诞生过程中会损失质量。",
    "content": "太阳在诞生过程中会损失质量。",
    "conversation_id": "a29fde42-6714-42a5-bb52-e4e0ee587acd",
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
            "positions": [],
            "similarity": REFERENCE["score"],
        }
    ],
    "doc_aggs": [{"count": 1, "doc_id": REFERENCE["doc_id"], "doc_name": REFERENCE["doc_name"]}],
}
KB_ANSWER = {**ANSWER, "reference": RAGFLOW_REFERENCE}

CompletionAnswer = answer("CompletionAnswer", ANSWER, message="Chat successful!")
CompletionWithKbAnswer = answer("CompletionWithKbAnswer", KB_ANSWER, message="Chat successful!", rag_info=RAG_INFO)
