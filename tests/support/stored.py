"""Inserts rows as the gateway stores them, for tests that read and change a history."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, func, insert, select
from sqlalchemy.exc import IntegrityError

from route_api.storage.models import Conversation, Message, User, new_id, utc_now

KB = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"
OTHER_KB = "02e54617-65ef-435f-815a-85ed6579e634"
A_MINUTE = timedelta(minutes=1)


def add_conversation(engine: Engine, user_id: str = "alice", **columns: Any) -> str:
    """Insert a conversation without messages, and its user.

    :returns: the conversation's id, 32 hex digits
    """
    row = {"id": new_id(), "name": "名字", "chat_type": "chat", "create_time": utc_now(), **columns}
    with engine.connect() as connection:
        try:
            connection.execute(insert(User).values(id=user_id))
        except IntegrityError:
            pass  # The user has another conversation already.
        connection.execute(insert(Conversation).values(user_id=user_id, **row))
    return str(row["id"])


def add_message(engine: Engine, conversation_id: str, position: int = 1, **columns: Any) -> str:
    """Insert a turn with the status done, unless `columns` say otherwise.

    :returns: the message's id, 32 hex digits
    """
    row = {
        "id": new_id(),
        "chat_type": "chat",
        "query": f"第{position}个问题",
        "response": f"第{position}个回答",
        "meta_data": {"status": "done"},
        "create_time": utc_now(),
        **columns,
    }
    with engine.connect() as connection:
        connection.execute(insert(Message).values(conversation_id=conversation_id, position=position, **row))
    return str(row["id"])


def add_running(engine: Engine, conversation_id: str, position: int = 1, **meta_data: Any) -> str:
    """Insert a running turn.

    :returns: the message's id, 32 hex digits
    """
    pending = {"status": "pending", **meta_data}
    return add_message(
        engine, conversation_id, position, response="", meta_data=pending, leased_until=utc_now() + A_MINUTE
    )


def moments(count: int) -> list[datetime]:
    """Times at intervals of one second; the last is now."""
    return [utc_now() - timedelta(seconds=count - 1 - number) for number in range(count)]


def count_rows(engine: Engine, *tables: Any) -> tuple[int, ...]:
    with engine.connect() as connection:
        return tuple(connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables)
