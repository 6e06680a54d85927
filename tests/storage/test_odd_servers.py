"""Database servers with another time zone, charset or SQL mode: the gateway stores and answers the same."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import flask_migrate
import pytest
from sqlalchemy import create_engine, select, text

from config import Config
from route_api.app import create_app
from route_api.extensions import db
from route_api.storage.models import Conversation, Message, utc_now
from route_api.storage.turns import NewTurn, TurnEnd, begin_turn, finish_turn

from ..support import databases
from ..support.odd_mariadb import OddMariaDb
from ..support.patience import PATIENCE_S
from ..support.running_gateway import PROJECT_DIR
from ..support.settings import OPEN
from ..support.stored import add_conversation, add_message

ODD = f"{databases.NAME}_odd"
QUESTION, ANSWER = "葫芦庙在哪里？😀 \"'`", "在姑苏城。𠮷"


@pytest.fixture(params=["", "ANSI_QUOTES", "ANSI,TRADITIONAL"])
def mariadb_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database on a MariaDB with latin1, another time zone, and each SQL mode."""
    server = OddMariaDb(tmp_path, request.param)
    server.start()
    admin = create_engine(server.url.replace("mysql:", "mysql+pymysql:") + "/mysql")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE odd"))
    admin.dispose()
    yield f"{server.url}/odd"
    server.stop()


@pytest.fixture
def postgresql_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of PostgreSQL in another time zone, with the encoding that the test names."""
    with databases.fresh_database("postgresql", ODD) as url:
        admin = databases.admin_engine("postgresql")
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {ODD}"))
            options = f"ENCODING '{request.param}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
            connection.execute(text(f"CREATE DATABASE {ODD} {options}"))
            connection.execute(text(f"ALTER DATABASE {ODD} SET timezone = 'Asia/Shanghai'"))
        admin.dispose()
        yield url


def tell_a_story(url: str) -> None:
    """Migrate a database, store a turn, and check what is stored and what the API answers."""
    app = create_app(Config.load(DATABASE_URL=url, **OPEN))
    with app.app_context():
        flask_migrate.upgrade()
        engine = db.engine
    row = begin_turn(engine, NewTurn("alice", QUESTION, "chat", name="名字😀"))
    finish_turn(engine, row, TurnEnd(ANSWER, "done", None, None, meta_data={"word": "𠮷"}))
    with engine.connect() as connection:
        stored = connection.execute(
            select(Message.query, Message.response, Message.meta_data, Message.create_time)
        ).one()
    assert (stored.query, stored.response, stored.meta_data["word"]) == (QUESTION, ANSWER, "𠮷")
    assert abs(utc_now() - stored.create_time) < timedelta(minutes=5), "not UTC"
    query = {"user_id": "alice", "conversation_id": row.conversation_id}
    answer = app.test_client().get("/v1/conversation/messages", query_string=query).json
    assert ANSWER in str(answer["data"]) and answer["code"] == 0
    engine.dispose()


@pytest.mark.server
def test_a_mariadb_of_any_charset_time_zone_and_sql_mode_is_as_good(mariadb_url: str) -> None:
    tell_a_story(mariadb_url)


@pytest.mark.server
@pytest.mark.parametrize("postgresql_url", ["SQL_ASCII", "UTF8"], indirect=True)
def test_a_postgresql_that_stores_bytes_or_is_elsewhere_is_as_good(postgresql_url: str) -> None:
    tell_a_story(postgresql_url)


@pytest.mark.server
@pytest.mark.parametrize("postgresql_url", ["LATIN1"], indirect=True)
def test_a_postgresql_that_cannot_store_chinese_is_said_to_at_the_start(postgresql_url: str) -> None:
    upgrade = [sys.executable, "-m", "flask", "--app", "wsgi", "db", "upgrade"]
    settings = {**os.environ, "DATABASE_URL": postgresql_url}
    done = subprocess.run(upgrade, cwd=PROJECT_DIR, env=settings, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "has the encoding LATIN1, which lacks characters" in done.stderr and "ENCODING 'UTF8'" in done.stderr


@pytest.fixture(params=["Asia/Shanghai", "America/St_Johns", ":/etc/localtime", None])
def time_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str | None]:
    """The time zone of the process, as the variable TZ sets it."""
    if request.param is None:
        monkeypatch.delenv("TZ", raising=False)
    else:
        monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def test_the_time_zone_of_the_process_changes_no_answer(time_zone: str | None, tmp_path: Path) -> None:
    app = create_app(Config.load(DATABASE_URL=f"sqlite:///{tmp_path / 'a.sqlite3'}", **OPEN))
    with app.app_context():
        db.create_all()
        engine = db.engine
    moment = datetime(2026, 7, 1, 23, 30)
    conversation_id = add_conversation(engine, create_time=moment)
    add_message(engine, conversation_id, create_time=moment)
    with engine.connect() as connection:
        assert connection.scalar(select(Conversation.create_time)) == moment
    client, user = app.test_client(), {"user_id": "alice"}
    listed = client.get("/v1/conversation/list", query_string=user).json["data"]
    query = {**user, "conversation_id": conversation_id}
    messages = client.get("/v1/conversation/messages", query_string=query).json["data"]
    times = sorted(set(re.findall(r"2026-\d\d-\d\d[T ][\d:.]+[^'\"]*|\b17\d{8,11}\b", str(listed) + str(messages))))
    assert times == ["1782948600"], (listed, messages)
    engine.dispose()
