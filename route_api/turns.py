"""Turns in our database: claimed and stored before Dify is called, completed after.

Statements that commit by themselves (`database.py`), in an order that makes up for it: whichever is the last one to be
carried out before a crash, the question is there, or nobody was told that it was taken.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from .database import PairedWrite
from .errors import ConversationBusy, ConversationNotFound
from .models import Conversation, Message, User, new_id, utc_now

Json = dict[str, Any]

NAME_LENGTH = 50
"""Characters of a conversation's name; the column holds no more."""

LAST_TURN = (
    select(
        Conversation.kb_id,
        Conversation.dify_conversation_id,
        Message.position,
        Message.claimed_until,
    )
    .select_from(Conversation)
    .outerjoin(Message)
    .where(Conversation.id == bindparam("conversation_id"), Conversation.user_id == bindparam("user_id"))
    .order_by(Message.position.desc())
    .limit(1)
)
START_CONVERSATION = insert(Conversation).values(
    {name: bindparam(f"c_{name}") for name in ("id", "user_id", "name", "chat_type", "create_time", "kb_id")}
)
ADD_MESSAGE = insert(Message).values(
    {
        name: bindparam(f"m_{name}")
        for name in (
            "id",
            "conversation_id",
            "position",
            "chat_type",
            "query",
            "response",
            "meta_data",
            "create_time",
            "claimed_until",
        )
    }
)
COMPLETE_MESSAGE = (
    update(Message)
    .where(Message.id == bindparam("of_message"))
    .values({name: bindparam(f"m_{name}") for name in ("response", "meta_data", "claimed_until", "dify_message_id")})
)
NAME_DIFY_CONVERSATION = (
    update(Conversation)
    .where(Conversation.id == bindparam("of_conversation"))
    .values(dify_conversation_id=bindparam("c_dify_conversation_id"))
)
RENEW_CLAIM = update(Message).where(Message.id == bindparam("of_message")).values(claimed_until=bindparam("m_until"))
START = PairedWrite(START_CONVERSATION, ADD_MESSAGE)
FIRST_COMPLETION = PairedWrite(NAME_DIFY_CONVERSATION, COMPLETE_MESSAGE)
"""The conversation first: completing the message lets the next turn in, which must find Dify's id."""


@dataclass(slots=True)
class Turn:
    """A turn that this process has claimed.

    :param dify_conversation_id: None until Dify has named its conversation
    :param meta_data: what the message remembers besides its texts; `status` is added as the turn goes on
    """

    user_id: str
    conversation_id: str
    message_id: str
    is_new_conversation: bool
    dify_conversation_id: str | None
    meta_data: Json = field(default_factory=dict)


def begin_turn(
    engine: Engine,
    *,
    user_id: str,
    conversation_id: str | None,
    kb_id: str | None,
    query: str,
    chat_type: str,
    name: str | None,
    claim_s: float,
) -> Turn:
    """Store the question and claim the conversation. A kb other than the conversation's starts a new one.

    :param conversation_id: 32 hex digits; None starts a conversation
    :param claim_s: seconds after which the claim ends by itself, should this process die
    :raises ConversationNotFound: the user has no such conversation
    :raises ConversationBusy: another turn of it is running
    """
    now = utc_now()
    message: Json = {
        "m_id": new_id(),
        "m_chat_type": chat_type,
        "m_query": query,
        "m_response": "",
        "m_meta_data": {"status": "pending", "kb_id": kb_id},
        "m_create_time": now,
        "m_claimed_until": now + timedelta(seconds=claim_s),
    }
    if conversation_id is not None:
        turn = _continue(engine, user_id, conversation_id, kb_id, message, now)
        if turn is not None:
            return turn
    conversation = {
        "c_id": new_id(),
        "c_user_id": user_id,
        "c_name": (name or " ".join(query.split()))[:NAME_LENGTH],
        "c_chat_type": chat_type,
        "c_create_time": now,
        "c_kb_id": kb_id,
    }
    message |= {"m_conversation_id": conversation["c_id"], "m_position": 1}
    try:
        _start(engine, conversation, message)
    except IntegrityError:
        # The user's first turn ever: looking first would cost every other turn a query.
        _remember_user(engine, user_id)
        _start(engine, conversation, message)
    return Turn(user_id, message["m_conversation_id"], message["m_id"], True, None, message["m_meta_data"])


def _continue(
    engine: Engine, user_id: str, conversation_id: str, kb_id: str | None, message: Json, now: datetime
) -> Turn | None:
    """Add the message to the conversation; None if the conversation is about another kb."""
    try:
        with engine.connect() as connection:
            last = connection.execute(LAST_TURN, {"conversation_id": conversation_id, "user_id": user_id}).first()
            if last is None:
                raise ConversationNotFound(conversation_id)
            if kb_id is not None and kb_id != last.kb_id:
                return None
            if last.claimed_until is not None and last.claimed_until > now:
                raise ConversationBusy
            message |= {"m_conversation_id": conversation_id, "m_position": (last.position or 0) + 1}
            connection.execute(ADD_MESSAGE, message)
    except IntegrityError as error:
        raise ConversationBusy from error
    return Turn(user_id, conversation_id, message["m_id"], False, last.dify_conversation_id, message["m_meta_data"])


def _start(engine: Engine, conversation: Json, message: Json) -> None:
    with engine.connect() as connection:
        START.execute(connection, conversation, message)


def _remember_user(engine: Engine, user_id: str) -> None:
    try:
        with engine.connect() as connection:
            connection.execute(insert(User).values(id=user_id))
    except IntegrityError:
        # Another request of this user was faster; the row is there, which is all we want.
        return


def renew_claim(engine: Engine, turn: Turn, claim_s: float) -> None:
    """Keep the conversation claimed for another `claim_s` seconds: the model is still writing."""
    with engine.connect() as connection:
        until = utc_now() + timedelta(seconds=claim_s)
        connection.execute(RENEW_CLAIM, {"of_message": turn.message_id, "m_until": until})


def complete_turn(engine: Engine, turn: Turn, response: str, status: str, dify: Json | None = None) -> None:
    """Store what was answered and let go of the conversation.

    :param status: done, stopped or failed
    :param dify: Dify's event or answer that names its `conversation_id` and `message_id`
    """
    dify = dify or {}
    completed = {
        "of_message": turn.message_id,
        "m_response": response,
        "m_meta_data": {**turn.meta_data, "status": status},
        "m_claimed_until": None,
        "m_dify_message_id": dify.get("message_id"),
    }
    dify_id = dify.get("conversation_id")
    with engine.connect() as connection:
        if dify_id and dify_id != turn.dify_conversation_id:
            named = {"of_conversation": turn.conversation_id, "c_dify_conversation_id": dify_id}
            FIRST_COMPLETION.execute(connection, named, completed)
        else:
            connection.execute(COMPLETE_MESSAGE, completed)
