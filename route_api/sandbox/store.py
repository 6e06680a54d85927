"""Where the sandbox keeps everything: one SQLite file and a folder of uploaded files.

Every module of the sandbox that has tables names them in a constant `SCHEMA` (idempotent SQL, `CREATE ... IF
NOT EXISTS`) and hands it to `Store.create_tables`; nothing else makes tables.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flask import current_app

BUSY_TIMEOUT_S = 30


class Store:
    """The sandbox's database and files; one per process, and a connection of its own for each thread."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.files_dir = data_dir / "files"
        self.files_dir.mkdir(parents=True, exist_ok=True)
        self._local = threading.local()

    def connection(self) -> sqlite3.Connection:
        """This thread's connection: autocommit, WAL, rows by name, foreign keys on."""
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
        """A write transaction: begun at once (`IMMEDIATE`), committed at the end, rolled back on an error."""
        connection = self.connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def create_tables(self, schema: str) -> None:
        """Run a module's idempotent `SCHEMA`."""
        self.connection().executescript(schema)


def current_store() -> Store:
    """The store of the application that serves this request."""
    return current_app.extensions["sandbox_store"]
