"""Turns in our database: claimed and stored before Dify is called, while the answer comes, and completed after.

Statements that commit by themselves (`storage/database.py`), in an order that makes up for it: whichever is the last
one to be carried out before a crash, the question is there, or nobody was told that it was taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, Row, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from ..errors import ConversationBusy, ConversationNotFound
from .database import PairedWrite, transaction
from .models import IS_LAST, Conversation, Message, User, new_id, utc_now

Json = dict[str, Any]

CLAIM_S = 20.0
"""Seconds that a claim lasts unless it is renewed, which the caretaker does (`chat/monitor.py`): how long a
conversation stays closed after its process died."""

NAME_LENGTH = 50
"""Characters of a conversation's name; the column holds no more."""

LAST_TURN = (
    select(
        Conversation.kb_id,
        Conversation.carrier,
        Conversation.dify_conversation_id,
        Conversation.dify_since,
        Message.id.label("message_id"),
        Message.position,
        Message.claimed_until,
        Message.meta_data,
        Message.dify_message_id,
    )
    .select_from(Conversation)
    .outerjoin(Message, IS_LAST)
    .where(Conversation.id == bindparam("of_conversation"), Conversation.user_id == bindparam("of_user"))
)
SUCCESSFUL = ("done", "stopped")
"""The statuses of turns that a model may be reminded of."""

FAILED_TURNS = 50
"""Rows that are read beyond those wanted, for the failed turns among them. A condition on `meta_data` would make
PostgreSQL read and sort the whole conversation."""

PAST_TURNS = (
    select(Message.position, Message.query, Message.response, Message.meta_data, Message.dify_message_id)
    .where(Message.conversation_id == bindparam("of_conversation"), Message.position < bindparam("before"))
    .order_by(Message.position.desc())
    .limit(bindparam("most"))
)
START_CONVERSATION = insert(Conversation).values(
    {name: bindparam(f"c_{name}") for name in ("id", "user_id", "name", "chat_type", "create_time", "kb_id")}
)
MESSAGE_COLUMNS = (
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
ADD_MESSAGE = insert(Message).values({name: bindparam(f"m_{name}") for name in MESSAGE_COLUMNS})
STORE_PROGRESS = (
    update(Message)
    # A completed message has no claim: progress that comes late must not overwrite it.
    .where(Message.id == bindparam("of_message"), Message.claimed_until.is_not(None)).values(
        {name: bindparam(f"m_{name}") for name in ("response", "meta_data", "claimed_until")}
    )
)
MARK_INTERRUPTED = (
    update(Message)
    # Still the same expired claim: its process may have been slow, not dead, and have completed the turn meanwhile.
    .where(Message.id == bindparam("of_message"), Message.claimed_until == bindparam("expired")).values(
        meta_data=bindparam("m_meta_data"), claimed_until=None
    )
)
COMPLETE_MESSAGE = (
    update(Message)
    .where(Message.id == bindparam("of_message"))
    .values({name: bindparam(f"m_{name}") for name in ("response", "meta_data", "claimed_until", "dify_message_id")})
)
MOVE_CONVERSATION = (
    update(Conversation)
    .where(Conversation.id == bindparam("of_conversation"))
    .values({name: bindparam(f"c_{name}") for name in ("carrier", "dify_conversation_id", "dify_since")})
)
START = PairedWrite(START_CONVERSATION, ADD_MESSAGE)
COMPLETION_OF_A_MOVE = PairedWrite(MOVE_CONVERSATION, COMPLETE_MESSAGE)
"""The conversation first: completing the message lets the next turn in, which must find Dify's id."""


@dataclass(frozen=True, slots=True)
class DifyThread:
    """Where on Dify a conversation goes on.

    :param carrier: how its turns are carried (`chat/backends.py`)
    :param since: position of the first turn that Dify's conversation holds; what was before, Dify does not know
    """

    carrier: str
    dify_conversation_id: str
    since: int


@dataclass(slots=True)
class Turn:
    """A turn that this process has claimed.

    :param position: counted from 1
    :param thread: where the conversation was going on when the turn began
    :param last_dify_message_id: Dify's id of the turn before, if that turn succeeded
    :param meta_data: what the message remembers besides its texts; `status` is pending until it is complete
    """

    user_id: str
    conversation_id: str
    message_id: str
    position: int
    thread: DifyThread | None
    last_dify_message_id: str | None
    meta_data: Json

    @property
    def is_first(self) -> bool:
        return self.position == 1

    def progress(self, text: str) -> Json:
        """The parameters of `STORE_PROGRESS`: what came so far, and a fresh claim."""
        return {
            "of_message": self.message_id,
            "m_response": text,
            "m_meta_data": dict(self.meta_data),
            "m_claimed_until": utc_now() + timedelta(seconds=CLAIM_S),
        }


def begin_turn(
    engine: Engine,
    *,
    user_id: str,
    conversation_id: str | None,
    kb_id: str | None,
    query: str,
    chat_type: str,
    name: str | None,
    meta_data: Json,
) -> Turn:
    """Store the question and claim the conversation. A kb other than the conversation's starts a new one.

    :param conversation_id: 32 hex digits; None starts a conversation
    :param kb_id: the id of the kb, several joined with commas, or None
    :raises ConversationNotFound: the user has no such conversation
    :raises ConversationBusy: another turn of it is running
    """
    now = utc_now()
    message: Json = {
        "m_id": new_id(),
        "m_chat_type": chat_type,
        "m_query": query,
        "m_response": "",
        "m_meta_data": {"status": "pending", **meta_data},
        "m_create_time": now,
        "m_claimed_until": now + timedelta(seconds=CLAIM_S),
    }
    if conversation_id is not None:
        turn = _continue(engine, user_id, conversation_id, kb_id, message, now)
        if turn is not None:
            return turn
    conversation: Json = {
        "c_id": new_id(),
        "c_user_id": user_id,
        "c_name": (name or " ".join(query.split()))[:NAME_LENGTH],
        "c_chat_type": chat_type,
        "c_create_time": now,
        "c_kb_id": kb_id,
    }
    message |= {"m_conversation_id": conversation["c_id"], "m_position": 1}
    try:
        START.execute(engine, conversation, message)
    except IntegrityError:
        # The user's first turn ever: looking first would cost every other turn a query.
        _remember_user(engine, user_id)
        START.execute(engine, conversation, message)
    return Turn(user_id, conversation["c_id"], message["m_id"], 1, None, None, message["m_meta_data"])


def _continue(
    engine: Engine, user_id: str, conversation_id: str, kb_id: str | None, message: Json, now: datetime
) -> Turn | None:
    """Add the message to the conversation; None if the conversation is about another kb."""
    try:
        with engine.connect() as connection:
            last = connection.execute(LAST_TURN, {"of_conversation": conversation_id, "of_user": user_id}).first()
            if last is None:
                raise ConversationNotFound(conversation_id)
            if kb_id is not None and kb_id != last.kb_id:
                return None
            if last.claimed_until is not None:
                if last.claimed_until > now:
                    raise ConversationBusy
                connection.execute(MARK_INTERRUPTED, _interrupted(last))
            message |= {"m_conversation_id": conversation_id, "m_position": (last.position or 0) + 1}
            connection.execute(ADD_MESSAGE, message)
    except IntegrityError as error:
        raise ConversationBusy from error
    thread = None
    if last.dify_conversation_id:
        thread = DifyThread(last.carrier or "app", last.dify_conversation_id, last.dify_since or 1)
    succeeded = (last.meta_data or {}).get("status") in SUCCESSFUL
    return Turn(
        user_id,
        conversation_id,
        message["m_id"],
        message["m_position"],
        thread,
        last.dify_message_id if succeeded else None,
        message["m_meta_data"],
    )


def _interrupted(last: Row[Any]) -> Json:
    """The parameters of `MARK_INTERRUPTED` for a turn whose process died: what it stored stays, its status is true."""
    meta_data = {**(last.meta_data or {}), "status": "failed", "reason": "interrupted"}
    return {"of_message": last.message_id, "expired": last.claimed_until, "m_meta_data": meta_data}


def _remember_user(engine: Engine, user_id: str) -> None:
    try:
        with engine.connect() as connection:
            connection.execute(insert(User).values(id=user_id))
    except IntegrityError:
        # Another request of this user was faster; the row is there, which is all we want.
        return


def past_turns(engine: Engine, turn: Turn, *, before: int, most: int) -> list[Row[Any]]:
    """The turns before this position that a model may be reminded of, `most` at the most, the latest first."""
    with engine.connect() as connection:
        parameters = {"of_conversation": turn.conversation_id, "before": before, "most": most + FAILED_TURNS}
        rows = connection.execute(PAST_TURNS, parameters).all()
    return [row for row in rows if row.meta_data["status"] in SUCCESSFUL][:most]


def store_progress(engine: Engine, rows: Sequence[Json]) -> None:
    """Store what has come of several running answers, in one transaction: each by itself would be one flush to disk.

    :param rows: `Turn.progress` of each
    """
    with transaction(engine) as connection:
        connection.execute(STORE_PROGRESS, rows)


def complete_turn(
    engine: Engine,
    turn: Turn,
    response: str,
    status: str,
    *,
    thread: DifyThread | None,
    dify_message_id: str | None = None,
) -> None:
    """Store what was answered and let go of the conversation.

    :param status: done, stopped or failed
    :param thread: where on Dify the conversation goes on; None lets the next turn begin a new one there
    """
    turn.meta_data["status"] = status
    completed = {
        "of_message": turn.message_id,
        "m_response": response,
        "m_meta_data": turn.meta_data,
        "m_claimed_until": None,
        "m_dify_message_id": dify_message_id,
    }
    if thread == turn.thread:
        with engine.connect() as connection:
            connection.execute(COMPLETE_MESSAGE, completed)
        return
    moved = {
        "of_conversation": turn.conversation_id,
        "c_carrier": thread and thread.carrier,
        "c_dify_conversation_id": thread and thread.dify_conversation_id,
        "c_dify_since": thread and thread.since,
    }
    COMPLETION_OF_A_MOVE.execute(engine, moved, completed)
