"""The rows of turns: how a turn's question, the answer so far, and its end are written.

Reading finished messages is the business of `messages.py`, and of whole conversations that of `conversations.py`.

Each statement commits by itself (`database.py`). The order of the statements makes up for that: whichever statement is
the last before a crash, either the question is stored, or its caller was not told that it was taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, Row, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from ..errors import ConversationBusy, ConversationNotFound
from .database import WritePair, transaction
from .models import IS_LAST, Conversation, Message, User, dashed, new_id, utc_now

Json = dict[str, Any]

LEASE_S = 20.0
"""Seconds for which a turn has its conversation to itself. The monitor (`chat/monitor.py`) renews the lease while the
turn runs, so after the death of a process its conversations are closed for this long."""

NAME_LENGTH = 50
"""Characters of a conversation's name; the column holds no more."""

LAST_TURN = (
    select(
        Conversation.kb_id,
        Conversation.backend.label("backend"),
        Conversation.dify_conversation_id,
        Conversation.dify_since,
        Message.id.label("message_id"),
        Message.position,
        Message.leased_until.label("leased_until"),
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
"""Rows that are read beyond the wanted ones, because failed turns may be among them. A condition on `meta_data` would
make PostgreSQL read and sort the whole conversation."""

PAST_TURNS = (
    select(Message.position, Message.query, Message.response, Message.meta_data, Message.dify_message_id)
    .where(Message.conversation_id == bindparam("of_conversation"), Message.position < bindparam("before"))
    .order_by(Message.position.desc())
    .limit(bindparam("maximum"))
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
    "leased_until",
)
ADD_MESSAGE = insert(Message).values({name: bindparam(f"m_{name}") for name in MESSAGE_COLUMNS})
STORE_PROGRESS = (
    update(Message)
    # A finished message has no lease: progress that comes late must not overwrite it.
    .where(Message.id == bindparam("of_message"), Message.leased_until.is_not(None)).values(
        {name: bindparam(f"m_{name}") for name in ("response", "meta_data", "leased_until")}
    )
)
MARK_INTERRUPTED = (
    update(Message)
    # Only under the same expired lease: its process may be slow, not dead, and may have finished the turn meanwhile.
    .where(Message.id == bindparam("of_message"), Message.leased_until == bindparam("expired")).values(
        meta_data=bindparam("m_meta_data"), leased_until=None
    )
)
FINISH_MESSAGE = (
    update(Message)
    .where(Message.id == bindparam("of_message"))
    .values({name: bindparam(f"m_{name}") for name in ("response", "meta_data", "leased_until", "dify_message_id")})
)
MOVE_CONVERSATION = (
    update(Conversation)
    .where(Conversation.id == bindparam("of_conversation"))
    .values({name: bindparam(f"c_{name}") for name in ("backend", "dify_conversation_id", "dify_since")})
)
START = WritePair(START_CONVERSATION, ADD_MESSAGE)
MOVE_AND_FINISH = WritePair(MOVE_CONVERSATION, FINISH_MESSAGE)
"""The conversation comes first: to finish the message lets the next turn in, and that turn must find Dify's id."""


@dataclass(frozen=True, slots=True)
class DifyConversation:
    """The conversation on Dify in which one of ours goes on.

    :param backend: the name of the backend that made it (`chat/backends.py`), which alone can continue it
    :param since: position of the first turn that it holds; Dify knows nothing of the turns before
    """

    backend: str
    dify_conversation_id: str
    since: int


@dataclass(frozen=True, slots=True)
class NewTurn:
    """What is stored of a turn before Dify is asked.

    :param conversation_id: 32 hex digits; None starts a conversation
    :param kb_id: the id of the kb, several joined with commas, or None
    :param name: the name of a new conversation; None takes the beginning of the query
    :param asked: what the caller asked for besides; it stays in the message's `meta_data`
    """

    user_id: str
    query: str
    chat_type: str
    conversation_id: str | None = None
    kb_id: str | None = None
    name: str | None = None
    asked: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TurnRow:
    """A stored turn on which this process has a lease.

    :param conversation_id: 32 hex digits, as `message_id`
    :param position: counted from 1
    :param dify_conversation: where the conversation was going on when the turn began
    :param last_dify_message_id: Dify's id of the turn before, if that turn succeeded
    :param asked: what the caller asked for besides
    """

    user_id: str
    conversation_id: str
    message_id: str
    position: int
    dify_conversation: DifyConversation | None
    last_dify_message_id: str | None
    asked: Json

    @property
    def is_first(self) -> bool:
        return self.position == 1

    @property
    def ids(self) -> Json:
        """The ids by which the API names the turn."""
        return {
            "conversation_id": dashed(self.conversation_id),
            "is_new_conversation": self.is_first,
            "message_id": dashed(self.message_id),
        }


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """How a turn ended.

    :param response: the answer, or the part of it that came
    :param status: done, stopped or failed
    :param reason: why it did not end well; None if it did
    :param dify_conversation: where on Dify the conversation goes on; None lets the next turn begin a new one there
    :param dify_message_id: the message's id on Dify, None if Dify never named one
    :param facts: what the message's `meta_data` keeps besides: `task_id`, `references`, `usage` …
    """

    response: str
    status: str
    reason: str | None
    dify_conversation: DifyConversation | None
    dify_message_id: str | None = None
    facts: Json = field(default_factory=dict)


def begin_turn(engine: Engine, new: NewTurn) -> TurnRow:
    """Store the question and take the lease on its conversation. A kb other than the conversation's starts a new one.

    :raises ConversationNotFound: the user has no such conversation
    :raises ConversationBusy: another turn of it is running
    """
    now = utc_now()
    message: Json = {
        "m_id": new_id(),
        "m_chat_type": new.chat_type,
        "m_query": new.query,
        "m_response": "",
        "m_meta_data": _meta_data(new.asked, "pending"),
        "m_create_time": now,
        "m_leased_until": now + timedelta(seconds=LEASE_S),
    }
    if new.conversation_id is not None:
        row = _continue_conversation(engine, new, new.conversation_id, message, now)
        if row is not None:
            return row
    conversation: Json = {
        "c_id": new_id(),
        "c_user_id": new.user_id,
        "c_name": (new.name or " ".join(new.query.split()))[:NAME_LENGTH],
        "c_chat_type": new.chat_type,
        "c_create_time": now,
        "c_kb_id": new.kb_id,
    }
    message |= {"m_conversation_id": conversation["c_id"], "m_position": 1}
    try:
        START.execute(engine, conversation, message)
    except IntegrityError:
        # The user's first turn ever. To look for the user first would cost every other turn a query.
        _add_user(engine, new.user_id)
        START.execute(engine, conversation, message)
    return TurnRow(new.user_id, conversation["c_id"], message["m_id"], 1, None, None, new.asked)


def _continue_conversation(
    engine: Engine, new: NewTurn, conversation_id: str, message: Json, now: datetime
) -> TurnRow | None:
    """Add the message to its conversation.

    :returns: None if the conversation is about another kb
    """
    try:
        with engine.connect() as connection:
            of_user = {"of_conversation": conversation_id, "of_user": new.user_id}
            last = connection.execute(LAST_TURN, of_user).first()
            if last is None:
                raise ConversationNotFound(conversation_id)
            if new.kb_id is not None and new.kb_id != last.kb_id:
                return None
            if last.leased_until is not None:
                if last.leased_until > now:
                    raise ConversationBusy
                connection.execute(MARK_INTERRUPTED, _interrupted(last))
            message |= {"m_conversation_id": conversation_id, "m_position": (last.position or 0) + 1}
            connection.execute(ADD_MESSAGE, message)
    except IntegrityError as error:  # Another turn has taken this position at the same moment.
        raise ConversationBusy from error
    dify_conversation = None
    if last.dify_conversation_id:
        dify_conversation = DifyConversation(last.backend or "app", last.dify_conversation_id, last.dify_since or 1)
    has_succeeded = (last.meta_data or {}).get("status") in SUCCESSFUL
    return TurnRow(
        new.user_id,
        conversation_id,
        message["m_id"],
        message["m_position"],
        dify_conversation,
        last.dify_message_id if has_succeeded else None,
        new.asked,
    )


def _interrupted(last: Row[Any]) -> Json:
    """The parameters of `MARK_INTERRUPTED` for a turn whose process died. The part that was stored stays."""
    meta_data = _meta_data(last.meta_data or {}, "failed", "interrupted")
    return {"of_message": last.message_id, "expired": last.leased_until, "m_meta_data": meta_data}


def _add_user(engine: Engine, user_id: str) -> None:
    try:
        with engine.connect() as connection:
            connection.execute(insert(User).values(id=user_id))
    except IntegrityError:
        return  # Another request of this user was faster. The row is there, which is all that is wanted.


def past_turns(engine: Engine, row: TurnRow, *, before: int, maximum: int) -> list[Row[Any]]:
    """The successful turns of a conversation before a position, the latest first.

    :param row: a turn of the conversation
    :param maximum: how many turns at the most
    """
    with engine.connect() as connection:
        parameters = {"of_conversation": row.conversation_id, "before": before, "maximum": maximum + FAILED_TURNS}
        rows = connection.execute(PAST_TURNS, parameters).all()
    return [row for row in rows if row.meta_data["status"] in SUCCESSFUL][:maximum]


def progress_of(row: TurnRow, response: str, task_id: str | None) -> Json:
    """The parameters of `STORE_PROGRESS`: the answer so far, and a fresh lease.

    :param task_id: the task in which Dify writes the answer, None while Dify has not named it
    """
    return {
        "of_message": row.message_id,
        "m_response": response,
        "m_meta_data": _meta_data(row.asked, "pending", task_id=task_id),
        "m_leased_until": utc_now() + timedelta(seconds=LEASE_S),
    }


def store_progress(engine: Engine, progress: Sequence[Json]) -> None:
    """Store what has come of several answers, in one transaction: each by itself would be one flush to disk.

    :param progress: what :func:`progress_of` gives for each answer
    """
    with transaction(engine) as connection:
        connection.execute(STORE_PROGRESS, progress)


def finish_turn(engine: Engine, row: TurnRow, end: TurnEnd) -> None:
    """Store the end of a turn and give the lease on its conversation back."""
    finished = {
        "of_message": row.message_id,
        "m_response": end.response,
        "m_meta_data": _meta_data(row.asked, end.status, end.reason, **end.facts),
        "m_leased_until": None,
        "m_dify_message_id": end.dify_message_id,
    }
    if end.dify_conversation == row.dify_conversation:
        with engine.connect() as connection:
            connection.execute(FINISH_MESSAGE, finished)
        return
    goes_on = end.dify_conversation
    moved = {
        "of_conversation": row.conversation_id,
        "c_backend": goes_on and goes_on.backend,
        "c_dify_conversation_id": goes_on and goes_on.dify_conversation_id,
        "c_dify_since": goes_on and goes_on.since,
    }
    MOVE_AND_FINISH.execute(engine, moved, finished)


def is_leased(leased_until: datetime | None) -> bool:
    """Whether a process is still writing the answer."""
    return leased_until is not None and leased_until > utc_now()


def status_of(meta_data: Json, leased_until: datetime | None) -> tuple[str, str | None]:
    """The status of a stored turn, and why it did not end well.

    A pending turn without a lease was interrupted: the process that wrote it has died.
    """
    if meta_data["status"] == "pending" and not is_leased(leased_until):
        return "failed", "interrupted"
    return meta_data["status"], meta_data.get("reason")


def _meta_data(asked: Json, status: str, reason: str | None = None, **facts: Any) -> Json:
    """The `meta_data` of a message: the only place where one is put together."""
    meta_data = {**asked, **{name: value for name, value in facts.items() if value is not None}, "status": status}
    if reason is not None:
        meta_data["reason"] = reason
    return meta_data
