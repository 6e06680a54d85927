"""The commands of docs/operations.md for backups, restoration and dead letters, run on every available database."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
from flask import Flask
from sqlalchemy import select, text

from config import PROJECT_DIR, Config
from route_api.app import create_app
from route_api.extensions import db
from route_api.storage.models import Message
from route_api.storage.turns import NewTurn, TurnEnd, begin_turn, finish_turn

from ..support import databases
from ..support.deployment import program
from ..support.patience import PATIENCE_S
from ..support.settings import OPEN

PAGE = (PROJECT_DIR / "docs" / "operations.md").read_text(encoding="utf-8")
PARAGRAPHS = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MariaDB"}
PROGRAMS = {"sqlite": [], "postgresql": ["pg_dump", "pg_restore", "createdb"], "mysql": ["mariadb-dump", "mariadb"]}
SERVERS = {
    "PGHOST": "127.0.0.1",
    "PGUSER": "postgres",
    "MYSQL_HOST": "127.0.0.1",
    "PYTHONPATH": str(PROJECT_DIR),
}
ANSWER = "在仁清巷内。🏯 'quotes' \"too\" \\ and a line\nbreak"


def commands(heading: str, paragraph: str) -> str:
    """The commands of the page in the first block after a paragraph that begins so, below a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = re.search(rf"^{paragraph}.*?^```sh\n(.*?)^```", section, re.M | re.S)
    assert found, f"{heading} has no commands for {paragraph}"
    return found[1]


def run(script: str, folder: Path, **settings: str) -> None:
    """Run commands of the page as the user who runs the tests, with this Python."""
    script = re.sub(r"sudo (-u \S+ )?", "", script).replace(".venv/bin/python", sys.executable)
    environment = {**os.environ, **SERVERS, **settings}
    done = subprocess.run(
        ["bash", "-euc", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, script + done.stdout + done.stderr


@pytest.fixture(params=["sqlite", *(pytest.param(name, marks=pytest.mark.server) for name in databases.SERVERS)])
def kind(request: pytest.FixtureRequest) -> str:
    for name in PROGRAMS[request.param]:
        program(name)
    return str(request.param)


@pytest.fixture
def names(kind: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The URLs of the database `route_api` and of the one that the commands make, by the names that the page gives."""
    if kind == "sqlite":
        (tmp_path / "var").mkdir()
        yield {name: f"sqlite:///{tmp_path}/var/{name}.sqlite3" for name in ("route_api", "route_api_restored")}
        return
    own = f"{databases.NAME}_backup"
    with databases.fresh_database(kind, own) as url:
        admin = databases.admin_engine(kind)
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE IF EXISTS {own}_restored"))
            if kind == "mysql":
                connection.execute(text(f"CREATE USER {own}@localhost"))
        yield {"route_api": url, "route_api_restored": f"{url}_restored"}
        with admin.connect() as connection:
            force = " WITH (FORCE)" if kind == "postgresql" else ""
            connection.execute(text(f"DROP DATABASE IF EXISTS {own}_restored{force}"))
            if kind == "mysql":
                connection.execute(text(f"DROP USER {own}@localhost"))
        admin.dispose()


def gateway_on(url: str) -> Flask:
    return create_app(Config.load(DATABASE_URL=url, **OPEN))


def fill(app: Flask) -> str:
    """Store a turn that is done, and one whose answer the database has refused.

    :returns: the id of the second one's message
    """
    with app.app_context():
        finish_turn(
            db.engine,
            begin_turn(db.engine, NewTurn("alice", "葫芦庙在哪里？", "chat")),
            TurnEnd(ANSWER, "done", None, None, None),
        )
        refused = begin_turn(db.engine, NewTurn("bob", "那里有谁？", "chat"))
        finish_turn(db.engine, refused, TurnEnd("", "failed", "not_stored", None, None))
    return refused.message_id


def rows(app: Flask) -> dict[str, list[Any]]:
    """All rows of all tables."""
    with app.app_context(), db.engine.connect() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for table in db.metadata.sorted_tables
        }


def test_a_restored_backup_has_every_row_and_a_gateway_works_on_it(
    kind: str, names: dict[str, str], tmp_path: Path
) -> None:
    before = gateway_on(names["route_api"])
    with before.app_context():
        flask_migrate.upgrade()
    message_id = fill(before)
    script = commands("Backup and restore", PARAGRAPHS[kind])
    if kind != "sqlite":
        own = names["route_api"].rpartition("/")[2]
        script = script.replace("--owner route_api ", "--owner postgres ")
        script = re.sub(r"\broute_api(?=\b|_restored)(?!\.(dump|sql))", own, script)
    run(script, tmp_path)
    restored = gateway_on(names["route_api_restored"])
    assert rows(restored) == rows(before) and len(rows(before)["message"]) == 2
    with restored.app_context():
        flask_migrate.check()

    letter = tmp_path / "letter.json"
    letter.write_text(json.dumps({"message_id": message_id, "response": ANSWER}))
    script = commands("Dead letters", "Mend the cause").replace("var/dead_letters/MESSAGE_ID.json", str(letter))
    run(script, tmp_path, DATABASE_URL=names["route_api_restored"], AUTH="open")
    with restored.app_context():
        assert {response for response, in db.session.execute(select(Message.response))} == {ANSWER}
        db.session.remove()
        assert begin_turn(db.engine, NewTurn("alice", "还有吗？", "chat"))
    for app in (before, restored):
        with app.app_context():
            db.engine.dispose()
