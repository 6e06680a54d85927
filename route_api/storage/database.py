"""How the three databases are opened: SQLite for one machine, PostgreSQL and MySQL/MariaDB for several."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar, cast

import orjson
import psycopg
from flask import Flask
from psycopg.abc import PQGen
from sqlalchemy import Connection, Dialect, Engine, Insert, PoolProxiedConnection, Update, create_engine, event
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
together is a `WritePair`, or asks for a transaction by name (`migrations/env.py`). What users wrote, and the hashes
of their passwords, stay out of errors and thus of the log."""

POOL_SIZE = 10
"""Connections per worker. Transactions last a millisecond and none is open while a model talks, so a few serve many."""

CONNECT_S = 5
"""Seconds to wait for a connection; psycopg would wait for more than two minutes."""

ANSWER_S = 30
"""Seconds after which a statement is given up. A migration waits for as long as it takes (:func:`unlimited`)."""

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
    if url.get_backend_name() != "postgresql":  # For PostgreSQL, `TimedConnection` has the limit.
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


def _connect_to_postgresql(_dialect: Any, _record: Any, arguments: Any, options: Any) -> "TimedConnection":
    return TimedConnection.connect(*arguments, **options)


def unlimited(engine: Engine) -> Engine:
    """An engine for the same database whose statements may take any time, for migrations."""
    if engine.dialect.name == "sqlite":
        return engine
    return create_engine(engine.url, hide_parameters=True)


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


class TimedConnection(psycopg.Connection[Any]):
    """A connection to PostgreSQL that gives a statement up after :data:`ANSWER_S`. psycopg has no such limit, and
    `statement_timeout` is kept by PostgreSQL itself, so it does not help while PostgreSQL stands still."""

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait for PostgreSQL's answers, as psycopg does for each statement.

        The connection is closed when the wait ends without an answer: the answer may still come, and the next statement
        would take it for its own.

        :raises psycopg.OperationalError: no answer within ANSWER_S
        """
        begun = monotonic()
        try:
            return super().wait(gen, interval, ANSWER_S if timeout is None else timeout)
        except psycopg.Error as error:
            if timeout is not None or monotonic() - begun < ANSWER_S:
                raise
            self.close()
            raise psycopg.OperationalError(f"no answer within {ANSWER_S} seconds") from error
        except BaseException:  # gunicorn ends this greenlet, for example.
            self.close()
            raise


class WritePair:
    """Two writes that belong together.

    PostgreSQL gets them as one statement, the first as a common table expression of the second: one round trip, and one
    transaction. The other databases get one statement after the other.
    """

    def __init__(self, first: Insert | Update, second: Insert | Update) -> None:
        """Both take named parameters, whose names must differ."""
        self._first = first
        self._second = second
        self._sql: str | None = None

    def execute(self, engine: Engine, first: dict[str, Any], second: dict[str, Any]) -> None:
        """Carry both out, with the parameters of each.

        :raises DBAPIError: as SQLAlchemy does, `IntegrityError` for one
        """
        if engine.dialect.name == "postgresql":
            return self._execute_as_one(engine, {**first, **second})
        with engine.connect() as connection:
            connection.execute(self._first, first)
            connection.execute(self._second, second)

    def _execute_as_one(self, engine: Engine, parameters: dict[str, Any]) -> None:
        """Give psycopg the finished SQL. To let SQLAlchemy execute its own statement takes 160 us more, twice a turn: a
        fifth of what a turn costs.

        Errors are raised as SQLAlchemy's, and a broken connection leaves the pool, as with SQLAlchemy.
        """
        if self._sql is None:
            self._sql = str(self._second.add_cte(self._first.cte()).compile(dialect=engine.dialect))
        written = {name: to_json(value) if isinstance(value, dict) else value for name, value in parameters.items()}
        pooled: PoolProxiedConnection | None = None
        try:
            pooled = engine.raw_connection()
            cast(TimedConnection, pooled.driver_connection).execute(self._sql, written)
        except psycopg.Error as error:
            is_lost = pooled is None or engine.dialect.is_disconnect(cast(Any, error), pooled.driver_connection, None)
            if is_lost and pooled is not None:
                pooled.invalidate(error)
            raise DBAPIError.instance(
                self._sql, None, error, psycopg.Error, connection_invalidated=is_lost, dialect=engine.dialect
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
