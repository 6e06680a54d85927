"""Conversations, their messages and feedback: parameters and answers. Source of the columns: document 000."""

from typing import Any

from marshmallow import ValidationError, validates_schema

from ..languages import Sentence
from .answers import AnyKeys, Empty, OrNull, answer
from .base import Parameters
from .completion import CONVERSATION_NAME_LENGTH, FORM, RAG_INFO, USER_ID_LENGTH
from .fields import ID_SCHEMA, Choice, Id, Ids, OptionalId, PageSize, Text, UserIdText, Whole, page_number

MAX_MESSAGES = 100
"""Number of messages on one page. An answer can have many thousand characters."""

MAX_CONVERSATION_IDS = 100
"""Number of conversations that one request may delete. Each takes a call to Dify."""


class UserParameters(Parameters):
    """The user for whom a request is made. Conversations and messages of other users are not found."""

    user_id = UserIdText(max_length=USER_ID_LENGTH)


class ConversationId(UserParameters):
    """Parameters of `conversation/get`."""

    conversation_id = Id(required=True)


class MessageId(UserParameters):
    """Parameters of `message/get` and `message/suggested`."""

    message_id = Id(required=True)


class ConversationPage(UserParameters):
    """Parameters of `conversation/list`."""

    page = page_number()
    page_size = PageSize()
    chat_type = Text(max_length=50, load_default=None, metadata={"description": "`chat` or `kb_chat`; left out: all"})


class MessagePage(ConversationId):
    """Parameters of `conversation/messages`."""

    page = page_number()
    page_size = PageSize(maximum=MAX_MESSAGES)
    order = Choice(["asc", "desc"], load_default="asc", metadata={"description": "`desc`: the newest first"})


class ConversationName(ConversationId):
    """Parameters of `conversation/rename`."""

    name = Text(max_length=CONVERSATION_NAME_LENGTH, trim=True, required=True, metadata={"example": "葫芦庙"})


class ConversationIds(UserParameters):
    """Parameters of `conversation/rm`."""

    other_names = {"conversation_ids": "conversation_id"}

    conversation_id = Ids(
        max_items=MAX_CONVERSATION_IDS,
        required=True,
        metadata={"description": "one id, or a list of them; or `conversation_ids`"},
    )


class Stop(UserParameters):
    """Parameters of `conversation/stop`."""

    conversation_id = OptionalId(metadata={**ID_SCHEMA, "description": "stops its running answer"})
    message_id = OptionalId(metadata={"description": "stops this one; the conversation does not matter then"})

    @validates_schema
    def _one_of_both(self, data: Any, **_: Any) -> None:
        if not (data["conversation_id"] or data["message_id"]):
            raise ValidationError(Sentence("conversation_id or message_id is required."))


class Feedback(MessageId):
    """Parameters of `message/feedback`."""

    score = Whole(
        minimum=0,
        maximum=100,
        required=True,
        allow_none=True,
        metadata={"description": "null withdraws it, in a form the text `null`", "example": 90},
    )
    reason = Text(max_length=255, blank=True, load_default=None, metadata={"example": "很好"})


CONVERSATION = {
    "chat_type": "kb_chat",
    "conversation_id": "a29fde42-6714-42a5-bb52-e4e0ee587acd",
    "create_date": "Mon, 04 Aug 2025 08:56:43 GMT",
    "create_time": 1754297803,
    "id": "a29fde42-6714-42a5-bb52-e4e0ee587acd",
    "kb_id": OrNull("5edb7f74-9f47-4244-951a-807b6e9626b4"),
    "kb_ids": ["5edb7f74-9f47-4244-951a-807b6e9626b4"],
    "last_message": OrNull(
        {
            "create_time": 1754297950,
            "message_id": "35a58db4-420d-4774-8d76-e7cca21ab40d",
            "query": "葫芦庙在哪里？",
            "status": "done",
        }
    ),
    "message_count": 2,
    "name": "英莲在元宵节走失",
    "update_time": 1754297950,
    "user_id": "test_kg_16:54",
}
MESSAGE = {
    "chat_type": "kb_chat",
    "content": "葫芦庙在姑苏城阊门外十里街的仁清巷内。",
    "conversation_id": "a29fde42-6714-42a5-bb52-e4e0ee587acd",
    "create_time": 1754297950,
    "feedback_reason": OrNull("很好", is_shown=False),
    "feedback_score": OrNull(90, is_shown=False),
    "id": "35a58db4-420d-4774-8d76-e7cca21ab40d",
    "message_id": "35a58db4-420d-4774-8d76-e7cca21ab40d",
    "meta_data": {
        "forms": Empty(FORM),
        "inputs": {},
        "kb_ids": ["5edb7f74-9f47-4244-951a-807b6e9626b4"],
        "max_tokens": OrNull(1000, is_shown=False),
        "model_name": OrNull("qwen3:4b", is_shown=False),
        "prompt_name": OrNull("strict", is_shown=False),
        "references": RAG_INFO["references"],
        "temperature": OrNull(0.7, is_shown=False),
        "usage": OrNull(AnyKeys(total_tokens=500), is_shown=False),
    },
    "position": 2,
    "query": "葫芦庙在哪里？",
    "reason": OrNull("stop_requested", is_shown=False),
    "response": "<think>\n找仁清巷……\n</think>\n\n葫芦庙在姑苏城阊门外十里街的仁清巷内。",
    "status": "done",
    "thinking": "找仁清巷……",
}
STOPPED = {"message_id": OrNull("35a58db4-420d-4774-8d76-e7cca21ab40d"), "stopped": True}
FEEDBACK = {
    "message_id": "35a58db4-420d-4774-8d76-e7cca21ab40d",
    "passed_on": True,
    "reason": OrNull("很好"),
    "score": OrNull(90),
}

ConversationListAnswer = answer("ConversationListAnswer", {"conversations": [CONVERSATION], "total": 2})
ConversationAnswer = answer("ConversationAnswer", CONVERSATION)
ConversationRemoveAnswer = answer("ConversationRemoveAnswer", {"deleted": [CONVERSATION["id"]]})
MessageListAnswer = answer("MessageListAnswer", {"messages": [MESSAGE], "total": 2})
MessageAnswer = answer("MessageAnswer", MESSAGE)
StopAnswer = answer("StopAnswer", STOPPED)
FeedbackAnswer = answer("FeedbackAnswer", FEEDBACK)
SuggestedAnswer = answer("SuggestedAnswer", ["葫芦庙在哪里？", "仁清巷里住着谁？"])
