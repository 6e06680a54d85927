"""Opens the database and limits its times. Executes statements that belong together: `WriteTogether` and `write_rows`.

SQLite is for a gateway on one machine, PostgreSQL and MySQL/MariaDB are for several machines.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar, cast

import orjson
import psycopg
from flask import Flask
from psycopg.abc import PQGen
from sqlalchemy import Connection, Dialect, Engine, Insert, PoolProxiedConnection, Update, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    DBAPIError,
    DisconnectionError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.pool import ConnectionPoolEntry

from ..extensions import db
from ..languages import Sentence

T = TypeVar("T")

SQLITE_WAIT_S = 10.0
"""Seconds for which a statement waits while another connection or process has locked the SQLite database."""

SQLITE_LONGEST_PAUSE_S = 0.05
"""The longest pause in seconds between two tries of that statement. The first pause is a millisecond."""


def to_json(value: Any) -> str:
    """JSON text for a JSON column."""
    return orjson.dumps(value).decode()


COMMON_OPTIONS: dict[str, Any] = {
    "isolation_level": "AUTOCOMMIT",
    "pool_reset_on_return": None,
    "json_serializer": to_json,
    "json_deserializer": orjson.loads,
    "hide_parameters": True,
}
"""Each statement is a transaction of its own, because BEGIN and COMMIT would add two round trips to each statement.
Statements that belong together use `WriteTogether` or :func:`write_rows`. With `hide_parameters`, error messages and
the log do not contain the texts of users and the hashes of their passwords."""

POSTGRESQL_OPTIONS: dict[str, Any] = {"client_encoding": "utf8", "use_native_hstore": False}
"""A database in SQL_ASCII would otherwise give us bytes in place of texts. And SQLAlchemy would look for the type
hstore, which we do not use, in a transaction, which a PgBouncer in statement mode refuses."""

POOL_SIZE = 10
"""Connections that each worker keeps open. It opens as many again for a short time if all are in use (`max_overflow`).
A statement takes about a millisecond, and no turn holds a connection while its model generates. So this is enough."""

CONNECT_TIMEOUT_S = 5
"""Seconds to wait until the database server accepts a new connection. psycopg's default is more than two minutes."""

RESULT_TIMEOUT_S = 30
"""Seconds to wait for the result of a statement. Migrations have no such limit (:func:`engine_without_timeout`)."""

PING_AFTER_IDLE_S = 5.0
"""If a connection of the pool was idle for this many seconds, it is tested before its next use."""


def engine_options(database_uri: str) -> dict[str, Any]:
    """The arguments of SQLAlchemy's `create_engine` for this database. Creates the folder of a SQLite file."""
    url = make_url(database_uri)
    if url.get_backend_name() == "sqlite":
        pool: dict[str, Any] = {}
        if url.database and url.database != ":memory:":
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            # Statements that wait for a lock hold their connections, and others should still be able to read.
            pool = {"pool_size": POOL_SIZE, "max_overflow": 3 * POOL_SIZE, "pool_timeout": SQLITE_WAIT_S}
        return {**COMMON_OPTIONS, **pool, "connect_args": {"timeout": 0, "factory": PatientConnection}}
    limits: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_S}
    if url.get_backend_name() != "postgresql":  # For PostgreSQL, `TimedConnection` limits the time.
        limits |= {"read_timeout": RESULT_TIMEOUT_S, "write_timeout": RESULT_TIMEOUT_S}
    return {
        **COMMON_OPTIONS,
        **(POSTGRESQL_OPTIONS if url.get_backend_name() == "postgresql" else {}),
        "pool_size": POOL_SIZE,
        "max_overflow": POOL_SIZE,
        "pool_recycle": 1800,
        "connect_args": limits,
    }


def init_app(app: Flask) -> None:
    """Set up the connections of the engine: SQLite's pragmas, PostgreSQL's time limit, tests of idle connections."""
    with app.app_context():
        engine = db.engine
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    else:
        if engine.dialect.name == "postgresql":
            event.listen(engine, "do_connect", _connect_to_postgresql)
        event.listen(engine, "checkin", _remember_use)
        event.listen(engine, "checkout", partial(_ping_if_idle, engine.dialect))


def _connect_to_postgresql(_dialect: Any, _record: Any, arguments: Any, options: Any) -> "TimedConnection":
    """Connect to PostgreSQL, or to a PgBouncer in front of it."""
    connection = TimedConnection.connect(*arguments, autocommit=True, **options)
    if has_pooler(connection):
        # PgBouncer may execute each statement on another connection to PostgreSQL. That one would not know the prepared
        # statement, or would have another one of the same name. Without a pooler they save 0.1 ms for each statement.
        connection.prepare_threshold = None
    return connection


def has_pooler(connection: psycopg.Connection[Any]) -> bool:
    """Whether a connection pooler such as PgBouncer is between us and PostgreSQL.

    A pooler cannot know which process of PostgreSQL will execute our statements, so the process number that it sends at
    the beginning of a connection is none of PostgreSQL's.
    """
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return row is None or row[0] != connection.info.backend_pid


def engine_without_timeout(engine: Engine) -> Engine:
    """An engine for the same database without a time limit for statements, for migrations."""
    if engine.dialect.name == "sqlite":
        return engine
    options: dict[str, Any] = {}
    if engine.dialect.name == "postgresql":  # A PgBouncer may be in front of it, see `_connect_to_postgresql`.
        options = {**POSTGRESQL_OPTIONS, "connect_args": {"prepare_threshold": None}}
    return create_engine(engine.url, isolation_level="AUTOCOMMIT", hide_parameters=True, **options)


def lacks_characters(connection: Connection) -> Sentence | None:
    """Whether a PostgreSQL database cannot store all characters. On MySQL and MariaDB our tables have a charset.

    :returns: a sentence that says what to do; None if it can
    """
    if connection.dialect.name != "postgresql":
        return None
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding in ("UTF8", "SQL_ASCII"):  # SQL_ASCII stores the bytes that it gets.
        return None
    return Sentence(
        "The database of DATABASE_URL has the encoding {encoding}, which lacks characters that users write,"
        " such as Chinese ones: create it again with ENCODING 'UTF8'.",
        encoding=encoding,
    )


def refuses_transactions(engine: Engine) -> bool:
    """Whether a PgBouncer with `pool_mode = statement` is between us and PostgreSQL: it refuses BEGIN."""
    if engine.dialect.name != "postgresql":
        return False
    try:
        with engine.connect() as connection:
            connection.execution_options(isolation_level=connection.default_isolation_level)
            connection.execute(text("SELECT 1"))
    except DBAPIError as error:
        if "statement pooling mode" in str(error.orig):
            return True
        raise
    return False


def _remember_use(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info["used_at"] = monotonic()


def _ping_if_idle(dialect: Dialect, connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
    """Test a connection that was idle, because the server may have closed it, for example in a restart.

    SQLAlchemy's `pool_pre_ping` would test the connection before each use, which adds a round trip to each statement.

    :raises DisconnectionError: the connection is broken; the pool then replaces it
    """
    if monotonic() - record.info.get("used_at", monotonic()) < PING_AFTER_IDLE_S:
        return
    try:
        dialect.do_ping(connection)
    except Exception as error:
        raise DisconnectionError from error


class TimedConnection(psycopg.Connection[Any]):
    """A connection to PostgreSQL that waits at most :data:`RESULT_TIMEOUT_S` seconds for the result of a statement.

    psycopg has no such limit. PostgreSQL has one (`statement_timeout`), but does not apply it when PostgreSQL hangs.
    """

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait for the result of a statement. psycopg calls this method for each statement.

        If the wait ends without a result, the connection is closed. Otherwise the next statement would receive the late
        result of this statement.

        :raises psycopg.OperationalError: no result within RESULT_TIMEOUT_S
        """
        begun = monotonic()
        try:
            return super().wait(gen, interval, RESULT_TIMEOUT_S if timeout is None else timeout)
        except psycopg.Error as error:
            if timeout is not None or monotonic() - begun < RESULT_TIMEOUT_S:
                raise
            self.close()
            raise psycopg.OperationalError(f"no answer within {RESULT_TIMEOUT_S} seconds") from error
        except (
            UnicodeError,
            TypeError,
        ):  # A parameter cannot be converted. Nothing was sent: the connection is usable.
            raise
        except BaseException:  # For example, gunicorn has killed this greenlet.
            self.close()
            raise


def _is_locked(error: sqlite3.OperationalError) -> bool:
    """Whether another try may succeed. After SQLITE_BUSY_SNAPSHOT none can: a transaction that has begun with a read
    cannot write once another connection has written. :func:`transaction` avoids this."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_BUSY and code != sqlite3.SQLITE_BUSY_SNAPSHOT


def _try_until_unlocked(function: Callable[[], T], error: sqlite3.OperationalError) -> T:
    """Repeat a statement with pauses until the database is not locked any more.

    SQLite can wait by itself (`busy_timeout`), but does so in C, where gevent cannot run other greenlets meanwhile.

    :param error: the error of the first try
    :raises sqlite3.OperationalError: the database was locked for SQLITE_WAIT_S seconds, or another error
    """
    ends_at, pause = monotonic() + SQLITE_WAIT_S, 0.001
    while _is_locked(error) and monotonic() < ends_at:
        sleep(pause)
        pause = min(2 * pause, SQLITE_LONGEST_PAUSE_S)
        try:
            return function()
        except sqlite3.OperationalError as next_error:
            error = next_error
    raise error


class PatientCursor(sqlite3.Cursor):
    """A cursor of SQLite that waits for a lock and lets other greenlets run meanwhile.

    `executemany` does not wait: outside of a transaction, a repetition would execute its first rows twice. Inside of
    :func:`transaction` it need not wait.
    """

    def execute(self, sql: str, parameters: Any = (), /) -> "PatientCursor":
        """Execute a statement.

        :raises sqlite3.OperationalError: the database was locked for SQLITE_WAIT_S seconds, or another error
        """
        try:
            return super().execute(sql, parameters)
        except sqlite3.OperationalError as error:
            return _try_until_unlocked(partial(super().execute, sql, parameters), error)


class PatientConnection(sqlite3.Connection):
    """A connection to SQLite whose statements wait for a lock and let other greenlets run meanwhile."""

    def cursor(self, factory: Any = PatientCursor) -> Any:
        return super().cursor(factory)

    def commit(self) -> None:
        """Commit, and wait for a lock as :meth:`PatientCursor.execute` does."""
        try:
            super().commit()
        except sqlite3.OperationalError as error:
            _try_until_unlocked(super().commit, error)


MYSQL_REFUSALS = (1153, 1300)
"""Error numbers for a text that is too long or that is no UTF-8. PyMySQL makes them OperationalErrors."""


def refuses_values(error: Exception) -> bool:
    """Whether a statement failed because the database, or its driver, refuses the values, so that no repetition helps.

    A lost connection, a lock and a full disk are no refusals. Some other errors count as one although they are none,
    for example that of a database that is read-only for a moment. So the caller must try the same statement with other
    values: if that fails too, the values are not the reason.
    """
    if isinstance(error, OperationalError):
        number = error.orig.args[0] if error.orig is not None and error.orig.args else None
        return number in MYSQL_REFUSALS
    if isinstance(error, DBAPIError):
        return not error.connection_invalidated and not isinstance(error, InterfaceError)
    return isinstance(error, StatementError) or not isinstance(error, SQLAlchemyError)


class WriteTogether:
    """Writes that belong together.

    On PostgreSQL they are one statement: the last one has the others as common table expressions. So they need one
    round trip, they succeed or fail together, and they need no transaction, which a PgBouncer in statement mode would
    refuse.
    """

    def __init__(self, *writes: Insert | Update) -> None:
        """
        :param writes: each an INSERT or UPDATE with named parameters. No two of them have a name in common
        """
        self._writes = writes
        self._sql: str | None = None
        self._constants: Mapping[str, Any] = {}
        """The values in the statements that are no parameters."""

    def execute(self, engine: Engine, *parameters: dict[str, Any], needs_transaction: bool = False) -> None:
        """Execute the statements.

        :param parameters: those of each statement
        :param needs_transaction: whether the other databases, too, must execute all or none of them. Otherwise they
            execute each one in its own transaction, in the given order, which is faster
        :raises DBAPIError: a statement failed; the subclasses are SQLAlchemy's, for example `IntegrityError`
        """
        if engine.dialect.name == "postgresql":
            return self._execute_as_one(engine, {name: value for each in parameters for name, value in each.items()})
        with transaction(engine) if needs_transaction else engine.connect() as connection:
            for write, own_parameters in zip(self._writes, parameters, strict=True):
                connection.execute(write, own_parameters)

    def _execute_as_one(self, engine: Engine, parameters: dict[str, Any]) -> None:
        """Compile the statement once, and let psycopg execute the SQL.

        SQLAlchemy's own execution takes 160 us more for each pair. The first turn of a conversation executes two pairs,
        so this saves a fifth of its CPU time. A later turn executes a pair only if its conversation on Dify changes.

        Errors of psycopg become errors of SQLAlchemy, and a broken connection is removed from the pool, as SQLAlchemy's
        own execution does it.
        """
        if self._sql is None:
            *others, last = self._writes
            compiled = last.add_cte(*(write.cte() for write in others)).compile(dialect=engine.dialect)
            self._constants, self._sql = compiled.params, str(compiled)
        written = {name: to_json(value) if isinstance(value, dict) else value for name, value in parameters.items()}
        pooled: PoolProxiedConnection | None = None
        try:
            pooled = engine.raw_connection()
            cast(TimedConnection, pooled.driver_connection).execute(self._sql, {**self._constants, **written})
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


def write_rows(engine: Engine, write: Insert | Update, rows: Sequence[dict[str, Any]]) -> None:
    """Execute a statement for several rows, in one transaction. Several transactions would need several disk flushes.

    psycopg sends all rows before it waits for a result (its pipeline mode); PostgreSQL executes them as one transaction
    without a BEGIN, which a PgBouncer in statement mode would refuse.

    :param rows: the parameters of the statement for each row
    """
    with engine.connect() if engine.dialect.name == "postgresql" else transaction(engine) as connection:
        connection.execute(write, rows)


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A connection to SQLite, MySQL or MariaDB for several statements that succeed or fail together.

    On SQLite the transaction takes the lock for writing at its beginning. If it began with a read and another
    connection wrote before its first write, this write would fail at once, and could not be repeated.
    """
    with engine.connect() as connection:
        connection.execution_options(isolation_level=connection.default_isolation_level)
        with connection.begin():
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    """Set SQLite's pragmas. With WAL, reads continue during a write.

    The file is locked for a moment while another process opens it first or closes it last. `connection.execute` would
    not wait then: it makes a cursor of sqlite3's own class.
    """
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
