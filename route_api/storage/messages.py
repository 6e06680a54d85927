"""The messages of a user's conversations: listed, read, rated, and found on Dify while they are being written.

Every query names the user, so that a message of another user is not found.
"""

from collections.abc import Sequence
from time import monotonic, sleep
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Engine, Row, bindparam, select, update

from ..errors import ConversationNotFound, MessageNotFound, TurnNotStoppable
from .models import IS_LAST, LAST_POSITION, Conversation, Message, dashed
from .turns import is_leased

TASK_WAIT_S = 3.0
TASK_POLL_S = 0.2
"""A running turn's row names Dify's task within a second of Dify's first event."""

SHOWN = select(
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
    Message.leased_until.label("leased_until"),
)
OF_USER = Conversation.user_id == bindparam("of_user")
PAGE = SHOWN.where(
    Message.conversation_id == bindparam("of_conversation"),
    Message.position.between(bindparam("first"), bindparam("last")),
).limit(bindparam("maximum"))
"""The limit adds nothing to the range, but lets PostgreSQL know that it is short."""
PAGES = {"asc": PAGE.order_by(Message.position), "desc": PAGE.order_by(Message.position.desc())}
LENGTH = select(LAST_POSITION.label("length")).where(Conversation.id == bindparam("of_conversation"), OF_USER)
"""The last position is the number of messages: nothing takes a single one away."""
ONE = SHOWN.join(Conversation).where(Message.id == bindparam("of_message"), OF_USER)
ON_DIFY = (
    select(Message.dify_message_id, Message.meta_data["carrier"].as_string().label("backend"))
    .join(Conversation)
    .where(Message.id == bindparam("of_message"), OF_USER)
)
RATE = (
    update(Message)
    .where(Message.id == bindparam("of_message"))
    .values(feedback_score=bindparam("score"), feedback_reason=bindparam("reason"))
)
TASK = select(
    Message.id,
    Message.leased_until.label("leased_until"),
    Message.meta_data["task_id"].as_string().label("task_id"),
    Message.meta_data["carrier"].as_string().label("backend"),
).where(OF_USER)
TASK_OF_MESSAGE = TASK.join(Conversation).where(Message.id == bindparam("of_message"))
LAST_TASK = (
    TASK.select_from(Conversation).outerjoin(Message, IS_LAST).where(Conversation.id == bindparam("of_conversation"))
)


class DifyMessage(NamedTuple):
    """Where a message is on Dify.

    :param dify_message_id: None if it never got there
    """

    dify_message_id: str | None
    backend: str | None


class RunningTask(NamedTuple):
    """What Dify is to be told to stop."""

    message_id: str
    task_id: str
    backend: str | None


def list_messages(
    engine: Engine, user_id: str, conversation_id: str, *, page: int, page_size: int, order: str
) -> tuple[Sequence[Row[Any]], int]:
    """A page of a conversation's messages, in the order of their positions.

    Positions have no gaps, so that a page is a range of positions: the last page is found as fast as the first.

    :param order: asc, or desc to begin with the newest
    :returns: the rows, and how many messages there are in all
    :raises ConversationNotFound: the user has no such conversation
    """
    hex_id = UUID(conversation_id).hex
    first = (page - 1) * page_size + 1
    last = first + page_size - 1
    with engine.connect() as connection:
        found = connection.execute(LENGTH, {"of_conversation": hex_id, "of_user": user_id}).first()
        if found is None:
            raise ConversationNotFound(conversation_id)
        total = found.length or 0
        if order == "desc":
            first, last = total - last + 1, total - first + 1
        positions = {"of_conversation": hex_id, "first": first, "last": last, "maximum": page_size}
        return connection.execute(PAGES[order], positions).all(), total


def read_message(engine: Engine, user_id: str, message_id: str) -> Row[Any]:
    """One message.

    :raises MessageNotFound: the user has no such message
    """
    with engine.connect() as connection:
        row = connection.execute(ONE, {"of_message": UUID(message_id).hex, "of_user": user_id}).first()
    if row is None:
        raise MessageNotFound(message_id)
    return row


def find_on_dify(engine: Engine, user_id: str, message_id: str) -> DifyMessage:
    """Where a message is on Dify.

    :raises MessageNotFound: the user has no such message
    """
    with engine.connect() as connection:
        row = connection.execute(ON_DIFY, {"of_message": UUID(message_id).hex, "of_user": user_id}).first()
    if row is None:
        raise MessageNotFound(message_id)
    return DifyMessage(row.dify_message_id, row.backend)


def rate_message(engine: Engine, user_id: str, message_id: str, score: int | None, reason: str | None) -> DifyMessage:
    """Store what the user thinks of an answer, in place of what was stored before.

    :param score: 0 to 100; None withdraws it
    :raises MessageNotFound: the user has no such message
    """
    on_dify = find_on_dify(engine, user_id, message_id)
    with engine.connect() as connection:
        connection.execute(RATE, {"of_message": UUID(message_id).hex, "score": score, "reason": reason})
    return on_dify


def find_running_task(
    engine: Engine, user_id: str, *, conversation_id: str | None, message_id: str | None
) -> RunningTask | None:
    """The task behind the answer that is being written now; None if none is.

    Waits for a task that Dify has not named yet, a few seconds at most, without holding a connection.

    :param message_id: None for the last message of the conversation
    :raises ConversationNotFound: the user has no such conversation
    :raises MessageNotFound: the user has no such message
    :raises TurnNotStoppable: Dify still has not named the task
    """
    deadline = monotonic() + TASK_WAIT_S
    while True:
        row = _task(engine, user_id, conversation_id, message_id)
        if not is_leased(row.leased_until):
            return None
        if row.task_id:
            return RunningTask(dashed(row.id), row.task_id, row.backend)
        if monotonic() > deadline:
            raise TurnNotStoppable
        sleep(TASK_POLL_S)


def _task(engine: Engine, user_id: str, conversation_id: str | None, message_id: str | None) -> Row[Any]:
    if message_id is not None:
        statement, wanted = TASK_OF_MESSAGE, {"of_message": UUID(message_id).hex}
    else:
        statement, wanted = LAST_TASK, {"of_conversation": UUID(conversation_id).hex}
    with engine.connect() as connection:
        row = connection.execute(statement, {**wanted, "of_user": user_id}).first()
    if row is None:
        raise MessageNotFound(message_id) if message_id else ConversationNotFound(str(conversation_id))
    return row
