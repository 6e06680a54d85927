"""Turns in the database: always on SQLite; on PostgreSQL and MariaDB if they run on this machine."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine, func, inspect, select, update

from route_api.errors import ConversationBusy, ConversationNotFound
from route_api.extensions import db
from route_api.storage import turns
from route_api.storage.models import Conversation, Message, User, utc_now
from route_api.storage.turns import (
    DifyConversation,
    NewTurn,
    TurnEnd,
    TurnRow,
    begin_turn,
    finish_turn,
    past_turns,
    progress_of,
    store_progress,
)

from ..support import databases
from ..support.pgbouncer import database_or_pooler_url

database_url, migrated, engine = database_or_pooler_url, databases.migrated, databases.engine
KB = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"
OTHER_KB = "02e54617-65ef-435f-815a-85ed6579e634"


def begin(engine: Engine, user_id: str = "alice", **given: Any) -> TurnRow:
    return begin_turn(engine, NewTurn(**{"user_id": user_id, "query": "葫芦庙在哪里？", "chat_type": "chat", **given}))


def finish(
    engine: Engine,
    turn: TurnRow,
    response: str = "",
    status: str = "done",
    dify_conversation: DifyConversation | None = None,
    dify_message_id: str | None = None,
) -> None:
    finish_turn(engine, turn, TurnEnd(response, status, None, dify_conversation, dify_message_id))


def die(engine: Engine, turn: TurnRow) -> None:
    """Let the lease of a turn expire, as if its process had died."""
    past = utc_now() - timedelta(seconds=1)
    with engine.connect() as connection:
        connection.execute(update(Message).where(Message.id == turn.message_id).values(leased_until=past))


def row(engine: Engine, message_id: str) -> Any:
    with engine.connect() as connection:
        return connection.execute(select(Message.__table__).where(Message.id == message_id)).one()


def count(engine: Engine, table: Any) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


# ------------------------------------------------------------------ migrations


def test_the_columns_are_those_of_the_owners_document(migrated: Flask) -> None:
    with migrated.app_context():
        tables = inspect(db.engine)
        columns = {name: {column["name"] for column in tables.get_columns(name)} for name in tables.get_table_names()}
    assert {"id", "username", "password_hash"} <= columns["user"]
    assert {"id", "user_id", "name", "chat_type", "create_time"} <= columns["conversation"]
    asked = {"query", "response", "meta_data", "feedback_score", "feedback_reason", "create_time", "chat_type"}
    assert {"id", "conversation_id", *asked} <= columns["message"]


# ------------------------------------------------------------------ a turn


def test_the_question_is_stored_before_the_answer(engine: Engine) -> None:
    turn = begin(engine, query="问" * 10_000 + "😀", kb_id=KB, options={"kb_ids": [KB]})
    stored = row(engine, turn.message_id)
    assert (stored.query, stored.response, stored.position) == ("问" * 10_000 + "😀", "", 1)
    assert stored.meta_data == {"status": "pending", "kb_ids": [KB]}
    assert stored.claimed_until > utc_now()


def test_the_answer_ends_the_lease_and_keeps_difys_ids(engine: Engine) -> None:
    turn = begin(engine)
    on_dify = DifyConversation("app", KB, 1)
    finish(engine, turn, "答" * 70_000, dify_conversation=on_dify, dify_message_id=OTHER_KB)
    stored = row(engine, turn.message_id)
    assert (stored.response, stored.claimed_until, stored.dify_message_id) == ("答" * 70_000, None, OTHER_KB)
    assert stored.meta_data["status"] == "done"
    second = begin(engine, conversation_id=turn.conversation_id)
    assert (second.is_first, second.position, second.dify_conversation) == (False, 2, on_dify)
    assert second.last_dify_message_id == OTHER_KB


def test_a_user_appears_once_however_many_conversations_there_are(engine: Engine) -> None:
    for _ in range(3):
        begin(engine)
    begin(engine, "bob")
    assert (count(engine, User), count(engine, Conversation)) == (2, 4)


def test_user_ids_that_differ_in_case_are_two_people(engine: Engine) -> None:
    turn = begin(engine, "Alice")
    begin(engine, "alice")
    assert count(engine, User) == 2
    with pytest.raises(ConversationNotFound):
        begin(engine, "alice", conversation_id=turn.conversation_id)


def test_a_conversation_is_named_after_its_first_question(engine: Engine) -> None:
    begin(engine, query="  葫芦庙\n在 哪里？" + "长" * 80)
    begin(engine, "bob", name="给定的名字")
    with engine.connect() as connection:
        names = set(connection.scalars(select(Conversation.name)))
    assert names == {("葫芦庙 在 哪里？" + "长" * 80)[:50], "给定的名字"}


# ------------------------------------------------------------------ one turn at a time


def test_a_second_message_while_one_runs_is_refused(engine: Engine) -> None:
    turn = begin(engine)
    with pytest.raises(ConversationBusy):
        begin(engine, conversation_id=turn.conversation_id)
    assert count(engine, Message) == 1


@pytest.mark.parametrize("status", ["done", "failed", "stopped"])
def test_a_turn_that_has_ended_lets_the_next_one_in(engine: Engine, status: str) -> None:
    turn = begin(engine)
    finish(engine, turn, status=status)
    assert not begin(engine, conversation_id=turn.conversation_id).is_first


def test_the_lease_of_a_process_that_died_ends_by_itself_and_its_turn_says_so(engine: Engine) -> None:
    turn = begin(engine)
    store_progress(engine, [progress_of(turn, "说到一", None)])
    die(engine, turn)
    second = begin(engine, conversation_id=turn.conversation_id)
    assert second.position == 2
    stored = row(engine, turn.message_id)
    assert (stored.response, stored.claimed_until) == ("说到一", None)
    assert (stored.meta_data["status"], stored.meta_data["reason"]) == ("failed", "interrupted")


def test_a_process_that_was_slow_and_not_dead_keeps_its_answer(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    turn = begin(engine)
    die(engine, turn)
    mark = turns._interrupted_parameters

    def while_the_other_completes(last: Any) -> Any:
        finish(engine, turn, "全部")
        return mark(last)

    monkeypatch.setattr(turns, "_interrupted_parameters", while_the_other_completes)
    begin(engine, conversation_id=turn.conversation_id)
    stored = row(engine, turn.message_id)
    assert (stored.response, stored.meta_data) == ("全部", {"status": "done"})


def test_progress_is_stored_and_renews_the_lease(engine: Engine) -> None:
    begun = [begin(engine), begin(engine)]
    for turn in begun:
        die(engine, turn)
    store_progress(engine, [progress_of(turn, f"部分{number}", "t") for number, turn in enumerate(begun)])
    for number, turn in enumerate(begun):
        stored = row(engine, turn.message_id)
        assert (stored.response, stored.meta_data) == (f"部分{number}", {"status": "pending", "task_id": "t"})
        with pytest.raises(ConversationBusy):
            begin(engine, conversation_id=turn.conversation_id)


def test_progress_that_comes_late_changes_nothing(engine: Engine) -> None:
    turn = begin(engine)
    late = progress_of(turn, "部分", None)
    finish(engine, turn, "全部")
    store_progress(engine, [late])
    stored = row(engine, turn.message_id)
    assert (stored.response, stored.claimed_until, stored.meta_data["status"]) == ("全部", None, "done")


def test_of_two_messages_at_the_same_time_one_wins(engine: Engine) -> None:
    turn = begin(engine)
    finish(engine, turn)
    results = at_once(8, lambda: begin(engine, conversation_id=turn.conversation_id))
    assert sorted(isinstance(result, TurnRow) for result in results) == [False] * 7 + [True]
    assert {type(result) for result in results} == {TurnRow, ConversationBusy}
    assert count(engine, Message) == 2


def test_the_first_turns_of_one_user_at_the_same_time_all_go_well(engine: Engine) -> None:
    results = at_once(8, lambda: begin(engine, "new"))
    assert {type(result) for result in results} == {TurnRow}
    assert (count(engine, User), count(engine, Conversation), count(engine, Message)) == (1, 8, 8)


def at_once(how_many: int, ask: Callable[[], TurnRow]) -> list[Any]:
    """Call `ask` in several threads at the same time, and return the turns and errors."""

    def attempt(_: int) -> Any:
        try:
            return ask()
        except Exception as error:
            return error

    with ThreadPoolExecutor(how_many) as pool:
        return list(pool.map(attempt, range(how_many)))


# ------------------------------------------------------------------ user and kb of a conversation


def test_a_conversation_of_another_user_is_not_found(engine: Engine) -> None:
    turn = begin(engine)
    finish(engine, turn)
    for conversation_id in (turn.conversation_id, "0" * 32):
        with pytest.raises(ConversationNotFound):
            begin(engine, "mallory", conversation_id=conversation_id)
    assert count(engine, Message) == 1


def test_another_kb_starts_a_conversation_and_the_same_one_goes_on(engine: Engine) -> None:
    turn = begin(engine, kb_id=KB)
    finish(engine, turn, dify_conversation=DifyConversation("app", KB, 1))
    other = begin(engine, kb_id=OTHER_KB, conversation_id=turn.conversation_id)
    assert (other.is_first, other.dify_conversation) == (True, None)
    same = begin(engine, kb_id=KB, conversation_id=turn.conversation_id)
    assert (same.is_first, same.conversation_id) == (False, turn.conversation_id)


def test_a_conversation_moves_on_dify_and_may_leave_it(engine: Engine) -> None:
    turn = begin(engine)
    for on_dify in (DifyConversation("app", KB, 1), DifyConversation("debugger", OTHER_KB, 2), None):
        finish(engine, turn, dify_conversation=on_dify)
        turn = begin(engine, conversation_id=turn.conversation_id)
        assert turn.dify_conversation == on_dify


def test_a_turn_whose_process_died_is_not_continued_on_dify(engine: Engine) -> None:
    """Dify has an empty answer there, so the next turn begins a new conversation on Dify with our history."""
    turn = begin(engine)
    finish(engine, turn, "答", dify_conversation=DifyConversation("app", KB, 1))
    turn = begin(engine, conversation_id=turn.conversation_id)
    store_progress(engine, [progress_of(turn, "部分", "task")])
    die(engine, turn)
    following = begin(engine, conversation_id=turn.conversation_id)
    assert following.dify_conversation is None
    assert [past.response for past in past_turns(engine, following, before=3, maximum=10)] == ["部分", "答"]
    finish(engine, following, "答", dify_conversation=None)
    assert begin(engine, conversation_id=turn.conversation_id).dify_conversation is None


# ------------------------------------------------------------------ history


def test_past_turns_come_latest_first_without_the_ones_that_failed_before_their_first_word(engine: Engine) -> None:
    turn = begin(engine, query="问1")
    for number, status in enumerate(["done", "failed", "stopped", "done"], start=2):
        finish(engine, turn, "" if status == "failed" else f"答{number - 1}", status)
        turn = begin(engine, conversation_id=turn.conversation_id, query=f"问{number}")
    rows = past_turns(engine, turn, before=turn.position, maximum=10)
    assert [(past.query, past.response) for past in rows] == [("问4", "答4"), ("问3", "答3"), ("问1", "答1")]
    assert [past.position for past in past_turns(engine, turn, before=3, maximum=10)] == [1]
    assert [past.position for past in past_turns(engine, turn, before=turn.position, maximum=3)] == [4, 3, 1]
