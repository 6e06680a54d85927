"""The storage of the sandbox: one SQLite file and a folder of uploaded files.

A module with tables defines them in a constant `SCHEMA` (`CREATE ... IF NOT EXISTS`), and the columns that its tables
got later in `ADDED_COLUMNS`. `create_sandbox` passes both to the store, so that an older data folder stays usable.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flask import current_app

BUSY_TIMEOUT_S = 30


class Store:
    """The database and the files. A process has one store; each thread has its own connection."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.files_dir = data_dir / "files"
        self.files_dir.mkdir(parents=True, exist_ok=True)
        self._local = threading.local()

    def connection(self) -> sqlite3.Connection:
        """Return this thread's connection: autocommit, WAL, rows with named columns, foreign keys on."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self.data_dir / "sandbox.sqlite3", timeout=BUSY_TIMEOUT_S, isolation_level=None
            )
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA foreign_keys=ON")
            self._local.connection = connection
        return connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a write transaction (`BEGIN IMMEDIATE`). It is committed at the end, and rolled back on an error."""
        connection = self.connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def create_tables(self, schema: str) -> None:
        """Run a module's `SCHEMA`. A table that exists stays as it is."""
        self.connection().executescript(schema)

    def add_columns(self, table: str, columns: Iterable[str]) -> None:
        """Add columns to a table. Columns that exist stay as they are.

        :param columns: definitions in SQL, such as `mode TEXT NOT NULL DEFAULT 'chat'`
        """
        connection = self.connection()
        existing = {row["name"] for row in connection.execute(f"PRAGMA table_info({table})")}
        for column in columns:
            if column.split()[0] not in existing:
                connection.execute(f"ALTER TABLE {table} ADD COLUMN {column}")


def current_store() -> Store:
    """Return the store of the current application."""
    return current_app.extensions["sandbox_store"]
