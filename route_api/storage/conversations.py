"""Lists, reads, renames and deletes the conversations of a user. `messages.py` does the same for single messages.

Every query has the user's id as a condition, so that a user cannot reach the conversations of another user. No query
scans a table. A page takes two queries, whatever its size; `benchmarks/history.py` shows query plans and times.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import BindParameter, Engine, Row, and_, bindparam, delete, exists, func, select, update

from ..errors import ConversationBusy, ConversationNotFound
from .leases import has_lease, lease_parameters
from .models import IS_LAST, Conversation, Message

Json = dict[str, Any]

PREVIEW_LENGTH = 100
"""The maximum length of the last question in a row of the list, in characters."""

HAS_ID_AND_USER = and_(Conversation.id == bindparam("of_conversation"), Conversation.user_id == bindparam("of_user"))
SELECT_CONVERSATIONS = (
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
"""Conversations with the columns of the list. Each has its last turn."""

SELECT_CONVERSATION = SELECT_CONVERSATIONS.where(HAS_ID_AND_USER)
UPDATE_NAME = update(Conversation).where(HAS_ID_AND_USER).values(name=bindparam("new_name"))

IDS: BindParameter[Any] = bindparam("ids", expanding=True)
HAVE_IDS_AND_USER = (Conversation.id.in_(IDS), Conversation.user_id == bindparam("of_user"))
SELECT_EXISTING_IDS = select(Conversation.id).where(*HAVE_IDS_AND_USER)
SELECT_DIFY_CONVERSATIONS = (
    select(
        Message.meta_data["carrier"].as_string().label("backend"),
        Message.meta_data["dify_conversation_id"].as_string().label("dify_conversation_id"),
    )
    .where(Message.conversation_id.in_(IDS))
    .distinct()
)
HAS_RUNNING_TURN = exists(Message.id).where(Message.conversation_id.in_(IDS), has_lease(Message.leased_until))
DELETE_CONVERSATIONS = delete(Conversation).where(*HAVE_IDS_AND_USER, ~HAS_RUNNING_TURN)
"""Deletes all of the conversations, or none of them if a turn of one is running."""


def list_conversations(
    engine: Engine, user_id: str, *, page: int, page_size: int, chat_type: str | None = None
) -> tuple[Sequence[Row[Any]], int]:
    """Read a page of a user's conversations, newest first.

    :param chat_type: only conversations of this type; None: all types
    :returns: the rows, and the number of all such conversations
    """
    chosen = [Conversation.user_id == user_id]
    if chat_type is not None:
        chosen.append(Conversation.chat_type == chat_type)
    newest_first = (Conversation.create_time.desc(), Conversation.id.desc())
    # The subquery selects the page's ids from the index alone. So the rows of earlier pages are not read.
    ids = select(Conversation.id).where(*chosen).order_by(*newest_first).limit(page_size).offset((page - 1) * page_size)
    found = ids.subquery("found")
    rows = SELECT_CONVERSATIONS.join(found, found.c.id == Conversation.id).order_by(*newest_first)
    total = select(func.count()).select_from(Conversation).where(*chosen)
    with engine.connect() as connection:
        return connection.execute(rows).all(), connection.execute(total).scalar_one()


def read_conversation(engine: Engine, user_id: str, conversation_id: str) -> Row[Any]:
    """Read one conversation, with the columns of the list.

    :raises ConversationNotFound: the user has no such conversation
    """
    with engine.connect() as connection:
        row = connection.execute(SELECT_CONVERSATION, id_and_user(user_id, conversation_id)).first()
    if row is None:
        raise ConversationNotFound(conversation_id)
    return row


def rename_conversation(engine: Engine, user_id: str, conversation_id: str, name: str) -> None:
    """Give a conversation another name.

    :raises ConversationNotFound: the user has no such conversation
    """
    with engine.connect() as connection:
        if not connection.execute(UPDATE_NAME, {**id_and_user(user_id, conversation_id), "new_name": name}).rowcount:
            raise ConversationNotFound(conversation_id)


class DifyConversationReference(NamedTuple):
    """A conversation on Dify with turns of one of our conversations, which has several if several backends were used.

    :param backend: the name of the backend that created it (`chat/backends.py`); None if none is stored
    """

    backend: str | None
    dify_conversation_id: str


def delete_conversations(engine: Engine, user_id: str, conversation_ids: list[str]) -> list[DifyConversationReference]:
    """Delete conversations with their messages: all of them, or none if one cannot be deleted.

    :returns: their conversations on Dify, which still exist
    :raises ConversationNotFound: one of them is not a conversation of the user
    :raises ConversationBusy: a turn of one of them is running
    """
    ids = {UUID(conversation_id).hex: conversation_id for conversation_id in conversation_ids}
    chosen = {"ids": list(ids), "of_user": user_id}
    with engine.connect() as connection:
        for missing in ids.keys() - set(connection.scalars(SELECT_EXISTING_IDS, chosen)):
            raise ConversationNotFound(ids[missing])
        on_dify = connection.execute(SELECT_DIFY_CONVERSATIONS, {"ids": list(ids)}).all()
        if not connection.execute(DELETE_CONVERSATIONS, {**chosen, **lease_parameters()}).rowcount:
            raise ConversationBusy
    return [
        DifyConversationReference(row.backend, row.dify_conversation_id) for row in on_dify if row.dify_conversation_id
    ]


def id_and_user(user_id: str, conversation_id: str) -> Json:
    """The parameters of `HAS_ID_AND_USER`."""
    return {"of_user": user_id, "of_conversation": UUID(conversation_id).hex}
