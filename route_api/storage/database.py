"""How the three databases are opened: SQLite for one machine, PostgreSQL and MySQL/MariaDB for several."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar, cast

import orjson
import psycopg
from flask import Flask
from gevent import Timeout, get_hub, monkey
from psycopg.abc import PQGen
from sqlalchemy import Connection, Dialect, Engine, Insert, PoolProxiedConnection, Update, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from ..extensions import db

T = TypeVar("T")

SQLITE_BUSY_TIMEOUT_MS = 30_000


def to_json(value: Any) -> str:
    """JSON text, for a column of JSON."""
    return orjson.dumps(value).decode()


COMMON_OPTIONS: dict[str, Any] = {
    "isolation_level": "AUTOCOMMIT",
    "pool_reset_on_return": None,
    "json_serializer": to_json,
    "json_deserializer": orjson.loads,
    "hide_parameters": True,
}
"""Every statement is a transaction of its own: BEGIN and COMMIT would be two more round trips for each. What belongs
together is a `PairedWrite`, or asks for a transaction by name (`migrations/env.py`). What users wrote, and the hashes
of their passwords, stay out of errors and thus of the log."""

POOL_SIZE = 10
"""Connections per worker. Transactions last a millisecond and none is open while a model talks, so a few serve many."""

CONNECT_S = 5
"""Seconds to wait for a connection; psycopg would wait for more than two minutes."""

ANSWER_S = 30
"""Seconds after which a statement is given up where gevent serves. A command line, and with it a migration, waits."""

IDLE_S = 5.0
"""Seconds after which a pooled connection is tried before it is used."""


def engine_options(database_uri: str) -> dict[str, Any]:
    """Arguments of `create_engine` for this database."""
    url = make_url(database_uri)
    if url.get_backend_name() == "sqlite":
        if url.database and url.database != ":memory:":
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        return COMMON_OPTIONS
    limits: dict[str, Any] = {"connect_timeout": CONNECT_S}
    if url.get_backend_name() != "postgresql" and monkey.is_module_patched("socket"):
        limits |= {"read_timeout": ANSWER_S, "write_timeout": ANSWER_S}
    return {
        **COMMON_OPTIONS,
        "pool_size": POOL_SIZE,
        "max_overflow": POOL_SIZE,
        "pool_recycle": 1800,
        "connect_args": limits,
    }


def init_app(app: Flask) -> None:
    """Prepare SQLite's connections, or let a server's connections be tried before they are used again."""
    with app.app_context():
        engine = db.engine
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    else:
        if engine.dialect.name == "postgresql":
            event.listen(engine, "do_connect", _connect_to_postgresql)
        event.listen(engine, "checkin", _remember_use)
        event.listen(engine, "checkout", partial(_try_if_idle, engine.dialect))


def _connect_to_postgresql(_dialect: Any, _record: Any, arguments: Any, options: Any) -> "CooperativeConnection":
    return CooperativeConnection.connect(*arguments, **options)


def _remember_use(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info["used_at"] = monotonic()


def _try_if_idle(dialect: Dialect, connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
    """Have a connection replaced that the server has closed while it lay idle, as it does when it is restarted.

    `pool_pre_ping` would ask before each use, which is a round trip for every statement.
    """
    if monotonic() - record.info.get("used_at", monotonic()) < IDLE_S:
        return
    try:
        dialect.do_ping(connection)
    except Exception as error:
        raise DisconnectionError from error


class CooperativeConnection(psycopg.Connection[Any]):
    """A connection to PostgreSQL whose waits cost little where gevent serves: psycopg waits by `select.poll`, for which
    gevent makes three objects and goes around its loop once more. That was a twentieth of a turn's cost."""

    @cached_property
    def writer(self) -> psycopg.Cursor[Any]:
        """A cursor for finished SQL, which remembers how to write each type."""
        return self.cursor()

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Carry out a dialogue with the server; wherever it waits, let others go on.

        Whatever ends a wait closes the connection: the answer may still come, and would be taken for the next one.

        :raises psycopg.OperationalError: ANSWER_S are over
        """
        if timeout is not None or not monkey.is_module_patched("select"):
            return super().wait(gen, interval, timeout)
        hub = get_hub()
        late = Timeout.start_new(ANSWER_S, psycopg.OperationalError(f"no answer within {ANSWER_S} seconds"))
        try:
            wanted = next(gen)
            while True:
                watcher = hub.loop.io(self.pgconn.socket, wanted)
                try:
                    hub.wait(watcher)
                except BaseException:
                    self.close()
                    raise
                finally:
                    watcher.close()
                wanted = gen.send(wanted)
        except StopIteration as end:
            return cast(T, end.value)
        finally:
            late.close()


class PairedWrite:
    """Two writes that belong together: one statement where the database can, else one after the other.

    PostgreSQL takes the first as a common table expression of the second, in one round trip and one transaction, and as
    finished SQL: what SQLAlchemy does for a statement of its own at each execution was a tenth of a turn's cost.
    """

    def __init__(self, first: Insert | Update, second: Insert | Update) -> None:
        """Both with named parameters, whose names must differ."""
        self._first = first
        self._second = second
        self._as_one: str | None = None

    def execute(self, engine: Engine, first: dict[str, Any], second: dict[str, Any]) -> None:
        """Carry both out, with the parameters of each.

        :raises DBAPIError: as SQLAlchemy does, `IntegrityError` for one
        """
        if engine.dialect.name != "postgresql":
            with engine.connect() as connection:
                connection.execute(self._first, first)
                connection.execute(self._second, second)
            return
        if self._as_one is None:
            self._as_one = str(self._second.add_cte(self._first.cte()).compile(dialect=engine.dialect))
        parameters = {name: to_json(value) if isinstance(value, dict) else value for name, value in second.items()}
        _hand_to_psycopg(engine, self._as_one, {**first, **parameters})


def _hand_to_psycopg(engine: Engine, sql: str, parameters: dict[str, Any]) -> None:
    """Execute finished SQL on a pooled connection: through SQLAlchemy's own it costs half as much again.

    Errors leave as SQLAlchemy's, and a broken connection is replaced, as there.
    """
    pooled: PoolProxiedConnection | None = None
    try:
        pooled = engine.raw_connection()
        cast(CooperativeConnection, pooled.driver_connection).writer.execute(sql, parameters)
    except psycopg.Error as error:
        lost = pooled is None or engine.dialect.is_disconnect(cast(Any, error), pooled.driver_connection, None)
        if lost and pooled is not None:
            pooled.invalidate(error)
        raise DBAPIError.instance(
            sql, None, error, psycopg.Error, connection_invalidated=lost, dialect=engine.dialect
        ) from error
    finally:
        if pooled is not None:
            pooled.close()


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A connection for several statements that succeed or fail together."""
    with engine.connect() as connection:
        connection.execution_options(isolation_level=connection.default_isolation_level)
        with connection.begin():
            yield connection


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    """WAL lets readers go on beside the one writer; a writer that must wait waits instead of failing at once."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_TIMEOUT_MS}")
