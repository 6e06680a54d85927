"""Writes the rows of a running turn: the question, the answer so far, and the end. Reads the turns before it.

`paused_turns.py` goes on with a turn that waits for a form, and `stop_requests.py` has the requests to stop one.
`messages.py` reads messages for the API and rates them. `conversations.py` lists, renames and deletes conversations.

Most statements commit by themselves (`database.py`), so their order matters: the process may crash between any two
statements. A caller gets an answer only after the question is stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Row, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from ..errors import ConversationBusy, ConversationNotFound
from .database import WriteTogether, write_rows
from .idempotency import UPDATE_ANSWER, KeyLease, StoredAnswer, answer_parameters
from .leases import is_leased, lease_end
from .models import IS_LAST, Conversation, Message, User, dashed, new_id, utc_now

Json = dict[str, Any]

NAME_LENGTH = 50
"""The maximum length of a conversation's name in characters. It is the length of the column."""

# Names of parameters: those of conditions begin with `of_`, because SQLAlchemy reserves a column's own name for the
# value that an UPDATE sets. Values begin with `c_` (conversation) or `m_` (message), because the statements of a
# `WriteTogether` share one set of parameters.

SELECT_LAST_TURN = (
    select(
        Conversation.kb_id,
        Conversation.backend.label("backend"),
        Conversation.dify_conversation_id,
        Conversation.dify_since,
        Conversation.dify_form,
        Conversation.dify_model,
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
SUCCESSFUL_STATUSES = ("done", "stopped")
"""Turns with these statuses may be part of a prompt's history, and so may a failed turn with a part of its answer."""

EXTRA_ROWS = 50
"""Additional rows that are read, because failed turns are removed after the query. With a condition on `meta_data` in
the query, PostgreSQL would read and sort the whole conversation."""

SELECT_PAST_TURNS = (
    select(Message.position, Message.query, Message.response, Message.meta_data, Message.dify_message_id)
    .where(Message.conversation_id == bindparam("of_conversation"), Message.position < bindparam("before"))
    .order_by(Message.position.desc())
    .limit(bindparam("maximum"))
)
INSERT_CONVERSATION = insert(Conversation).values(
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
INSERT_MESSAGE = insert(Message).values({name: bindparam(f"m_{name}") for name in MESSAGE_COLUMNS})
UPDATE_PROGRESS = (
    update(Message)
    # A finished message has no lease, so late progress does not overwrite it.
    .where(Message.id == bindparam("of_message"), Message.leased_until.is_not(None)).values(
        {name: bindparam(f"m_{name}") for name in ("response", "meta_data", "leased_until")}
    )
)
UPDATE_INTERRUPTED = (
    update(Message)
    # The process of the turn may be slow and not dead. If it has renewed or released the lease, nothing is changed.
    .where(Message.id == bindparam("of_message"), Message.leased_until == bindparam("expired")).values(
        meta_data=bindparam("m_meta_data"), leased_until=None
    )
)
UPDATE_FINISHED_MESSAGE = (
    update(Message)
    .where(Message.id == bindparam("of_message"))
    .values({name: bindparam(f"m_{name}") for name in ("response", "meta_data", "leased_until", "dify_message_id")})
)
DIFY_COLUMNS = ("backend", "dify_conversation_id", "dify_since", "dify_form", "dify_model")
UPDATE_DIFY_CONVERSATION = (
    update(Conversation)
    .where(Conversation.id == bindparam("of_conversation"))
    .values({name: bindparam(f"c_{name}") for name in DIFY_COLUMNS})
)
INSERT_FIRST_TURN = WriteTogether(INSERT_CONVERSATION, INSERT_MESSAGE)
UPDATE_ANSWERED_TURN = WriteTogether(UPDATE_FINISHED_MESSAGE, UPDATE_ANSWER)
UPDATE_ANSWERED_TURN_AND_CONVERSATION = WriteTogether(UPDATE_DIFY_CONVERSATION, UPDATE_FINISHED_MESSAGE, UPDATE_ANSWER)
UPDATE_FINISHED_TURN = WriteTogether(UPDATE_DIFY_CONVERSATION, UPDATE_FINISHED_MESSAGE)
"""The conversation is updated first. As soon as the message is finished, the next turn may begin, and it needs the new
ids of the conversation."""


@dataclass(frozen=True, slots=True)
class DifyConversation:
    """The conversation on Dify that continues a conversation of ours.

    :param backend: the name of the backend (`chat/backends.py`) that created the conversation on Dify. Only this
        backend can continue it.
    :param first_position: the position of our first turn in the conversation on Dify; stored in the column `dify_since`
    :param form: a hash of the variables that the app declared when it began, and `model`, what it ran then; None: not
        known
    """

    backend: str
    dify_conversation_id: str
    first_position: int
    form: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class NewTurn:
    """The data of a turn that are stored before the model is asked.

    :param conversation_id: 32 hex digits; None for a new conversation
    :param kb_id: the ids of the kbs, joined with commas; None without a kb
    :param name: the name of a new conversation; None for the beginning of the query
    :param options: the other parameters of the request, as they are stored in the message's `meta_data`
    """

    user_id: str
    query: str
    chat_type: str
    conversation_id: str | None = None
    kb_id: str | None = None
    name: str | None = None
    options: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TurnRow:
    """A stored turn that holds the lease on its conversation.

    :param conversation_id: 32 hex digits
    :param message_id: 32 hex digits
    :param position: counted from 1
    :param dify_conversation: the conversation on Dify that the turn may continue; None if there is none
    :param last_dify_message_id: Dify's id of the previous turn's message; None if that turn did not succeed
    :param options: the other parameters of the request, as they are stored in the message's `meta_data`. The turn adds
        `carrier`, the name of its backend, as soon as it is known
    """

    user_id: str
    conversation_id: str
    message_id: str
    position: int
    dify_conversation: DifyConversation | None
    last_dify_message_id: str | None
    options: Json

    @property
    def is_first(self) -> bool:
        return self.position == 1

    @property
    def ids(self) -> Json:
        """The turn's ids as the API shows them."""
        return {
            "conversation_id": dashed(self.conversation_id),
            "is_new_conversation": self.is_first,
            "message_id": dashed(self.message_id),
        }


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """How a turn ended.

    :param response: the answer, or the part of it that arrived
    :param status: done, stopped, failed, or paused: Dify waits until a person has filled in a form
    :param reason: why the turn was stopped or failed; None if it is done
    :param dify_conversation: the conversation on Dify that the next turn may continue; None if there is none
    :param dify_message_id: the message's id on Dify; None if Dify sent none
    :param meta_data: further keys of the message's `meta_data`: `task_id`, `references`, `usage` …
    :param for_repeats: the lease on the request's Idempotency-Key, and the answer that a repeated request gets; None if
        a repeated request must not get this answer
    """

    response: str
    status: str
    reason: str | None
    dify_conversation: DifyConversation | None
    dify_message_id: str | None = None
    meta_data: Json = field(default_factory=dict)
    for_repeats: tuple[KeyLease, StoredAnswer] | None = None


def begin_turn(engine: Engine, new: NewTurn) -> TurnRow:
    """Store the question and take the lease on its conversation. If the kb differs from the conversation's kb, start a
    new conversation.

    :raises ConversationNotFound: the user has no such conversation
    :raises ConversationBusy: another turn of the conversation is running
    """
    now = utc_now()
    message: Json = {
        "m_id": new_id(),
        "m_chat_type": new.chat_type,
        "m_query": new.query,
        "m_response": "",
        "m_meta_data": message_meta_data(new.options, "pending"),
        "m_create_time": now,
        "m_leased_until": lease_end(now),
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
        INSERT_FIRST_TURN.execute(engine, conversation, message)
    except IntegrityError:
        # The user has no row before the first turn. A check before each insert would add a query to each turn.
        _add_user(engine, new.user_id)
        INSERT_FIRST_TURN.execute(engine, conversation, message)
    return TurnRow(new.user_id, conversation["c_id"], message["m_id"], 1, None, None, new.options)


def _continue_conversation(
    engine: Engine, new: NewTurn, conversation_id: str, message: Json, now: datetime
) -> TurnRow | None:
    """Add the message to an existing conversation.

    :returns: the stored turn; None if the conversation is about another kb
    """
    try:
        with engine.connect() as connection:
            of_user = {"of_conversation": conversation_id, "of_user": new.user_id}
            last = connection.execute(SELECT_LAST_TURN, of_user).first()
            if last is None:
                raise ConversationNotFound(conversation_id)
            if new.kb_id is not None and new.kb_id != last.kb_id:
                return None
            if last.leased_until is not None:
                if is_leased(last.leased_until, now):
                    raise ConversationBusy
                connection.execute(UPDATE_INTERRUPTED, _interrupted_parameters(last))
                # Dify never got the end of that turn, so a new conversation on Dify begins, with our history.
                connection.execute(UPDATE_DIFY_CONVERSATION, _dify_parameters(conversation_id, None))
            message |= {"m_conversation_id": conversation_id, "m_position": (last.position or 0) + 1}
            connection.execute(INSERT_MESSAGE, message)
    except IntegrityError as error:  # Another turn has just taken this position.
        raise ConversationBusy from error
    dify_conversation = None
    if last.dify_conversation_id and last.leased_until is None:
        dify_conversation = DifyConversation(
            last.backend or "app", last.dify_conversation_id, last.dify_since or 1, last.dify_form, last.dify_model
        )
    has_succeeded = (last.meta_data or {}).get("status") in SUCCESSFUL_STATUSES
    return TurnRow(
        new.user_id,
        conversation_id,
        message["m_id"],
        message["m_position"],
        dify_conversation,
        last.dify_message_id if has_succeeded else None,
        new.options,
    )


def _interrupted_parameters(last: Row[Any]) -> Json:
    """The parameters of `UPDATE_INTERRUPTED` for a turn whose lease has expired. The stored answer is kept."""
    meta_data = last.meta_data or {}
    if meta_data.get("status", "pending") == "pending":
        meta_data = message_meta_data(meta_data, "failed", "interrupted")
    return {"of_message": last.message_id, "expired": last.leased_until, "m_meta_data": meta_data}


def _add_user(engine: Engine, user_id: str) -> None:
    try:
        with engine.connect() as connection:
            connection.execute(insert(User).values(id=user_id))
    except IntegrityError:
        return  # Another request of this user has just inserted the row.


def past_turns(engine: Engine, row: TurnRow, *, before: int, maximum: int) -> list[Row[Any]]:
    """Read the turns of a conversation before a position that may be part of a history.

    :param row: a turn of the conversation
    :param maximum: the maximum number of turns
    :returns: the rows, the latest turn first
    """
    with engine.connect() as connection:
        parameters = {"of_conversation": row.conversation_id, "before": before, "maximum": maximum + EXTRA_ROWS}
        rows = connection.execute(SELECT_PAST_TURNS, parameters).all()
    return [past for past in rows if past.response or past.meta_data["status"] in SUCCESSFUL_STATUSES][:maximum]


def progress_of(row: TurnRow, response: str, task_id: str | None) -> Json:
    """The parameters of `UPDATE_PROGRESS`: the answer so far, and a renewed lease.

    :param task_id: the id of Dify's task that generates the answer; None until Dify has sent it
    """
    return {
        "of_message": row.message_id,
        "m_response": response,
        "m_meta_data": message_meta_data(row.options, "pending", task_id=task_id),
        "m_leased_until": lease_end(),
    }


def store_progress(engine: Engine, progress: Sequence[Json]) -> None:
    """Store the progress of several answers in one transaction.

    :param progress: the result of :func:`progress_of` for each answer
    """
    write_rows(engine, UPDATE_PROGRESS, progress)


def finish_turn(engine: Engine, row: TurnRow, end: TurnEnd) -> None:
    """Store the end of a turn and release the lease on its conversation.

    The answer for a repeated request is stored in the same transaction. So no crash can leave an answer that is stored
    and is generated again for the repeated request.
    """
    finished = {
        "of_message": row.message_id,
        "m_response": end.response,
        "m_meta_data": message_meta_data(row.options, end.status, end.reason, **end.meta_data),
        "m_leased_until": None,
        "m_dify_message_id": end.dify_message_id,
    }
    has_same_conversation = end.dify_conversation == row.dify_conversation
    if has_same_conversation and end.for_repeats is None:
        with engine.connect() as connection:
            connection.execute(UPDATE_FINISHED_MESSAGE, finished)
        return
    conversation = _dify_parameters(row.conversation_id, end.dify_conversation)
    if end.for_repeats is None:
        UPDATE_FINISHED_TURN.execute(engine, conversation, finished)
        return
    lease, answer = end.for_repeats
    answered = answer_parameters(lease, answer)
    if has_same_conversation:
        UPDATE_ANSWERED_TURN.execute(engine, finished, answered, needs_transaction=True)
    else:
        UPDATE_ANSWERED_TURN_AND_CONVERSATION.execute(engine, conversation, finished, answered, needs_transaction=True)
    lease.is_stored = True


def _dify_parameters(conversation_id: str, on_dify: DifyConversation | None) -> Json:
    """The parameters of `UPDATE_DIFY_CONVERSATION`."""
    return {
        "of_conversation": conversation_id,
        "c_backend": on_dify and on_dify.backend,
        "c_dify_conversation_id": on_dify and on_dify.dify_conversation_id,
        "c_dify_since": on_dify and on_dify.first_position,
        "c_dify_form": on_dify and on_dify.form,
        "c_dify_model": on_dify and on_dify.model,
    }


def status_of(meta_data: Json, leased_until: datetime | None) -> tuple[str, str | None]:
    """The status of a stored turn. A pending turn whose lease has expired counts as interrupted.

    :returns: the status; the reason if the turn was stopped or failed, else None
    """
    if meta_data["status"] == "pending" and not is_leased(leased_until):
        return "failed", "interrupted"
    return meta_data["status"], meta_data.get("reason")


def message_meta_data(options: Json, status: str, reason: str | None = None, **more: Any) -> Json:
    """Build the `meta_data` of a message. No other code builds `meta_data`.

    :param more: further keys; those whose value is None are left out
    """
    meta_data = {**options, **{name: value for name, value in more.items() if value is not None}, "status": status}
    if reason is not None:
        meta_data["reason"] = reason
    return meta_data
