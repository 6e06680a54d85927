"""The three tables of the owner's document 000, and the columns that Route API needs besides.

`query` and `response` are long text where the document has 4,096 characters: models that think write more, and a strict
MySQL would refuse the answer. Ids are UUIDs as 32 hex digits, as the document's `String(32)` says.
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
"""Emoji, and ids that differ in case only are two ids: MySQL's usual collation would take Alice for alice."""


def new_id() -> str:
    """A fresh id for a row: a random UUID, 32 hex digits."""
    return uuid4().hex


def dashed(hex_id: str) -> str:
    """The id of a row as the API shows it, and as Dify writes ids: with dashes."""
    return f"{hex_id[:8]}-{hex_id[8:12]}-{hex_id[12:16]}-{hex_id[16:20]}-{hex_id[20:]}"


def utc_now() -> datetime:
    """Now, in UTC, without a time zone: what all three databases store alike."""
    return datetime.now(UTC).replace(tzinfo=None)


class User(Base):
    """A person on the caller's side; the row appears with the first turn of a `user_id`, or when somebody registers."""

    __tablename__ = "user"
    __table_args__ = (UTF8MB4,)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    username: Mapped[str | None] = mapped_column(String(255), unique=True)
    password_hash: Mapped[str | None] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(16), server_default="user")
    """`user`, or `admin`: may change knowledge bases."""
    login_generation: Mapped[int] = mapped_column(Integer, server_default="0")
    """Tokens of an earlier generation are refused: raising it signs the user out on all devices."""

    conversations: Mapped[list["Conversation"]] = relationship(back_populates="user", passive_deletes=True)


class Conversation(Base):
    """A thread of turns of one user about the same knowledge bases, or about none.

    The index holds all that a page of the list is chosen, ordered and counted by, so that no row is read for it.
    """

    __tablename__ = "conversation"
    __table_args__ = (Index(None, "user_id", "create_time", "id", "chat_type"), UTF8MB4)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(50))
    chat_type: Mapped[str] = mapped_column(String(50))
    create_time: Mapped[datetime] = mapped_column(TIME, default=utc_now)
    kb_id: Mapped[str | None] = mapped_column(String(400))
    """The ids of its knowledge bases, comma-joined; ten at the most."""
    dify_conversation_id: Mapped[str | None] = mapped_column(String(36))
    backend: Mapped[str | None] = mapped_column("carrier", String(64))
    """The backend that asked Dify in the last turn (`chat/backends.py`); Dify's conversation belongs to it alone."""
    dify_since: Mapped[int | None] = mapped_column(Integer)
    """Position of the first turn that Dify's own conversation holds."""

    user: Mapped[User] = relationship(back_populates="conversations")
    messages: Mapped[list["Message"]] = relationship(
        back_populates="conversation", passive_deletes=True, order_by="Message.position"
    )


class Message(Base):
    """One turn: the question and what was answered.

    `position` counts the turns of a conversation from 1. Times cannot order them: two turns may have the same second.
    The row is also the lease on its conversation: while `leased_until` lies ahead, a process is writing the answer.
    Two turns that start at once take the same position, and the unique constraint lets only one of them in.
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


LAST_POSITION = (
    select(func.max(Message.position))
    .where(Message.conversation_id == Conversation.id)
    .correlate(Conversation)
    .scalar_subquery()
)
"""Within a query on conversations: the position of each one's last message, the end of an index on all databases."""

IS_LAST = and_(Message.conversation_id == Conversation.id, Message.position == LAST_POSITION)
"""Joins conversations with their last messages. ORDER BY position LIMIT 1 would make PostgreSQL sort all of them."""
