"""How the three databases are opened: SQLite for one machine, PostgreSQL and MySQL/MariaDB for several."""

import sqlite3
from pathlib import Path
from typing import Any

import orjson
from flask import Flask, current_app
from sqlalchemy import Connection, Engine, Insert, Update, event
from sqlalchemy.engine import make_url

from .extensions import db

SQLITE_BUSY_TIMEOUT_MS = 30_000
JSON_CODEC: dict[str, Any] = {
    "json_serializer": lambda value: orjson.dumps(value).decode(),
    "json_deserializer": orjson.loads,
}
POOL_SIZE = 10
"""Connections per worker. Transactions last a millisecond and none is open while a model talks, so a few serve many."""


def engine_options(database_uri: str) -> dict[str, Any]:
    """Arguments of `create_engine` for this database."""
    url = make_url(database_uri)
    if url.get_backend_name() == "sqlite":
        if url.database and url.database != ":memory:":
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        return JSON_CODEC
    return {**JSON_CODEC, "pool_size": POOL_SIZE, "max_overflow": POOL_SIZE, "pool_recycle": 1800, "pool_pre_ping": False}


def init_app(app: Flask) -> None:
    """Prepare SQLite's connections, if SQLite it is, and the engine whose statements commit by themselves."""
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            event.listen(db.engine, "connect", _prepare_sqlite)
        app.extensions["autocommit_engine"] = db.engine.execution_options(isolation_level="AUTOCOMMIT")


class PairedWrite:
    """Two writes that belong together: one statement where the database can, else one after the other.

    PostgreSQL takes the first as a common table expression of the second, in one round trip and one transaction. Both are
    made once, with named parameters: building a statement anew costs more than sending it.
    """

    def __init__(self, first: Insert | Update, second: Insert | Update) -> None:
        self._first = first
        self._second = second
        self._as_one = second.add_cte(first.cte())

    def execute(self, connection: Connection, first: dict[str, Any], second: dict[str, Any]) -> None:
        """Carry both out, with the parameters of each, whose names must differ."""
        if connection.dialect.name == "postgresql":
            connection.execute(self._as_one, {**first, **second})
        else:
            connection.execute(self._first, first)
            connection.execute(self._second, second)


def autocommit_engine() -> Engine:
    """The application's engine, with the same pool, for statements that each are a transaction of their own."""
    engine: Engine = current_app.extensions["autocommit_engine"]
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    """WAL lets readers go on beside the one writer; a writer that must wait waits instead of failing at once."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_TIMEOUT_MS}")
