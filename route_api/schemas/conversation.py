"""Conversations: parameters and answers. Source: the API document, "调用模型进行对话", and document 000."""

from typing import Any

from marshmallow import ValidationError, pre_load

from .answers import answer
from .base import Flag, OptionalId, Parameters, Text

MESSAGE_LENGTH = 100_000
"""Characters of a question."""

USER_ID_LENGTH = 32
"""Characters; the column of document 000 holds no more."""

CONVERSATION_NAME_LENGTH = 50

NOT_YET = ("history", "history_len", "model_name", "temperature", "max_tokens", "prompt_name", "kb_ids")
"""Parameters of document 000 that nothing honours yet: refused when they ask for something, never ignored."""


class Completion(Parameters):
    """Parameters of `conversation/completion`."""

    user_id = Text(longest=USER_ID_LENGTH, trim=True, required=True)
    message = Text(
        longest=MESSAGE_LENGTH, required=True, metadata={"description": "the question; `query` means the same"}
    )
    conversation_id = OptionalId(metadata={"description": "empty in the first turn"})
    conversation_name = Text(longest=CONVERSATION_NAME_LENGTH, metadata={"description": "name of a new conversation"})
    streaming = Flag(load_default=False, metadata={"description": "`stream` means the same"})

    @pre_load
    def _both_spellings(self, data: Any, **_: Any) -> Any:
        """The two documents name two parameters differently."""
        for name, other in (("message", "query"), ("streaming", "stream")):
            if other in data and name not in data:
                data = {**data, name: data[other]}
        return data

    @pre_load
    def _nothing_ignored(self, data: Any, **_: Any) -> Any:
        problems = {
            name: ["is not supported yet; leave it out."] for name in NOT_YET if data.get(name) not in (None, "", [])
        }
        if problems:
            raise ValidationError(problems)
        return data


class CompletionWithKb(Completion):
    """Parameters of `conversation/completion_db`."""

    kb_id = OptionalId(metadata={"description": "the knowledge base to answer from; another one starts a conversation"})


ANSWER = {
    "answer": "<think>\n嗯，太阳在诞生过程中……\n</think>\n\n太阳在诞生过程中会损失质量。",
    "content": "太阳在诞生过程中会损失质量。",
    "conversation_id": "a29fde42-6714-42a5-bb52-e4e0ee587acd",
    "is_new_conversation": False,
    "message_id": "35a58db4-420d-4774-8d76-e7cca21ab40d",
    "thinking": "嗯，太阳在诞生过程中……",
}
RAG_INFO = {
    "context_length": 836,
    "context_used": True,
    "kb_id": "5edb7f74-9f47-4244-951a-807b6e9626b4",
    "references": [
        {
            "chunk_id": "ae0c9559-49cf-4500-ba0e-02bbd58ec7ef",
            "content": "葫芦庙在姑苏城阊门外十里街的仁清巷内。",
            "doc_id": "1ead7466-dd54-4caf-a0a4-dd1e3174901f",
            "doc_name": "红楼梦.txt",
            "score": 0.71,
        }
    ],
}

CompletionAnswer = answer("CompletionAnswer", ANSWER, message="Chat successful!")
CompletionWithKbAnswer = answer("CompletionWithKbAnswer", ANSWER, message="Chat successful!", rag_info=RAG_INFO)
