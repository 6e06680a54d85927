"""Keys of requests in the database: always on SQLite; on PostgreSQL and MariaDB if they run on this machine."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select, update

from route_api.errors import IdempotencyKeyReused, RequestInProgress
from route_api.storage import idempotency
from route_api.storage.conversations import delete_conversations
from route_api.storage.idempotency import (
    KEY_LIFETIME,
    KeyLease,
    StoredAnswer,
    delete_expired_keys,
    delete_key,
    note_turn,
    release_key,
    renew_keys,
    store_answer,
    take_key,
)
from route_api.storage.models import IdempotentRequest, utc_now
from route_api.storage.turns import DifyConversation, NewTurn, TurnEnd, begin_turn, finish_turn

from ..support import databases
from ..support.pgbouncer import database_or_pooler_url
from ..support.stored import count_rows

database_url, migrated, engine = database_or_pooler_url, databases.migrated, databases.engine

KEY, OTHER_KEY = "k" * 64, "K" * 64
HASH, OTHER_HASH = "h" * 64, "o" * 64
ANSWER = StoredAnswer(200, "application/json", '{"答": "😀"}')
A_SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def no_keys(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(delete(IdempotentRequest))


def take(engine: Engine, key: str = KEY, request_hash: str = HASH) -> KeyLease:
    taken = take_key(engine, key, request_hash)
    assert isinstance(taken, KeyLease)
    return taken


def change(engine: Engine, **columns: Any) -> None:
    with engine.connect() as connection:
        connection.execute(update(IdempotentRequest).values(**columns))


def die(engine: Engine) -> None:
    """Let the lease expire, as if its process had died."""
    change(engine, leased_until=utc_now() - A_SECOND)


def store(engine: Engine, lease: KeyLease, answer: StoredAnswer = ANSWER) -> None:
    with engine.connect() as connection:
        store_answer(connection, lease, answer)


def test_of_many_requests_at_once_one_is_carried_out(engine: Engine) -> None:
    def try_to_take(_: int) -> str:
        try:
            return type(take_key(engine, KEY, HASH)).__name__
        except RequestInProgress:
            return "in progress"

    with ThreadPoolExecutor(8) as pool:
        outcomes = sorted(pool.map(try_to_take, range(8)))
    assert outcomes == ["KeyLease", *["in progress"] * 7]


def test_of_many_repeats_after_a_crash_one_is_carried_out(engine: Engine) -> None:
    take(engine)
    die(engine)

    def try_to_take(_: int) -> bool:
        try:
            return bool(take(engine).is_repeat)
        except RequestInProgress:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(try_to_take, range(8))) == [False] * 7 + [True]


def test_a_success_is_stored_and_given_again(engine: Engine) -> None:
    store(engine, take(engine))
    assert take_key(engine, KEY, HASH) == ANSWER
    assert take(engine, OTHER_KEY).is_repeat is False


@pytest.mark.parametrize("is_stored", [False, True])
def test_other_parameters_are_refused_while_it_runs_and_after_it(engine: Engine, is_stored: bool) -> None:
    lease = take(engine)
    if is_stored:
        store(engine, lease)
    with pytest.raises(IdempotencyKeyReused):
        take_key(engine, KEY, OTHER_HASH)


def test_after_a_failure_a_repeat_knows_when_the_first_try_was(engine: Engine) -> None:
    first = take(engine)
    release_key(engine, first)
    second = take(engine)
    assert (second.is_repeat, second.first_taken_at) == (True, first.taken_at)
    assert second.taken_at > first.taken_at
    with pytest.raises(RequestInProgress):
        take_key(engine, KEY, HASH)


def test_a_request_that_did_nothing_frees_its_key_for_any_other(engine: Engine) -> None:
    delete_key(engine, take(engine))
    assert take(engine, request_hash=OTHER_HASH).is_repeat is False


def test_a_renewed_lease_holds_and_one_that_has_ended_is_not_renewed(engine: Engine) -> None:
    lease = take(engine)
    die(engine)
    renew_keys(engine, [lease])
    with pytest.raises(RequestInProgress):
        take_key(engine, KEY, HASH)
    release_key(engine, lease)
    renew_keys(engine, [lease])
    assert take(engine).is_repeat is True


def test_a_process_that_has_lost_its_lease_changes_nothing(engine: Engine) -> None:
    slow = take(engine)
    die(engine)
    new = take(engine)
    store(engine, slow)
    renew_keys(engine, [slow])
    delete_key(engine, slow)
    release_key(engine, slow)
    with pytest.raises(RequestInProgress):
        take_key(engine, KEY, HASH)
    store(engine, new, StoredAnswer(200, "text/plain", "new"))
    assert take_key(engine, KEY, HASH) == StoredAnswer(200, "text/plain", "new")


def test_after_a_day_a_key_is_as_new_also_if_its_row_is_still_there(engine: Engine) -> None:
    store(engine, take(engine))
    change(engine, create_time=utc_now() - KEY_LIFETIME - A_SECOND)
    lease = take(engine, request_hash=OTHER_HASH)
    assert (lease.is_repeat, lease.first_taken_at) == (False, lease.taken_at)
    store(engine, lease)
    assert take_key(engine, KEY, OTHER_HASH) == ANSWER


def test_expired_keys_are_deleted_in_small_batches(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        take(engine, f"{number:064d}")
    change(engine, create_time=utc_now() - KEY_LIFETIME - A_SECOND)
    take(engine, OTHER_KEY)
    monkeypatch.setattr(idempotency, "SELECT_EXPIRED", idempotency.SELECT_EXPIRED.limit(3))
    assert [delete_expired_keys(engine) for _ in range(3)] == [3, 2, 0]
    with engine.connect() as connection:
        assert connection.scalars(select(IdempotentRequest.id)).all() == [OTHER_KEY]


# ------------------------------------------------------------------ turns


def test_the_answer_of_a_turn_is_stored_with_its_end(engine: Engine) -> None:
    for dify_conversation in (None, DifyConversation("app", "c" * 36, 1)):
        lease = take(engine)
        turn = begin_turn(engine, NewTurn("alice", "问", "chat"))
        note_turn(engine, lease, turn.message_id)
        finish_turn(engine, turn, TurnEnd("答", "done", None, dify_conversation, for_repeats=(lease, ANSWER)))
        assert lease.is_stored and take_key(engine, KEY, HASH) == ANSWER
        following = begin_turn(engine, NewTurn("alice", "再", "chat", turn.conversation_id))
        assert following.dify_conversation == dify_conversation
        delete_key(engine, lease)


def test_a_repeat_after_a_failed_turn_finds_its_conversation(engine: Engine) -> None:
    lease = take(engine)
    turn = begin_turn(engine, NewTurn("alice", "问", "chat"))
    note_turn(engine, lease, turn.message_id)
    finish_turn(engine, turn, TurnEnd("", "failed", "dify_unreachable", None))
    release_key(engine, lease)
    assert take(engine).conversation_id == turn.conversation_id


def test_a_deleted_conversation_takes_the_stored_answers_with_it(engine: Engine) -> None:
    lease = take(engine)
    turn = begin_turn(engine, NewTurn("alice", "问", "chat"))
    note_turn(engine, lease, turn.message_id)
    finish_turn(engine, turn, TurnEnd("答", "done", None, None, for_repeats=(lease, ANSWER)))
    store(engine, take(engine, OTHER_KEY))
    delete_conversations(engine, "alice", [turn.conversation_id])
    assert count_rows(engine, IdempotentRequest) == (1,)
    assert take(engine).is_repeat is False
