"""Finds a turn that waits until a person has filled in a form, and takes its lease again. `turns.py` does the rest."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, bindparam, select, update

from ..errors import ConversationBusy, FormClosed, MessageNotFound
from ..languages import Sentence
from .leases import is_leased, lease_end
from .models import IS_LAST, Conversation, Message, dashed, utc_now
from .stop_requests import DELETE_STOP_REQUEST
from .turns import TurnRow, message_meta_data

Json = dict[str, Any]

SELECT_TURN = (
    select(
        Message.conversation_id,
        Message.id.label("message_id"),
        Message.position,
        Message.query,
        Message.response,
        Message.meta_data,
        Message.dify_message_id,
    )
    .join(Conversation)
    .where(Message.id == bindparam("of_message"), Conversation.user_id == bindparam("of_user"))
)
SELECT_LEASE_OF_LAST_MESSAGE = (
    select(Message.leased_until).join(Conversation).where(Conversation.id == bindparam("of_conversation"), IS_LAST)
)
UPDATE_RESUMED = (
    update(Message)
    # Another request may have resumed the turn, or is doing it at this moment.
    .where(Message.id == bindparam("of_message"), Message.leased_until.is_(None)).values(
        meta_data=bindparam("m_meta_data"), leased_until=bindparam("m_leased_until")
    )
)


@dataclass(frozen=True, slots=True)
class PausedTurn:
    """A stored turn that waits until a person has filled in a form.

    :param conversation_id: 32 hex digits
    :param message_id: 32 hex digits
    :param response: the part of the answer that came before the pause
    """

    user_id: str
    conversation_id: str
    message_id: str
    position: int
    query: str
    response: str
    meta_data: Json
    dify_message_id: str | None


def find_paused_turn(engine: Engine, user_id: str, message_id: str) -> PausedTurn:
    """Find a turn that waits for a form.

    :param message_id: 32 hex digits
    :raises MessageNotFound: the user has no such message
    :raises FormClosed: the turn is not paused
    """
    with engine.connect() as connection:
        row = connection.execute(SELECT_TURN, {"of_message": message_id, "of_user": user_id}).first()
    if row is None:
        raise MessageNotFound(dashed(message_id))
    if row.meta_data["status"] != "paused":
        raise FormClosed(Sentence("This answer does not wait for a form."))
    return PausedTurn(user_id, **row._asdict())


def resume_turn(engine: Engine, paused: PausedTurn, options: Json) -> TurnRow:
    """Take the lease on a paused turn, and mark the turn as running.

    :param options: the parameters of the turn's request, as they are stored in the message's `meta_data`
    :raises ConversationBusy: the turn is resumed already, or another turn of its conversation is running
    """
    now = utc_now()
    resumed = {
        "of_message": paused.message_id,
        "m_meta_data": message_meta_data(options, "pending"),
        "m_leased_until": lease_end(now),
    }
    with engine.connect() as connection:
        of_conversation = {"of_conversation": paused.conversation_id}
        if is_leased(connection.scalar(SELECT_LEASE_OF_LAST_MESSAGE, of_conversation), now):
            raise ConversationBusy
        if connection.execute(UPDATE_RESUMED, resumed).rowcount == 0:
            raise ConversationBusy
        connection.execute(DELETE_STOP_REQUEST, {"of_message": paused.message_id})  # It meant what ran before.
    # Without a conversation on Dify, the end of the turn leaves alone the one that the pause has stored.
    return TurnRow(paused.user_id, paused.conversation_id, paused.message_id, paused.position, None, None, options)
