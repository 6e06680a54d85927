"""Connections to the databases: their settings, and their replacement after the server has closed one."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, bindparam, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from config import Config
from route_api.app import create_app
from route_api.extensions import db
from route_api.storage import database
from route_api.storage.models import User

from ..support import databases
from ..support.patience import PATIENCE_S
from ..support.settings import OPEN

ROOT = Path(__file__).parents[2]

database_url, migrated, engine = databases.database_url, databases.migrated, databases.engine

KILL = {"postgresql": "SELECT pg_terminate_backend({})", "mysql": "KILL {}"}
OWN_ID = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}

WITH_GEVENT = """
from gevent import monkey
monkey.patch_all()
import sys, time, gevent
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from config import Config
from route_api.app import create_app
from route_api.extensions import db
from tests.support.settings import OPEN

with create_app(Config.load(DATABASE_URL=sys.argv[1], **OPEN)).app_context():
    engine = db.engine

def ask(statement, **values):
    with engine.connect() as connection:
        return connection.scalar(text(statement), values)

def be_cut_off():
    try:
        ask("SELECT pg_sleep(30)")
    except OperationalError as error:
        return error.connection_invalidated

begun, ticks = time.monotonic(), 0
waiting = [gevent.spawn(ask, "SELECT pg_sleep(2)") for _ in range(5)]
while not all(each.dead for each in waiting):
    gevent.sleep(0.01)
    ticks += 1
print("others go on:", ticks > 10, "at once:", time.monotonic() - begun < 9)
print("a long text:", ask("SELECT length(:long)", long="x" * 20_000_000))
cut_off = gevent.spawn(be_cut_off)
for _ in range(100):
    gevent.sleep(0.05)
    if ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(30)'"):
        break
print("cut off:", cut_off.get(timeout=60), "and again:", ask("SELECT 1"))
stopped = [gevent.spawn(ask, "SELECT 'not this'::text, pg_sleep(5)") for _ in range(5)]
gevent.sleep(0.2)
gevent.killall(stopped, ValueError("stopped"))
print("stopped:", all(each.exception for each in stopped), "and again:", {ask("SELECT 1") for _ in range(20)})
"""

GIVEN_UP = """
import sys, time
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from config import Config
from route_api.app import create_app
from route_api.storage import database
from route_api.extensions import db
from tests.support.settings import OPEN

database.RESULT_TIMEOUT_S = 1
with create_app(Config.load(DATABASE_URL=sys.argv[1], **OPEN)).app_context():
    engine = db.engine
begun = time.monotonic()
try:
    with engine.connect() as connection:
        connection.scalar(text(sys.argv[2]))
except OperationalError as error:
    print("given up:", error.connection_invalidated, 1 <= time.monotonic() - begun < 25)
with engine.connect() as connection:
    print("and again:", connection.scalar(text("SELECT 1")))
"""
SLEEP = {"postgresql": "SELECT pg_sleep(30)", "mysql": "SELECT SLEEP(30)"}


TWO_USERS = database.WriteTogether(
    insert(User).values(id=bindparam("first")), insert(User).values(id=bindparam("second"))
)


def kill(server: str, process: int) -> None:
    """Let the server close a connection."""
    admin = databases.admin_engine(server)
    with admin.connect() as connection:
        connection.execute(text(KILL[server].format(process)))
    admin.dispose()


def users(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return sorted(connection.scalars(select(User.id)))


def test_a_connection_to_sqlite_has_a_write_ahead_log_and_checks_foreign_keys(engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("these are settings of SQLite")
    with engine.connect() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1


def test_a_connection_that_the_server_closed_while_it_lay_idle_is_replaced(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = engine.dialect.name
    if server == "sqlite":
        pytest.skip("SQLite has no server that could close a connection")
    monkeypatch.setattr(database, "PING_AFTER_IDLE_S", 0.0)
    with engine.connect() as connection:
        process = connection.scalar(text(OWN_ID[server]))
    kill(server, process)
    with engine.connect() as connection:
        assert connection.scalar(text(OWN_ID[server])) != process


def test_the_statements_of_a_transaction_succeed_or_fail_together(engine: Engine) -> None:
    with pytest.raises(IntegrityError), database.transaction(engine) as connection:
        connection.execute(insert(User).values(id="alice"))
        connection.execute(insert(User).values(id="alice"))
    with engine.connect() as connection:
        assert connection.execute(select(User.id)).all() == []


def test_a_pair_of_writes_stores_both_and_fails_as_sqlalchemy_does(engine: Engine) -> None:
    TWO_USERS.execute(engine, {"first": "alice"}, {"second": "bob"})
    with pytest.raises(IntegrityError):
        TWO_USERS.execute(engine, {"first": "carol"}, {"second": "bob"})
    assert {"alice", "bob"} <= set(users(engine))
    if engine.dialect.name == "postgresql":
        assert users(engine) == ["alice", "bob"], "there they are one statement"


def test_a_pair_of_writes_on_a_broken_connection_fails_once(engine: Engine) -> None:
    server = engine.dialect.name
    if server == "sqlite":
        pytest.skip("SQLite has no server that could break a connection")
    engine.dispose()
    with engine.connect() as connection:
        process = connection.scalar(text(OWN_ID[server]))
    kill(server, process)
    with pytest.raises(DBAPIError) as broken:
        TWO_USERS.execute(engine, {"first": "alice"}, {"second": "bob"})
    assert broken.value.connection_invalidated
    TWO_USERS.execute(engine, {"first": "alice"}, {"second": "bob"})
    assert users(engine) == ["alice", "bob"]


@pytest.mark.server
def test_a_wait_for_postgresql_lets_others_go_on_where_gevent_serves() -> None:
    with databases.fresh_database("postgresql", f"{databases.NAME}_gevent") as url:
        program = [sys.executable, "-c", WITH_GEVENT, url]
        done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout.splitlines() == [
        "others go on: True at once: True",
        "a long text: 20000000",
        "cut off: True and again: 1",
        "stopped: True and again: {1}",
    ], done.stderr


PATCHED = "from gevent import monkey\nmonkey.patch_all()\n"


@pytest.mark.server
@pytest.mark.parametrize("server", SLEEP)
@pytest.mark.parametrize("first", [PATCHED, ""], ids=["gevent", "threads"])
def test_a_server_that_hangs_is_given_up(server: str, first: str) -> None:
    with databases.fresh_database(server, f"{databases.NAME}_hangs") as url:
        program = [sys.executable, "-c", first + GIVEN_UP, url, SLEEP[server]]
        done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout.splitlines() == ["given up: True True", "and again: 1"], done.stderr


LOCKED = """
import sqlite3, sys, threading, time
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from config import Config
from route_api.app import create_app
from route_api.storage import database
from route_api.extensions import db
from tests.support.settings import OPEN

with create_app(Config.load(DATABASE_URL="sqlite:///" + sys.argv[1], **OPEN)).app_context():
    engine = db.engine

def write(value):
    with engine.connect() as connection:
        connection.execute(text("INSERT INTO t VALUES (:value)"), {"value": value})

def write_both(value):
    with database.transaction(engine) as connection:
        connection.execute(text("SELECT count(*) FROM t")).all()
        connection.execute(text("INSERT INTO t VALUES (:value)"), {"value": value})

def ticks(work):
    counted = 0
    threads = [threading.Thread(target=each, args=(number,)) for number, each in enumerate(work)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.01)
        counted += 1
    return counted

with engine.connect() as connection:
    connection.execute(text("CREATE TABLE t (v INTEGER)"))
other = sqlite3.connect(sys.argv[1], isolation_level=None, check_same_thread=False)
other.execute("BEGIN IMMEDIATE")
threading.Timer(0.5, lambda: other.execute("COMMIT")).start()
print("others go on:", ticks([write, write_both] * 3) > 10)
ticks([write_both] * 10)
with engine.connect() as connection:
    print("written:", connection.scalar(text("SELECT count(*) FROM t")))
database.SQLITE_WAIT_S = 0.2
other.execute("BEGIN IMMEDIATE")
for give_up in (write, write_both):
    begun = time.monotonic()
    try:
        give_up(1)
    except OperationalError as error:
        print("given up:", error.orig, time.monotonic() - begun < 9)
"""


@pytest.mark.parametrize("first", ["from gevent import monkey\nmonkey.patch_all()\n", ""], ids=["gevent", "threads"])
def test_a_wait_for_a_locked_sqlite_lets_others_go_on_and_ends(first: str, tmp_path: Path) -> None:
    program = [sys.executable, "-c", first + LOCKED, str(tmp_path / "locked.sqlite3")]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout.splitlines() == [
        "others go on: True",
        "written: 16",
        "given up: database is locked True",
        "given up: database is locked True",
    ], done.stderr


def test_a_new_connection_to_a_locked_sqlite_waits_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process opens the file first or closes it last. Just after a restart, uploads were refused with 503."""
    path = tmp_path / "locked.sqlite3"
    with create_app(Config.load(DATABASE_URL=f"sqlite:///{path}", **OPEN)).app_context():
        engine = db.engine
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(database, "sleep", lambda _: other.in_transaction and other.execute("COMMIT"))
    with engine.connect() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
    assert not other.in_transaction
    other.close()
