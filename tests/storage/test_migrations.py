"""The migrations: up, down and up again, on every available database. The result equals the models."""

from typing import Any

import flask_migrate
import pytest
from flask import Flask
from sqlalchemy import inspect

from route_api.extensions import db
from route_api.storage.conversations import delete_conversations, list_conversations
from route_api.storage.messages import list_messages
from route_api.storage.turns import NewTurn, TurnEnd, begin_turn, finish_turn

from ..support import databases

database_url, migrated = databases.database_url, databases.migrated

TABLES = {
    "user",
    "conversation",
    "message",
    "console_refusal",
    "idempotent_request",
    "stop_request",
    "name_claim",
    "document_lock",
}


def tables(app: Flask) -> set[str]:
    with app.app_context():
        return set(inspect(db.engine).get_table_names()) - {"alembic_version"}


def test_up_down_and_up_again_ends_at_what_the_models_say(migrated: Flask) -> None:
    with migrated.app_context():
        flask_migrate.check()
        flask_migrate.downgrade(revision="base")
        assert tables(migrated) == set()
        flask_migrate.upgrade()
        flask_migrate.check()
    assert tables(migrated) == TABLES


def test_a_nul_in_old_meta_data_is_replaced_so_that_lists_work_again(migrated: Flask) -> None:
    """PostgreSQL reads no field of such JSON."""
    references = ["a\0b", "\\u0000", "葫芦庙"]
    with migrated.app_context():
        flask_migrate.downgrade(revision="0003")
        row = begin_turn(db.engine, NewTurn("alice", "?", "chat"))
        finish_turn(db.engine, row, TurnEnd("a", "done", None, None, meta_data={"references": references}))
        flask_migrate.upgrade()
        (listed,), total = list_conversations(db.engine, "alice", page=1, page_size=20)
        (message,), _ = list_messages(db.engine, "alice", row.conversation_id, page=1, page_size=20, order="asc")
        delete_conversations(db.engine, "alice", [row.conversation_id])
    assert (listed.last_status, total) == ("done", 1)
    kept = message.meta_data["references"]
    assert kept[2] == "葫芦庙" and kept[0] in ("a\0b", "a\ufffdb") and kept[1] in ("\\u0000", "\\ufffd")


@pytest.mark.parametrize(
    ("table", "parent"), [("conversation", "user"), ("message", "conversation"), ("idempotent_request", "message")]
)
def test_what_hangs_on_a_deleted_row_goes_with_it(migrated: Flask, table: str, parent: str) -> None:
    with migrated.app_context():
        (key,) = inspect(db.engine).get_foreign_keys(table)
    assert (key["referred_table"], key["options"].get("ondelete")) == (parent, "CASCADE")


def test_the_indexes_are_those_that_the_queries_go_by(migrated: Flask) -> None:
    def columns(entries: list[Any]) -> list[list[str]]:
        return [entry["column_names"] for entry in entries]

    with migrated.app_context():
        inspector = inspect(db.engine)
        assert ["user_id", "create_time", "id", "chat_type"] in columns(inspector.get_indexes("conversation"))
        assert ["conversation_id", "position"] in columns(inspector.get_unique_constraints("message"))
