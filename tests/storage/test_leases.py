"""Leases and the clock: always on SQLite; on PostgreSQL and MariaDB if they run on this machine."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, update

from route_api.errors import ConversationBusy, RequestInProgress
from route_api.storage.conversations import delete_conversations
from route_api.storage.idempotency import KeyLease, take_key
from route_api.storage.leases import CLOCK_DIFFERENCE_S
from route_api.storage.models import IdempotentRequest, Message, utc_now
from route_api.storage.turns import NewTurn, TurnRow, begin_turn, status_of

from ..support import databases

database_url, migrated, engine = databases.database_url, databases.migrated, databases.engine

AN_HOUR_AHEAD = timedelta(hours=1)
"""How far a lease ends in the future if the clock was set back by an hour after a process took it and died."""

MINUTES_AHEAD = timedelta(seconds=CLOCK_DIFFERENCE_S)
"""How far a lease ends in the future if a host took it whose clock is ahead."""


def begin(engine: Engine, conversation_id: str | None = None) -> TurnRow:
    return begin_turn(engine, NewTurn("alice", "葫芦庙在哪里？", "chat", conversation_id))


def lease_ends_in(engine: Engine, table: Any, time: timedelta) -> None:
    with engine.connect() as connection:
        connection.execute(update(table).values(leased_until=utc_now() + time))


def continue_conversation(engine: Engine, conversation_id: str) -> None:
    assert begin(engine, conversation_id).position == 2


def delete_conversation(engine: Engine, conversation_id: str) -> None:
    delete_conversations(engine, "alice", [conversation_id])


@pytest.mark.parametrize("change", [continue_conversation, delete_conversation])
def test_a_lease_from_before_the_clock_was_set_back_locks_no_conversation(
    engine: Engine, change: Callable[[Engine, str], None]
) -> None:
    turn = begin(engine)
    lease_ends_in(engine, Message, MINUTES_AHEAD)
    with pytest.raises(ConversationBusy):
        change(engine, turn.conversation_id)
    lease_ends_in(engine, Message, AN_HOUR_AHEAD)
    change(engine, turn.conversation_id)


def test_a_lease_from_before_the_clock_was_set_back_locks_no_idempotency_key(engine: Engine) -> None:
    key, request_hash = "k" * 64, "h" * 64
    take_key(engine, key, request_hash)
    lease_ends_in(engine, IdempotentRequest, MINUTES_AHEAD)
    with pytest.raises(RequestInProgress):
        take_key(engine, key, request_hash)
    lease_ends_in(engine, IdempotentRequest, AN_HOUR_AHEAD)
    taken = take_key(engine, key, request_hash)
    assert isinstance(taken, KeyLease) and taken.is_repeat


def test_a_turn_with_such_a_lease_is_shown_as_interrupted() -> None:
    assert status_of({"status": "pending"}, utc_now() + MINUTES_AHEAD) == ("pending", None)
    assert status_of({"status": "pending"}, utc_now() + AN_HOUR_AHEAD) == ("failed", "interrupted")
