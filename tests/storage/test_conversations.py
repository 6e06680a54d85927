"""Histories in the database: always on SQLite; on PostgreSQL and MariaDB if they run on this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import Engine, delete, event, select

from route_api.errors import ConversationBusy, ConversationNotFound, MessageNotFound
from route_api.extensions import db
from route_api.presenters.conversation import conversation_row
from route_api.presenters.message import message_row
from route_api.storage import conversations, messages
from route_api.storage.conversations import (
    delete_conversations,
    rename_conversation,
)
from route_api.storage.messages import find_dify_message, find_running_turn, rate_message
from route_api.storage.models import Conversation, Message, User, utc_now

from ..support import databases
from ..support.pgbouncer import database_or_pooler_url
from ..support.stored import A_MINUTE, KB, OTHER_KB, add_conversation, add_message, add_running, count_rows, moments

database_url, migrated, engine = database_or_pooler_url, databases.migrated, databases.engine

NOBODYS = "00000000-0000-4000-8000-000000000000"


def page_of(engine: Engine, user_id: str = "alice", page: int = 1, size: int = 20, **more: Any) -> tuple[Any, int]:
    rows, total = conversations.list_conversations(engine, user_id, page=page, page_size=size, **more)
    return [conversation_row(row) for row in rows], total


def messages_of(engine: Engine, conversation_id: str, page: int = 1, size: int = 20, order: str = "asc") -> Any:
    rows, total = messages.list_messages(engine, "alice", conversation_id, page=page, page_size=size, order=order)
    return [message_row(row) for row in rows], total


def read_conversation(engine: Engine, user_id: str, conversation_id: str) -> Any:
    return conversation_row(conversations.read_conversation(engine, user_id, conversation_id))


def read_message(engine: Engine, user_id: str, message_id: str) -> Any:
    return message_row(messages.read_message(engine, user_id, message_id))


@contextmanager
def statements(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
    """Record the statements that are sent to the database in the block, with their parameters."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        sent.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


# ------------------------------------------------------------------ lists


def test_conversations_are_listed_newest_first_in_pages_without_gap_or_double(engine: Engine) -> None:
    made = [add_conversation(engine, create_time=moment) for moment in moments(7)]
    pages = [page_of(engine, page=page, size=3) for page in (1, 2, 3, 4)]
    assert [total for _, total in pages] == [7, 7, 7, 7]
    assert [UUID(row["id"]).hex for rows, _ in pages for row in rows] == made[::-1]


def test_conversations_of_the_same_moment_have_one_order_in_all_pages(engine: Engine) -> None:
    now = utc_now()
    made = {add_conversation(engine, create_time=now) for _ in range(7)}
    listed = [row["id"] for page in (1, 2, 3) for row in page_of(engine, page=page, size=3)[0]]
    assert len(listed) == 7 and {UUID(conversation_id).hex for conversation_id in listed} == made


def test_a_row_of_the_list_says_what_a_sidebar_shows(engine: Engine) -> None:
    created = utc_now() - timedelta(hours=1)
    conversation_id = add_conversation(
        engine, name="红楼😀", chat_type="kb_chat", kb_id=f"{KB},{OTHER_KB}", create_time=created
    )
    add_message(engine, conversation_id, 1)
    last_id = add_message(engine, conversation_id, 2, query="问😀" * 200, response="答" * 20_000)
    (row,), _ = page_of(engine)
    assert row == read_conversation(engine, "alice", conversation_id)
    last = row.pop("last_message")
    assert (last["message_id"], last["query"], last["status"]) == (str(UUID(last_id)), "问😀" * 50, "done")
    assert row.pop("update_time") == last["create_time"] > row.pop("create_time")
    assert row.pop("create_date").endswith("GMT")
    assert row == {
        "chat_type": "kb_chat",
        "conversation_id": str(UUID(conversation_id)),
        "id": str(UUID(conversation_id)),
        "kb_id": KB,
        "kb_ids": [KB, OTHER_KB],
        "message_count": 2,
        "name": "红楼😀",
        "user_id": "alice",
    }


def test_a_conversation_that_a_crash_left_without_messages_is_listed(engine: Engine) -> None:
    add_conversation(engine)
    (row,), _ = page_of(engine)
    assert (row["message_count"], row["last_message"], row["kb_id"], row["kb_ids"]) == (0, None, None, [])
    assert row["update_time"] == row["create_time"]
    assert messages_of(engine, row["id"]) == ([], 0)


def test_the_list_can_be_narrowed_to_a_chat_type(engine: Engine) -> None:
    wanted = add_conversation(engine, chat_type="kb_chat")
    add_conversation(engine)
    (row,), total = page_of(engine, chat_type="kb_chat")
    assert (UUID(row["id"]).hex, total) == (wanted, 1)
    assert page_of(engine, chat_type="nonsense") == ([], 0)


def test_nobody_sees_another_users_conversations_even_if_only_case_tells_them_apart(engine: Engine) -> None:
    for user_id in ("Alice", "alice", "ALICE"):
        add_conversation(engine, user_id, name=user_id)
    for user_id in ("Alice", "alice", "ALICE"):
        rows, total = page_of(engine, user_id)
        assert ([row["name"] for row in rows], total) == ([user_id], 1)
    assert page_of(engine, "aLICE") == ([], 0)


def test_messages_come_in_their_true_order_within_one_second(engine: Engine) -> None:
    conversation_id, now = add_conversation(engine), utc_now()
    for position in (3, 1, 5, 2, 4):
        add_message(engine, conversation_id, position, create_time=now)
    oldest_first = [messages_of(engine, conversation_id, page, 2) for page in (1, 2, 3, 4)]
    newest_first = [messages_of(engine, conversation_id, page, 2, "desc") for page in (1, 2, 3, 4)]
    assert [[row["position"] for row in rows] for rows, _ in oldest_first] == [[1, 2], [3, 4], [5], []]
    assert [[row["position"] for row in rows] for rows, _ in newest_first] == [[5, 4], [3, 2], [1], []]
    assert {total for _, total in oldest_first + newest_first} == {5}


def test_a_page_far_beyond_the_end_is_empty(engine: Engine) -> None:
    conversation_id = add_conversation(engine)
    add_message(engine, conversation_id)
    for order in ("asc", "desc"):
        assert messages_of(engine, conversation_id, 1_000_000, 100, order) == ([], 1)
    assert page_of(engine, page=1_000_000, size=1000) == ([], 1)


def test_a_message_is_given_back_whole(engine: Engine) -> None:
    conversation_id = add_conversation(engine)
    query, response = "问😀" * 10_000, "<think>\n想😀\n</think>\n\n" + "答😀" * 10_000
    meta_data = {
        "status": "done",
        "kb_ids": [KB],
        "model_name": "qwen3:4b",
        "references": [{"content": "“姑苏”😀", "score": 0.71}],
        "usage": {"total_tokens": 7},
        "task_id": "secret of the gateway",
        "carrier": "debugger",
    }
    message_id = add_message(engine, conversation_id, query=query, response=response, meta_data=meta_data)
    (row,), _ = messages_of(engine, conversation_id)
    assert row == read_message(engine, "alice", message_id)
    assert (row["query"], row["response"]) == (query, response)
    assert (row["thinking"], row["content"]) == ("想😀", "答😀" * 10_000)
    shown = {name: meta_data[name] for name in ("kb_ids", "model_name", "references", "usage")}
    assert row["meta_data"] == shown | {
        "forms": [],
        "inputs": {},
        "max_tokens": None,
        "prompt_name": None,
        "temperature": None,
    }
    assert (row["status"], row["reason"], row["feedback_score"]) == ("done", None, None)


@pytest.mark.parametrize("status", ["stopped", "failed"])
def test_a_turn_that_did_not_end_well_says_why(engine: Engine, status: str) -> None:
    message_id = add_message(engine, add_conversation(engine), meta_data={"status": status, "reason": "dify_timeout"})
    row = read_message(engine, "alice", message_id)
    assert (row["status"], row["reason"]) == (status, "dify_timeout")


def test_a_running_turn_is_pending_until_its_lease_ends(engine: Engine) -> None:
    conversation_id = add_conversation(engine)
    gone = {"meta_data": {"status": "pending"}, "leased_until": utc_now() - timedelta(seconds=1)}
    add_message(engine, conversation_id, 1, response="一半", **gone)
    (row,), _ = messages_of(engine, conversation_id)
    assert (row["status"], row["reason"], row["response"]) == ("failed", "interrupted", "一半")
    assert page_of(engine)[0][0]["last_message"]["status"] == "failed"
    add_running(engine, conversation_id, 2)
    assert messages_of(engine, conversation_id)[0][1]["status"] == "pending"
    assert page_of(engine)[0][0]["last_message"]["status"] == "pending"


def test_a_page_takes_two_queries_however_many_rows_it_has(engine: Engine) -> None:
    for _ in range(5):
        conversation_id = add_conversation(engine)
        for position in range(1, 6):
            add_message(engine, conversation_id, position)
    for size in (1, 5):
        with statements(engine) as sent:
            page_of(engine, size=size)
        assert len(sent) == 2
        with statements(engine) as sent:
            messages_of(engine, conversation_id, size=size)
        assert len(sent) == 2
    with statements(engine) as sent:
        read_conversation(engine, "alice", conversation_id)
    assert len(sent) == 1


def test_no_statement_scans_a_table(app: Flask) -> None:
    """Checks SQLite's query plans, which need no statistics. `benchmarks/history.py` shows the plans of all three."""
    with app.app_context():
        engine = db.engine
    conversation_id = add_conversation(engine)
    message_id = add_running(engine, conversation_id, task_id="t")
    with statements(engine) as sent:
        page_of(engine)
        page_of(engine, chat_type="chat", page=2)
        read_conversation(engine, "alice", conversation_id)
        rename_conversation(engine, "alice", conversation_id, "x")
        for order in ("asc", "desc"):
            messages_of(engine, conversation_id, order=order)
        read_message(engine, "alice", message_id)
        rate_message(engine, "alice", message_id, 1, None)
        find_running_turn(engine, "alice", conversation_id=conversation_id, message_id=None)
        find_running_turn(engine, "alice", conversation_id=None, message_id=message_id)
        with pytest.raises(ConversationBusy):
            delete_conversations(engine, "alice", [conversation_id])
    with engine.connect() as connection:
        plans = {
            statement: [step.detail for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given)]
            for statement, given in sent
        }
    assert len(plans) >= 11
    scans = [(statement, step) for statement, steps in plans.items() for step in steps if step.startswith("SCAN")]
    assert [(statement, step) for statement, step in scans if step != "SCAN found"] == []


# ------------------------------------------------------------------ changes


def test_a_conversation_is_renamed_also_to_the_name_that_it_has(engine: Engine) -> None:
    conversation_id, other = add_conversation(engine), add_conversation(engine)
    for name in ("新名字😀" * 10, "新名字😀" * 10):
        rename_conversation(engine, "alice", conversation_id, name)
        assert read_conversation(engine, "alice", conversation_id)["name"] == name
    assert read_conversation(engine, "alice", other)["name"] == "名字"


def test_deleted_conversations_take_their_messages_with_them_and_nobody_elses(engine: Engine) -> None:
    ids = [add_conversation(engine) for _ in range(2)]
    kept = add_conversation(engine)
    for conversation_id in (*ids, kept):
        for position in (1, 2, 3):
            add_message(engine, conversation_id, position)
    assert delete_conversations(engine, "alice", [str(UUID(conversation_id)) for conversation_id in ids]) == []
    assert count_rows(engine, User, Conversation, Message) == (1, 1, 3)
    assert messages_of(engine, kept)[1] == 3


def test_all_that_dify_holds_of_a_deleted_conversation_is_told_once(engine: Engine) -> None:
    conversation_id = add_conversation(engine)
    carried = [("app", KB), ("app", KB), ("debugger:通义", OTHER_KB), (None, KB), ("app", None)]
    for position, (carrier, dify_id) in enumerate(carried, 1):
        meta_data = {"status": "done", "carrier": carrier, "dify_conversation_id": dify_id}
        add_message(engine, conversation_id, position, meta_data=meta_data)
    add_message(engine, conversation_id, 6, meta_data={"status": "failed"})
    left = delete_conversations(engine, "alice", [conversation_id])
    assert sorted(left, key=str) == [("app", KB), ("debugger:通义", OTHER_KB), (None, KB)]


def test_a_deleted_user_takes_everything_along(engine: Engine) -> None:
    for user_id in ("alice", "bob"):
        add_message(engine, add_conversation(engine, user_id))
    with engine.connect() as connection:
        connection.execute(delete(User).where(User.id == "alice"))
    assert count_rows(engine, User, Conversation, Message) == (1, 1, 1)


@pytest.mark.parametrize("foreign", ["bob", "Alice"])
def test_where_one_cannot_be_deleted_none_is(engine: Engine, foreign: str) -> None:
    mine, theirs = add_conversation(engine), add_conversation(engine, foreign)
    for missing in (theirs, NOBODYS):
        with pytest.raises(ConversationNotFound, match=str(UUID(missing))):
            delete_conversations(engine, "alice", [mine, str(UUID(missing))])
    assert count_rows(engine, Conversation) == (2,)


def test_a_conversation_in_which_an_answer_is_being_written_is_not_deleted(engine: Engine) -> None:
    idle, busy = add_conversation(engine), add_conversation(engine)
    add_message(engine, idle)
    add_running(engine, busy)
    with pytest.raises(ConversationBusy):
        delete_conversations(engine, "alice", [idle, busy])
    assert count_rows(engine, Conversation, Message) == (2, 2)


def test_a_conversation_whose_process_died_can_be_deleted(engine: Engine) -> None:
    conversation_id = add_conversation(engine)
    add_message(engine, conversation_id, meta_data={"status": "pending"}, leased_until=utc_now() - A_MINUTE)
    delete_conversations(engine, "alice", [conversation_id])
    assert count_rows(engine, Conversation, Message) == (0, 0)


def test_a_turn_that_begins_while_conversations_are_being_deleted_keeps_them_all(engine: Engine) -> None:
    conversation_id, idle = add_conversation(engine), add_conversation(engine)
    begun: list[str] = []

    def begin_a_turn(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("DELETE") and not begun:
            begun.append(add_running(engine, conversation_id))

    event.listen(engine, "before_cursor_execute", begin_a_turn)
    try:
        with pytest.raises(ConversationBusy):
            delete_conversations(engine, "alice", [idle, conversation_id])
    finally:
        event.remove(engine, "before_cursor_execute", begin_a_turn)
    assert begun and count_rows(engine, Conversation, Message) == (2, 1)


@pytest.mark.parametrize("score", [0, 100, None])
def test_feedback_replaces_what_was_given_before(engine: Engine, score: int | None) -> None:
    conversation_id = add_conversation(engine)
    rated, other = (add_message(engine, conversation_id, position) for position in (1, 2))
    rate_message(engine, "alice", rated, 50, "还行")
    rate_message(engine, "alice", rated, score, "好😀" * 85)
    row = read_message(engine, "alice", rated)
    assert (row["feedback_score"], row["feedback_reason"]) == (score, "好😀" * 85)
    assert read_message(engine, "alice", other)["feedback_score"] is None


@pytest.mark.parametrize("carrier", [{}, {"carrier": None}, {"carrier": "app:通义😀"}])
def test_a_message_knows_where_it_is_on_dify(engine: Engine, carrier: dict[str, str | None]) -> None:
    meta_data = {"status": "done", **carrier}
    message_id = add_message(engine, add_conversation(engine), meta_data=meta_data, dify_message_id=KB)
    assert find_dify_message(engine, "alice", message_id) == (KB, carrier.get("carrier"))


def test_what_belongs_to_another_user_is_not_found_and_not_changed(engine: Engine) -> None:
    conversation_id = add_conversation(engine, "alice")
    message_id = add_running(engine, conversation_id, task_id="t")
    for user_id, conversation, message in (
        ("mallory", conversation_id, message_id),
        ("Alice", conversation_id, message_id),
        ("alice", NOBODYS, NOBODYS),
    ):
        for attempt in (
            lambda: read_conversation(engine, user_id, conversation),
            lambda: rename_conversation(engine, user_id, conversation, "x"),
            lambda: delete_conversations(engine, user_id, [conversation]),
            lambda: messages.list_messages(engine, user_id, conversation, page=1, page_size=1, order="asc"),
            lambda: find_running_turn(engine, user_id, conversation_id=conversation, message_id=None),
        ):
            with pytest.raises(ConversationNotFound):
                attempt()
        for attempt in (
            lambda: read_message(engine, user_id, message),
            lambda: rate_message(engine, user_id, message, 1, None),
            lambda: find_dify_message(engine, user_id, message),
            lambda: find_running_turn(engine, user_id, conversation_id=None, message_id=message),
        ):
            with pytest.raises(MessageNotFound):
                attempt()
    with engine.connect() as connection:
        unchanged = connection.execute(select(Conversation.name, Message.feedback_score).join(Message)).one()
    assert unchanged == ("名字", None)


# ------------------------------------------------------------------ the turn to stop


@pytest.mark.parametrize("by", ["conversation", "message"])
@pytest.mark.parametrize("task_id", [None, "running"])
def test_the_running_turn_is_found(engine: Engine, by: str, task_id: str | None) -> None:
    conversation_id = add_conversation(engine)
    add_message(engine, conversation_id, 1, meta_data={"status": "done", "task_id": "old"})
    message_id = add_running(engine, conversation_id, 2, task_id=task_id, carrier="app:qwen")
    wanted = {"conversation_id": None, "message_id": None, f"{by}_id": {"message": message_id}.get(by, conversation_id)}
    assert find_running_turn(engine, "alice", **wanted) == (message_id, task_id, "app:qwen")


def test_where_nothing_is_running_there_is_no_turn_to_stop(engine: Engine) -> None:
    conversation_id = add_conversation(engine)
    assert find_running_turn(engine, "alice", conversation_id=conversation_id, message_id=None) is None
    done = add_message(engine, conversation_id, 1, meta_data={"status": "done", "task_id": "old"})
    gone = {"meta_data": {"status": "pending", "task_id": "gone"}, "leased_until": utc_now() - A_MINUTE}
    died = add_message(engine, conversation_id, 2, **gone)
    assert find_running_turn(engine, "alice", conversation_id=conversation_id, message_id=None) is None
    for message_id in (done, died):
        assert find_running_turn(engine, "alice", conversation_id=None, message_id=message_id) is None
