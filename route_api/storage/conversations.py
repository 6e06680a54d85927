"""A user's conversations in our database: listed, named, deleted. Their messages are in `storage/messages.py`.

Every query names the user, so that another user's rows are not found. None scans a table, and a page takes the same two
queries however many rows it has; `benchmarks/history.py` shows plans and times.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import BindParameter, Engine, Row, and_, bindparam, delete, exists, func, select, update

from ..errors import ConversationBusy, ConversationNotFound
from .models import IS_LAST, Conversation, Message, utc_now

Json = dict[str, Any]

PREVIEW_LENGTH = 100
"""Characters of the last question in a row of the list."""

OWNED = and_(Conversation.id == bindparam("of_conversation"), Conversation.user_id == bindparam("of_user"))
CONVERSATIONS = (
    select(
        Conversation.id,
        Conversation.user_id,
        Conversation.name,
        Conversation.chat_type,
        Conversation.kb_id,
        Conversation.create_time,
        Message.id.label("last_id"),
        Message.position.label("last_position"),
        func.substr(Message.query, 1, PREVIEW_LENGTH).label("last_query"),
        Message.meta_data["status"].as_string().label("last_status"),
        Message.leased_until.label("last_leased_until"),
        Message.create_time.label("last_time"),
    )
    .select_from(Conversation)
    .outerjoin(Message, IS_LAST)
)
"""Conversations as the list shows them, each with its last turn."""

ONE_CONVERSATION = CONVERSATIONS.where(OWNED)
RENAME = update(Conversation).where(OWNED).values(name=bindparam("new_name"))

IDS: BindParameter[Any] = bindparam("ids", expanding=True)
CHOSEN = (Conversation.id.in_(IDS), Conversation.user_id == bindparam("of_user"))
TO_DELETE = select(Conversation.id).where(*CHOSEN)
ON_DIFY = (
    select(
        Message.meta_data["carrier"].as_string().label("backend"),
        Message.meta_data["dify_conversation_id"].as_string().label("dify_conversation_id"),
    )
    .where(Message.conversation_id.in_(IDS))
    .distinct()
)
IS_RUNNING = exists(Message.id).where(Message.conversation_id.in_(IDS), Message.leased_until > bindparam("now"))
DELETE = delete(Conversation).where(*CHOSEN, ~IS_RUNNING)
"""All or none: whatever begins before this statement keeps them."""


def list_conversations(
    engine: Engine, user_id: str, *, page: int, page_size: int, chat_type: str | None = None
) -> tuple[Sequence[Row[Any]], int]:
    """A page of a user's conversations, newest first.

    :param chat_type: only conversations of this type; None: all
    :returns: the rows, and how many conversations there are in all
    """
    chosen = [Conversation.user_id == user_id]
    if chat_type is not None:
        chosen.append(Conversation.chat_type == chat_type)
    newest_first = (Conversation.create_time.desc(), Conversation.id.desc())
    # The ids of the page first, out of the index alone: rows that are only skipped are never read.
    ids = select(Conversation.id).where(*chosen).order_by(*newest_first).limit(page_size).offset((page - 1) * page_size)
    found = ids.subquery("found")
    rows = CONVERSATIONS.join(found, found.c.id == Conversation.id).order_by(*newest_first)
    total = select(func.count()).select_from(Conversation).where(*chosen)
    with engine.connect() as connection:
        return connection.execute(rows).all(), connection.execute(total).scalar_one()


def read_conversation(engine: Engine, user_id: str, conversation_id: str) -> Row[Any]:
    """One conversation, with the columns of the list.

    :raises ConversationNotFound: the user has no such conversation
    """
    with engine.connect() as connection:
        row = connection.execute(ONE_CONVERSATION, owned(user_id, conversation_id)).first()
    if row is None:
        raise ConversationNotFound(conversation_id)
    return row


def rename_conversation(engine: Engine, user_id: str, conversation_id: str, name: str) -> None:
    """Give a conversation another name.

    :raises ConversationNotFound: the user has no such conversation
    """
    with engine.connect() as connection:
        if not connection.execute(RENAME, {**owned(user_id, conversation_id), "new_name": name}).rowcount:
            raise ConversationNotFound(conversation_id)


class ConversationOnDify(NamedTuple):
    """A conversation on Dify that holds turns of one of ours, which has several where its turns went several ways.

    :param backend: the name of the backend that asked Dify (`chat/backends.py`)
    """

    backend: str | None
    dify_conversation_id: str


def delete_conversations(engine: Engine, user_id: str, conversation_ids: list[str]) -> list[ConversationOnDify]:
    """Delete conversations with their messages: all of them, or none where one cannot be.

    :return: what of them is left on Dify
    :raises ConversationNotFound: the user has no such conversation
    :raises ConversationBusy: a turn of one of them is running
    """
    ids = {UUID(conversation_id).hex: conversation_id for conversation_id in conversation_ids}
    chosen = {"ids": list(ids), "of_user": user_id}
    with engine.connect() as connection:
        for missing in ids.keys() - set(connection.scalars(TO_DELETE, chosen)):
            raise ConversationNotFound(ids[missing])
        on_dify = connection.execute(ON_DIFY, {"ids": list(ids)}).all()
        if not connection.execute(DELETE, {**chosen, "now": utc_now()}).rowcount:
            raise ConversationBusy
    return [ConversationOnDify(row.backend, row.dify_conversation_id) for row in on_dify if row.dify_conversation_id]


def owned(user_id: str, conversation_id: str) -> Json:
    """The parameters of `OWNED`."""
    return {"of_user": user_id, "of_conversation": UUID(conversation_id).hex}
