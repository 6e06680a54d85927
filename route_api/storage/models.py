"""The three tables of the API document 000, with the additional columns that Route API needs, and tables of ours.

The document limits `query` and `response` to 4,096 characters. Here they are long text: the answer of a reasoning model
may be longer, and MySQL in strict mode would reject it. Ids are UUIDs of 32 hex digits, because the document has
`String(32)`.
"""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    JSON,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    and_,
    func,
    select,
)
from sqlalchemy.dialects.mysql import DATETIME, LONGTEXT
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ..extensions import Base

LONG_TEXT = Text().with_variant(LONGTEXT(), "mysql", "mariadb")
TIME = DateTime().with_variant(DATETIME(fsp=6), "mysql", "mariadb")
UTF8MB4 = {
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}
"""Allows emoji, and compares text by bytes. MySQL's default collation takes the ids `Alice` and `alice` for equal."""


def new_id() -> str:
    """A new id for a row: a random UUID, 32 hex digits."""
    return uuid4().hex


def dashed(hex_id: str) -> str:
    """The id of a row with dashes, as the API shows ids and as Dify writes them."""
    return f"{hex_id[:8]}-{hex_id[8:12]}-{hex_id[12:16]}-{hex_id[16:20]}-{hex_id[20:]}"


def utc_now() -> datetime:
    """The current time in UTC, without a time zone: the form that all three databases store alike."""
    return datetime.now(UTC).replace(tzinfo=None)


class User(Base):
    """A user. The row is inserted with the first turn of a `user_id`, or by a registration."""

    __tablename__ = "user"
    __table_args__ = (UTF8MB4,)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    username: Mapped[str | None] = mapped_column(String(255), unique=True)
    password_hash: Mapped[str | None] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(16), server_default="user")
    """`user` or `admin`. An admin may change knowledge bases."""
    login_generation: Mapped[int] = mapped_column(Integer, server_default="0")
    """Tokens of an earlier generation are rejected. A higher number ends all logins of the user."""

    conversations: Mapped[list["Conversation"]] = relationship(back_populates="user", passive_deletes=True)


class Conversation(Base):
    """A series of turns of one user about the same knowledge bases, or about none.

    The index has all columns that select, order and count the rows of a list, so these steps read the index alone.
    """

    __tablename__ = "conversation"
    __table_args__ = (Index(None, "user_id", "create_time", "id", "chat_type"), UTF8MB4)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(50))
    chat_type: Mapped[str] = mapped_column(String(50))
    create_time: Mapped[datetime] = mapped_column(TIME, default=utc_now)
    kb_id: Mapped[str | None] = mapped_column(String(400))
    """The ids of its knowledge bases, joined with commas; at most ten."""
    dify_conversation_id: Mapped[str | None] = mapped_column(String(36))
    backend: Mapped[str | None] = mapped_column("carrier", String(64))
    """The backend that created the conversation on Dify (`chat/backends.py`). No other backend can continue it."""
    dify_since: Mapped[int | None] = mapped_column(Integer)
    """The position of the first turn that the conversation on Dify contains."""
    dify_form: Mapped[str | None] = mapped_column(String(64))
    """A hash of the variables that the app declared when the conversation on Dify began (`prompts/variables.py`),
    because Dify keeps it on them. Null: not known, from before this column; or the debugger, which needs none."""
    dify_model: Mapped[str | None] = mapped_column(String(255))
    """The model that the app ran then; null: not known."""

    user: Mapped[User] = relationship(back_populates="conversations")
    messages: Mapped[list["Message"]] = relationship(
        back_populates="conversation", passive_deletes=True, order_by="Message.position"
    )


class Message(Base):
    """One turn: the question and its answer.

    `position` counts the turns of a conversation from 1. Times cannot order the turns, because two may be equal.

    The row is also the lease on its conversation (`leases.py`): while the lease is valid, a process writes the answer.
    Two turns that start at the same moment use the same position, and the unique constraint rejects one of them.
    """

    __tablename__ = "message"
    __table_args__ = (UniqueConstraint("conversation_id", "position"), UTF8MB4)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversation.id", ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(Integer)
    chat_type: Mapped[str] = mapped_column(String(50))
    query: Mapped[str] = mapped_column(LONG_TEXT)
    response: Mapped[str] = mapped_column(LONG_TEXT, default="")
    meta_data: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    feedback_score: Mapped[int | None] = mapped_column(Integer)
    feedback_reason: Mapped[str | None] = mapped_column(String(255))
    create_time: Mapped[datetime] = mapped_column(TIME, default=utc_now)
    leased_until: Mapped[datetime | None] = mapped_column("claimed_until", TIME)
    dify_message_id: Mapped[str | None] = mapped_column(String(36))

    conversation: Mapped[Conversation] = relationship(back_populates="messages")


class ConsoleRefusal(Base):
    """A login to Dify's console that Dify has refused, or that a process is trying now. It is not tried again, because
    Dify counts wrong passwords."""

    __tablename__ = "console_refusal"
    __table_args__ = (UTF8MB4,)

    login_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    """A hash of Dify's address, the e-mail and the password."""
    refused_at: Mapped[datetime] = mapped_column(TIME, default=utc_now)
    """When Dify refused the login, or when the process began to try it."""
    retry_at: Mapped[datetime | None] = mapped_column(TIME)
    """When the login may be tried; null: not at all, because Dify refused the password."""


class IdempotentRequest(Base):
    """A request with the header Idempotency-Key, and its answer, so that a repeated request gets the same answer.

    The row is also the lease on the key (`leases.py`): while the lease is valid, a process carries out the request. A
    request that failed leaves a row without a status and without a lease if it may have done something.
    """

    __tablename__ = "idempotent_request"
    __table_args__ = (Index(None, "create_time"), Index(None, "message_id"), UTF8MB4)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """A hash of the caller, the endpoint, the user and the key."""
    request_hash: Mapped[str] = mapped_column(String(64))
    """A hash of the parameters. A second request with the same key must have the same parameters."""
    message_id: Mapped[str | None] = mapped_column(ForeignKey("message.id", ondelete="CASCADE"))
    """The turn that the request began. The stored answer is deleted together with the turn."""
    status: Mapped[int | None] = mapped_column(Integer)
    content_type: Mapped[str | None] = mapped_column(String(100))
    body: Mapped[str | None] = mapped_column(LONG_TEXT)
    create_time: Mapped[datetime] = mapped_column(TIME, default=utc_now)
    """When the first request with this key came in."""
    taken_at: Mapped[datetime] = mapped_column(TIME)
    """When the last request took the lease. A process that has lost its lease finds another time here."""
    leased_until: Mapped[datetime | None] = mapped_column(TIME)


class StopRequest(Base):
    """A call of `conversation/stop`. The process that runs the turn reads these rows once a second.

    A column of the message would not do: that process overwrites the columns of the message while the answer arrives.
    """

    __tablename__ = "stop_request"
    __table_args__ = (UTF8MB4,)

    message_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    create_time: Mapped[datetime] = mapped_column(TIME, default=utc_now)


class NameClaim(Base):
    """A claim on the name of a document, for as long as an upload with this name runs (`name_claims.py`)."""

    __tablename__ = "name_claim"
    __table_args__ = (UTF8MB4,)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """A hash of the kb and of the name, in a form in which names are equal that a Dify may take for equal."""
    name_hash: Mapped[str] = mapped_column(String(64))
    """A hash of the name itself."""
    owner: Mapped[str] = mapped_column(String(32))
    """A random id of the claim. An upload that has lost its lease finds another one here."""
    leased_until: Mapped[datetime] = mapped_column(TIME)


class DocumentLock(Base):
    """A document that Dify refuses to switch, because a mark of its last switch is left (`document_locks.py`)."""

    __tablename__ = "document_lock"
    __table_args__ = (Index(None, "kb_id"), UTF8MB4)

    document_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    """Dify's id."""
    kb_id: Mapped[str] = mapped_column(String(36))
    locked_until: Mapped[datetime] = mapped_column(TIME)
    """The latest time at which Dify forgets the mark."""


LAST_POSITION = (
    select(func.max(Message.position))
    .where(Message.conversation_id == Conversation.id)
    .correlate(Conversation)
    .scalar_subquery()
)
"""In a query on conversations: the position of the last message of each. All databases read it from an index."""

IS_LAST = and_(Message.conversation_id == Conversation.id, Message.position == LAST_POSITION)
"""Joins each conversation with its last message. `ORDER BY position LIMIT 1` makes PostgreSQL sort all messages."""
