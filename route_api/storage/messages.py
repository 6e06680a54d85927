"""Lists, reads and rates the messages of a user, and finds them on Dify, also while their answer is written.

Every query has the user's id as a condition, so that a user cannot reach the messages of another user.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Engine, Row, bindparam, select, update

from ..errors import ConversationNotFound, MessageNotFound
from .leases import is_leased
from .models import IS_LAST, LAST_POSITION, Conversation, Message

SELECT_MESSAGES = select(
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
IS_OF_USER = Conversation.user_id == bindparam("of_user")
SELECT_PAGE = SELECT_MESSAGES.where(
    Message.conversation_id == bindparam("of_conversation"),
    Message.position.between(bindparam("first"), bindparam("last")),
).limit(bindparam("maximum"))
"""The range alone selects the page. The limit only tells PostgreSQL's planner that the result is short."""
SELECT_PAGE_BY_ORDER = {
    "asc": SELECT_PAGE.order_by(Message.position),
    "desc": SELECT_PAGE.order_by(Message.position.desc()),
}
SELECT_MESSAGE_COUNT = select(LAST_POSITION.label("message_count")).where(
    Conversation.id == bindparam("of_conversation"), IS_OF_USER
)
"""The last position is the number of messages, because no single message is ever deleted."""
SELECT_MESSAGE = SELECT_MESSAGES.join(Conversation).where(Message.id == bindparam("of_message"), IS_OF_USER)
SELECT_DIFY_MESSAGE = (
    select(Message.dify_message_id, Message.meta_data["carrier"].as_string().label("backend"))
    .join(Conversation)
    .where(Message.id == bindparam("of_message"), IS_OF_USER)
)
UPDATE_RATING = (
    update(Message)
    .where(Message.id == bindparam("of_message"))
    .values(feedback_score=bindparam("score"), feedback_reason=bindparam("reason"))
)
SELECT_TASK = select(
    Message.id,
    Message.leased_until.label("leased_until"),
    Message.meta_data["task_id"].as_string().label("task_id"),
    Message.meta_data["carrier"].as_string().label("backend"),
).where(IS_OF_USER)
SELECT_TASK_OF_MESSAGE = SELECT_TASK.join(Conversation).where(Message.id == bindparam("of_message"))
SELECT_TASK_OF_LAST_MESSAGE = (
    SELECT_TASK.select_from(Conversation)
    .outerjoin(Message, IS_LAST)
    .where(Conversation.id == bindparam("of_conversation"))
)


class DifyMessageReference(NamedTuple):
    """The place of a message on Dify.

    :param dify_message_id: the id on Dify; None if the message never reached Dify
    :param backend: the name of the backend that asked Dify (`chat/backends.py`)
    """

    dify_message_id: str | None
    backend: str | None


class RunningTurn(NamedTuple):
    """A turn that runs now.

    :param message_id: 32 hex digits
    :param task_id: the id of Dify's task that generates the answer; None if Dify has not sent it, or it is not stored
    :param backend: the name of the backend that asked Dify (`chat/backends.py`); None if it is not chosen yet
    """

    message_id: str
    task_id: str | None
    backend: str | None


def list_messages(
    engine: Engine, user_id: str, conversation_id: str, *, page: int, page_size: int, order: str
) -> tuple[Sequence[Row[Any]], int]:
    """Read a page of a conversation's messages, in the order of their positions.

    Positions have no gaps, so a page is a range of positions, and the last page takes no longer than the first.

    :param order: `asc`, or `desc` to begin with the newest message
    :returns: the rows, and the number of messages in the conversation
    :raises ConversationNotFound: the user has no such conversation
    """
    hex_id = UUID(conversation_id).hex
    first = (page - 1) * page_size + 1
    last = first + page_size - 1
    with engine.connect() as connection:
        found = connection.execute(SELECT_MESSAGE_COUNT, {"of_conversation": hex_id, "of_user": user_id}).first()
        if found is None:
            raise ConversationNotFound(conversation_id)
        total = found.message_count or 0
        if order == "desc":
            first, last = total - last + 1, total - first + 1
        positions = {"of_conversation": hex_id, "first": first, "last": last, "maximum": page_size}
        return connection.execute(SELECT_PAGE_BY_ORDER[order], positions).all(), total


def read_message(engine: Engine, user_id: str, message_id: str) -> Row[Any]:
    """Read one message.

    :raises MessageNotFound: the user has no such message
    """
    with engine.connect() as connection:
        row = connection.execute(SELECT_MESSAGE, {"of_message": UUID(message_id).hex, "of_user": user_id}).first()
    if row is None:
        raise MessageNotFound(message_id)
    return row


def find_dify_message(engine: Engine, user_id: str, message_id: str) -> DifyMessageReference:
    """Find the place of a message on Dify.

    :raises MessageNotFound: the user has no such message
    """
    with engine.connect() as connection:
        row = connection.execute(SELECT_DIFY_MESSAGE, {"of_message": UUID(message_id).hex, "of_user": user_id}).first()
    if row is None:
        raise MessageNotFound(message_id)
    return DifyMessageReference(row.dify_message_id, row.backend)


def rate_message(
    engine: Engine, user_id: str, message_id: str, score: int | None, reason: str | None
) -> DifyMessageReference:
    """Store the user's rating of an answer. It replaces an earlier rating.

    :param score: 0 to 100; None deletes the rating
    :returns: the place of the message on Dify, which can be told of the rating
    :raises MessageNotFound: the user has no such message
    """
    on_dify = find_dify_message(engine, user_id, message_id)
    with engine.connect() as connection:
        connection.execute(UPDATE_RATING, {"of_message": UUID(message_id).hex, "score": score, "reason": reason})
    return on_dify


def find_running_turn(
    engine: Engine, user_id: str, *, conversation_id: str | None, message_id: str | None
) -> RunningTurn | None:
    """Find the turn that runs now.

    :param message_id: the message of the turn; None: the last message of the conversation
    :returns: the turn; None if it does not run
    :raises ConversationNotFound: the user has no such conversation
    :raises MessageNotFound: the user has no such message
    """
    row = _select_task(engine, user_id, conversation_id, message_id)
    return RunningTurn(row.id, row.task_id, row.backend) if is_leased(row.leased_until) else None


def _select_task(engine: Engine, user_id: str, conversation_id: str | None, message_id: str | None) -> Row[Any]:
    if message_id is not None:
        statement, wanted = SELECT_TASK_OF_MESSAGE, {"of_message": UUID(message_id).hex}
    else:
        statement, wanted = SELECT_TASK_OF_LAST_MESSAGE, {"of_conversation": UUID(conversation_id).hex}
    with engine.connect() as connection:
        row = connection.execute(statement, {**wanted, "of_user": user_id}).first()
    if row is None:
        raise MessageNotFound(message_id) if message_id else ConversationNotFound(str(conversation_id))
    return row
