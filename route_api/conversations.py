"""A user's conversations and their messages, read and changed in our database; turns themselves are in `turns.py`.

Every query names the user, so another user's rows are not found. None of them scans a table, and a page takes the same
one or two queries however many rows it has; `benchmarks/history.py` shows plans and times.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from time import monotonic, sleep
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, Row, Select, and_, bindparam, delete, exists, func, select, update
from sqlalchemy.orm import aliased

from .errors import ConversationBusy, ConversationNotFound, MessageNotFound, TurnNotStoppable
from .models import Conversation, Message, utc_now
from .presenters import http_date
from .prompts import split_thinking

Json = dict[str, Any]

PREVIEW_LENGTH = 100
"""Characters of the last question in a row of the list."""

SHOWN_META_DATA = ("kb_id", "references", "usage", "error")
"""What of a message's `meta_data` its owner sees; the rest is how the gateway carries it to Dify."""

TASK_WAIT_S = 3.0
TASK_POLL_S = 0.2
"""A running turn's row names Dify's task within a second of Dify's first event."""

OWNED = and_(Conversation.id == bindparam("conversation_id"), Conversation.user_id == bindparam("user_id"))

last_position = (
    select(func.max(Message.position)).where(Message.conversation_id == Conversation.id).correlate(Conversation)
).scalar_subquery()
"""Also the number of messages: positions count from 1, and nothing takes a single message away."""

LastMessage = aliased(Message)
CONVERSATIONS = (
    select(
        Conversation.id,
        Conversation.user_id,
        Conversation.name,
        Conversation.chat_type,
        Conversation.kb_id,
        Conversation.create_time,
        LastMessage.id.label("last_id"),
        LastMessage.position.label("last_position"),
        func.substr(LastMessage.query, 1, PREVIEW_LENGTH).label("last_query"),
        LastMessage.meta_data["status"].as_string().label("last_status"),
        LastMessage.claimed_until.label("last_claimed_until"),
        LastMessage.create_time.label("last_time"),
    )
    .select_from(Conversation)
    .outerjoin(
        LastMessage,
        and_(LastMessage.conversation_id == Conversation.id, LastMessage.position == last_position),
    )
)
"""Conversations as the list shows them, each with its last turn."""

ONE_CONVERSATION = CONVERSATIONS.where(OWNED)
LENGTH = select(func.coalesce(last_position, 0)).where(OWNED)
MESSAGE_COLUMNS = (
    Message.id,
    Message.conversation_id,
    Message.position,
    Message.chat_type,
    Message.query,
    Message.response,
    Message.meta_data,
    Message.feedback_score,
    Message.feedback_reason,
    Message.create_time,
    Message.claimed_until,
    Message.dify_message_id,
)
MESSAGES = select(*MESSAGE_COLUMNS).where(
    Message.conversation_id == bindparam("conversation_id"),
    Message.position.between(bindparam("first"), bindparam("last")),
)
IN_ORDER = {"asc": MESSAGES.order_by(Message.position), "desc": MESSAGES.order_by(Message.position.desc())}
ONE_MESSAGE = (
    select(*MESSAGE_COLUMNS)
    .join(Conversation)
    .where(Message.id == bindparam("message_id"), Conversation.user_id == bindparam("user_id"))
)
RENAME = update(Conversation).where(OWNED).values(name=bindparam("new_name"))
RATE = (
    update(Message)
    .where(Message.id == bindparam("message_id"))
    .values(feedback_score=bindparam("score"), feedback_reason=bindparam("reason"))
)

RUNNING = (Message.conversation_id == Conversation.id, Message.claimed_until > bindparam("now"))
TO_DELETE = select(
    Conversation.id, Conversation.carrier, Conversation.dify_conversation_id, exists().where(*RUNNING).label("is_running")
).where(Conversation.id.in_(bindparam("ids", expanding=True)), Conversation.user_id == bindparam("user_id"))
DELETE = delete(Conversation).where(
    Conversation.id.in_(bindparam("ids", expanding=True)),
    Conversation.user_id == bindparam("user_id"),
    ~exists().where(*RUNNING),
)

TASK_COLUMNS = (Message.id, Message.conversation_id, Message.claimed_until, Message.meta_data)
LAST_TASK = (
    select(*TASK_COLUMNS)
    .select_from(Conversation)
    .outerjoin(Message)
    .where(OWNED)
    .order_by(Message.position.desc())
    .limit(1)
)
TASK_OF_MESSAGE = (
    select(*TASK_COLUMNS)
    .join(Conversation)
    .where(Message.id == bindparam("message_id"), Conversation.user_id == bindparam("user_id"))
)


# ------------------------------------------------------------------ conversations


def list_conversations(
    engine: Engine, user_id: str, *, page: int, page_size: int, chat_type: str | None = None
) -> tuple[list[Json], int]:
    """A page of a user's conversations, newest first, and how many there are in all."""
    chosen = [Conversation.user_id == user_id]
    if chat_type is not None:
        chosen.append(Conversation.chat_type == chat_type)
    newest_first = (Conversation.create_time.desc(), Conversation.id.desc())
    ids = select(Conversation.id).where(*chosen).order_by(*newest_first).limit(page_size).offset((page - 1) * page_size)
    found = ids.subquery()
    rows = CONVERSATIONS.join(found, found.c.id == Conversation.id).order_by(*newest_first)
    total = select(func.count()).select_from(Conversation).where(*chosen)
    with engine.connect() as connection:
        conversations = [conversation_row(row) for row in connection.execute(rows)]
        return conversations, connection.execute(total).scalar_one()


def read_conversation(engine: Engine, user_id: str, conversation_id: str) -> Json:
    """One conversation, as the list shows it.

    :raises ConversationNotFound: the user has no such conversation
    """
    row = _first(engine, ONE_CONVERSATION, {"conversation_id": UUID(conversation_id).hex, "user_id": user_id})
    if row is None:
        raise ConversationNotFound(conversation_id)
    return conversation_row(row)


def rename_conversation(engine: Engine, user_id: str, conversation_id: str, name: str) -> None:
    """Give a conversation another name.

    :raises ConversationNotFound: the user has no such conversation
    """
    owned = {"conversation_id": UUID(conversation_id).hex, "user_id": user_id}
    with engine.connect() as connection:
        if not connection.execute(RENAME, {**owned, "new_name": name}).rowcount:
            raise ConversationNotFound(conversation_id)


def delete_conversations(engine: Engine, user_id: str, conversation_ids: list[str]) -> Sequence[Row[Any]]:
    """Delete conversations with their messages: all of them, or none where one cannot be.

    :return: a row each, whose `carrier` and `dify_conversation_id` say what is to be deleted on Dify
    :raises ConversationNotFound: the user has no such conversation
    :raises ConversationBusy: a turn of one of them is running
    """
    ids = [UUID(conversation_id).hex for conversation_id in conversation_ids]
    chosen = {"ids": ids, "user_id": user_id, "now": utc_now()}
    with engine.connect() as connection:
        rows = connection.execute(TO_DELETE, chosen).all()
        known = {row.id for row in rows}
        for conversation_id, wanted in zip(conversation_ids, ids, strict=True):
            if wanted not in known:
                raise ConversationNotFound(conversation_id)
        if any(row.is_running for row in rows):
            raise ConversationBusy
        # A turn that has begun since the look above keeps its conversation.
        if connection.execute(DELETE, chosen).rowcount < len(rows):
            raise ConversationBusy
    return rows


def conversation_row(row: Row[Any]) -> Json:
    """A row of `conversation/list`."""
    kb_ids = row.kb_id.split(",") if row.kb_id else []
    created = seconds(row.create_time)
    last = None
    if row.last_id is not None:
        status, _ = outcome(row.last_status, row.last_claimed_until)
        last = {
            "create_time": seconds(row.last_time),
            "message_id": str(UUID(row.last_id)),
            "query": row.last_query,
            "status": status,
        }
    return {
        "chat_type": row.chat_type,
        "conversation_id": str(UUID(row.id)),
        "create_date": http_date(created),
        "create_time": created,
        "id": str(UUID(row.id)),
        "kb_id": kb_ids[0] if kb_ids else None,
        "kb_ids": kb_ids,
        "last_message": last,
        "message_count": row.last_position or 0,
        "name": row.name,
        "update_time": last["create_time"] if last else created,
        "user_id": row.user_id,
    }


# ------------------------------------------------------------------ messages


def list_messages(
    engine: Engine, user_id: str, conversation_id: str, *, page: int, page_size: int, order: str
) -> tuple[list[Json], int]:
    """A page of a conversation's messages in their true order, and how many there are in all.

    Positions have no gaps, so that a page is a range of them: the last one is found as fast as the first.

    :param order: asc, or desc to begin with the newest
    :raises ConversationNotFound: the user has no such conversation
    """
    owned = {"conversation_id": UUID(conversation_id).hex, "user_id": user_id}
    with engine.connect() as connection:
        total = connection.execute(LENGTH, owned).scalar()
        if total is None:
            raise ConversationNotFound(conversation_id)
        first = (page - 1) * page_size + 1
        last = first + page_size - 1
        if order == "desc":
            first, last = total - last + 1, total - first + 1
        within = {"conversation_id": owned["conversation_id"], "first": first, "last": last}
        return [message_row(row) for row in connection.execute(IN_ORDER[order], within)], total


def read_message(engine: Engine, user_id: str, message_id: str) -> Json:
    """One message.

    :raises MessageNotFound: the user has no such message
    """
    row = _first(engine, ONE_MESSAGE, {"message_id": UUID(message_id).hex, "user_id": user_id})
    if row is None:
        raise MessageNotFound(message_id)
    return message_row(row)


def message_row(row: Row[Any]) -> Json:
    """A row of `conversation/messages`."""
    meta_data = {name: row.meta_data[name] for name in SHOWN_META_DATA if name in row.meta_data}
    status, reason = outcome(row.meta_data.get("status"), row.claimed_until, row.meta_data.get("error"))
    thinking, content = split_thinking(row.response)
    return {
        "chat_type": row.chat_type,
        "content": content,
        "conversation_id": str(UUID(row.conversation_id)),
        "create_time": seconds(row.create_time),
        "feedback_reason": row.feedback_reason,
        "feedback_score": row.feedback_score,
        "id": str(UUID(row.id)),
        "message_id": str(UUID(row.id)),
        "meta_data": meta_data,
        "position": row.position,
        "query": row.query,
        "reason": reason,
        "response": row.response,
        "status": status,
        "thinking": thinking,
    }


def outcome(status: str | None, claimed_until: datetime | None, reason: str | None = None) -> tuple[str, str | None]:
    """How a turn ended, and why if it did not end well. A pending one that nobody claims any more was interrupted: its
    process died."""
    if status == "pending" and not is_claimed(claimed_until):
        return "failed", "interrupted"
    return status or "done", reason


def is_claimed(claimed_until: datetime | None) -> bool:
    """Whether a process is still writing the answer."""
    return claimed_until is not None and claimed_until > utc_now()


def seconds(moment: datetime) -> int:
    """A stored time, which is UTC without saying so, as seconds since 1970."""
    return int(moment.replace(tzinfo=UTC).timestamp())
