"""Requests with the header Idempotency-Key: the lease on a key, and the answer that a repeated request gets.

The row of a key is inserted before anything else is done, so its primary key decides which of two requests that arrive
together is carried out, also if two processes or hosts receive them. The table is `models.IdempotentRequest`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BindParameter, Connection, Engine, bindparam, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from ..errors import IdempotencyKeyReused, RequestInProgress
from .database import write_rows
from .leases import has_lease, is_leased, lease_end, lease_parameters
from .models import IdempotentRequest, Message, utc_now

Json = dict[str, Any]

KEY_LIFETIME = timedelta(hours=24)
"""How long a key and its answer are stored, from the first request with the key."""

TAKE_TRIES = 5
"""How often :func:`take_key` tries again if another request changes the row at the same moment."""

ROWS_PER_DELETE = 500
"""Expired rows that one statement deletes."""

IS_KEY = IdempotentRequest.id == bindparam("of_key")
IS_LEASE = (IS_KEY, IdempotentRequest.taken_at == bindparam("of_taken_at"))
"""The row, if no other request has taken the key since."""

INSERT_KEY = insert(IdempotentRequest).values(
    {name: bindparam(f"k_{name}") for name in ("id", "request_hash", "create_time", "taken_at", "leased_until")}
)
SELECT_KEY = (
    select(
        IdempotentRequest.request_hash,
        IdempotentRequest.message_id,
        IdempotentRequest.status,
        IdempotentRequest.content_type,
        IdempotentRequest.body,
        IdempotentRequest.create_time,
        IdempotentRequest.taken_at,
        IdempotentRequest.leased_until,
        Message.conversation_id,
    )
    .outerjoin(Message, Message.id == IdempotentRequest.message_id)
    .where(IS_KEY)
)
UPDATE_TAKEN_OVER = (
    update(IdempotentRequest)
    .where(
        *IS_LEASE,
        or_(IdempotentRequest.leased_until.is_(None), ~has_lease(IdempotentRequest.leased_until)),
        or_(IdempotentRequest.status.is_(None), IdempotentRequest.create_time < bindparam("oldest")),
    )
    .values(
        {name: bindparam(f"k_{name}") for name in ("request_hash", "message_id", "create_time")}
        | {"taken_at": bindparam("now"), "leased_until": bindparam("k_leased_until")}
        | {"status": None, "content_type": None, "body": None}
    )
)
UPDATE_LEASE = (
    update(IdempotentRequest)
    # A request that has ended has no lease, so a late renewal does not lease its key again.
    .where(*IS_LEASE, IdempotentRequest.leased_until.is_not(None)).values(leased_until=bindparam("k_leased_until"))
)
UPDATE_RELEASED = update(IdempotentRequest).where(*IS_LEASE).values(leased_until=None)
UPDATE_TURN = update(IdempotentRequest).where(*IS_LEASE).values(message_id=bindparam("k_message_id"))
UPDATE_ANSWER = (
    update(IdempotentRequest)
    .where(*IS_LEASE)
    .values({name: bindparam(f"k_{name}") for name in ("status", "content_type", "body")} | {"leased_until": None})
)
DELETE_KEY = delete(IdempotentRequest).where(*IS_LEASE)
SELECT_EXPIRED = (
    select(IdempotentRequest.id)
    .where(IdempotentRequest.create_time < bindparam("oldest"))
    .order_by(IdempotentRequest.create_time)
    .limit(ROWS_PER_DELETE)
)
KEYS: BindParameter[Any] = bindparam("keys", expanding=True)
DELETE_EXPIRED = delete(IdempotentRequest).where(
    IdempotentRequest.id.in_(KEYS), IdempotentRequest.create_time < bindparam("oldest")
)


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer that a repeated request gets.

    :param status: the HTTP status
    """

    status: int
    content_type: str
    body: str


@dataclass(slots=True)
class KeyLease:
    """The lease of a running request on its key.

    :param taken_at: when this request took the lease
    :param first_taken_at: when the first request with this key came in
    :param is_repeat: whether an earlier request with this key failed or was interrupted, and may have done something
    :param conversation_id: the conversation of the turn that the earlier request began, 32 hex digits; None if it began
        none
    :param has_turn: whether this request has begun a turn
    :param is_stored: whether the answer is stored
    """

    key: str
    taken_at: datetime
    first_taken_at: datetime
    is_repeat: bool = False
    conversation_id: str | None = None
    has_turn: bool = False
    is_stored: bool = False

    @property
    def condition(self) -> Json:
        """The parameters of `IS_LEASE`."""
        return {"of_key": self.key, "of_taken_at": self.taken_at}


def take_key(engine: Engine, key: str, request_hash: str) -> KeyLease | StoredAnswer:
    """Take the lease on a key.

    :param key: the id of the row: a hash of the caller, the endpoint, the user and the key
    :returns: the lease if the request must be carried out; the stored answer if an earlier request has succeeded
    :raises RequestInProgress: an earlier request with this key is running
    :raises IdempotencyKeyReused: an earlier request with this key had another hash
    """
    for _ in range(TAKE_TRIES):
        now = utc_now()
        try:
            with engine.connect() as connection:
                connection.execute(INSERT_KEY, _new_row(key, request_hash, now))
            return KeyLease(key, now, now)
        except IntegrityError:
            taken = _take_over(engine, key, request_hash, now)
        if taken is not None:
            return taken
    raise RequestInProgress


def _new_row(key: str, request_hash: str, now: datetime) -> Json:
    return {
        "k_id": key,
        "k_request_hash": request_hash,
        "k_create_time": now,
        "k_taken_at": now,
        "k_leased_until": lease_end(now),
    }


def _take_over(engine: Engine, key: str, request_hash: str, now: datetime) -> KeyLease | StoredAnswer | None:
    """Take the lease on a key that has a row.

    :returns: None if another request has just deleted or taken the key
    """
    oldest = now - KEY_LIFETIME
    with engine.connect() as connection:
        row = connection.execute(SELECT_KEY, {"of_key": key}).first()
        if row is None:
            return None
        if is_leased(row.leased_until, now):
            raise RequestInProgress if row.request_hash == request_hash else IdempotencyKeyReused
        lease = KeyLease(key, now, now)
        message_id = None
        if row.create_time >= oldest:
            if row.request_hash != request_hash:
                raise IdempotencyKeyReused
            if row.status is not None:
                return StoredAnswer(row.status, row.content_type, row.body)
            lease = KeyLease(key, now, row.create_time, is_repeat=True, conversation_id=row.conversation_id)
            message_id = row.message_id
        parameters = {
            "of_key": key,
            "of_taken_at": row.taken_at,
            **lease_parameters(now),
            "oldest": oldest,
            "k_request_hash": request_hash,
            "k_message_id": message_id,
            "k_create_time": lease.first_taken_at,
            "k_leased_until": lease_end(now),
        }
        return lease if connection.execute(UPDATE_TAKEN_OVER, parameters).rowcount else None


def renew_keys(engine: Engine, leases: Iterable[KeyLease]) -> None:
    """Renew the leases of running requests, in one transaction."""
    until = lease_end()
    write_rows(engine, UPDATE_LEASE, [{**lease.condition, "k_leased_until": until} for lease in leases])


def note_turn(engine: Engine, lease: KeyLease, message_id: str) -> None:
    """Store which turn the request has begun.

    :param message_id: 32 hex digits
    """
    with engine.connect() as connection:
        connection.execute(UPDATE_TURN, {**lease.condition, "k_message_id": message_id})
    lease.has_turn = True


def store_answer(connection: Connection, lease: KeyLease, answer: StoredAnswer) -> None:
    """Store the answer of a request that has succeeded, and release the lease.

    If the lease was lost, because the process stood still for longer than LEASE_S, nothing is stored.
    """
    connection.execute(UPDATE_ANSWER, answer_parameters(lease, answer))


def answer_parameters(lease: KeyLease, answer: StoredAnswer) -> Json:
    """The parameters of `UPDATE_ANSWER`."""
    parameters = {"k_status": answer.status, "k_content_type": answer.content_type, "k_body": answer.body}
    return {**lease.condition, **parameters}


def release_key(engine: Engine, lease: KeyLease) -> None:
    """Release the lease without an answer. A repeated request is carried out, and knows that it is a repeat."""
    with engine.connect() as connection:
        connection.execute(UPDATE_RELEASED, lease.condition)


def delete_key(engine: Engine, lease: KeyLease) -> None:
    """Delete the key of a request that has done nothing. The key is free again, for any request."""
    with engine.connect() as connection:
        connection.execute(DELETE_KEY, lease.condition)


def delete_expired_keys(engine: Engine) -> int:
    """Delete at most ROWS_PER_DELETE keys that are older than KEY_LIFETIME.

    The ids are read first, because PostgreSQL and SQLite have no DELETE with a LIMIT. A DELETE by primary keys also
    locks no other rows on MySQL.

    :returns: how many rows were found
    """
    oldest = {"oldest": utc_now() - KEY_LIFETIME}
    with engine.connect() as connection:
        expired = connection.scalars(SELECT_EXPIRED, oldest).all()
        if expired:
            connection.execute(DELETE_EXPIRED, {**oldest, "keys": expired})
    return len(expired)
