"""A PgBouncer in front of the PostgreSQL of this machine."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from . import databases
from .deployment import Process, program
from .patience import PATIENCE_S
from .running_gateway import free_port

POOL_MODES = ("transaction", "statement")
"""PgBouncer's modes in which a client has no connection to PostgreSQL of its own."""

CONNECTIONS = 2
"""Connections of PgBouncer to each database. So few that statements of one client go over either."""

CONFIGURATION = """
[databases]
* = host=127.0.0.1 port=5432 user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {connections}
max_client_conn = 200
"""


class PgBouncer(Process):
    """A PgBouncer. It accepts everybody as the user postgres.

    :param mode: PgBouncer's setting `pool_mode`
    """

    def __init__(self, mode: str, log_folder: Path) -> None:
        executable = program("pgbouncer")
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="route-api-pgbouncer-"))
        self._folder.chmod(0o755)
        configuration = self._folder / "pgbouncer.ini"
        configuration.write_text(CONFIGURATION.format(port=self.port, mode=mode, connections=CONNECTIONS))
        # PgBouncer refuses to run as root. If this process is killed, Linux sends SIGTERM to it.
        user = ["--reuid=nobody", "--clear-groups"] if os.getuid() == 0 else []
        command = [program("setpriv"), *user, "--pdeathsig=TERM", executable, "--quiet", str(configuration)]
        super().__init__("pgbouncer", command, log_folder)

    def is_up(self) -> bool:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S).close()
            return True
        return False

    def stop(self) -> None:
        """End PgBouncer at once. Its exit status is then 1."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(PATIENCE_S)
        shutil.rmtree(self._folder)


@contextmanager
def database_behind_pgbouncer(mode: str, name: str, log_folder: Path) -> Iterator[str]:
    """The URL of a new empty database behind a PgBouncer."""
    bouncer = PgBouncer(mode, log_folder)
    with databases.fresh_database("postgresql", name):
        bouncer.start()
        try:
            yield f"postgresql://postgres@127.0.0.1:{bouncer.port}/{name}"
        finally:
            bouncer.stop()


NAMES = [*databases.SERVERS, *(f"pgbouncer-{mode}" for mode in POOL_MODES)]
ON_SERVERS = [pytest.param(name, marks=pytest.mark.server) for name in NAMES]


@pytest.fixture(scope="module", params=["sqlite", *ON_SERVERS])
def database_or_pooler_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a new database of each kind, and of PostgreSQL behind a PgBouncer in each mode. A module names it
    `database_url`, for the fixtures of `databases.py` that depend on it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('database') / 'test.sqlite3'}"
    elif request.param in databases.SERVERS:
        with databases.fresh_database(request.param, databases.NAME) as url:
            yield url
    else:
        mode = request.param.removeprefix("pgbouncer-")
        with database_behind_pgbouncer(mode, databases.NAME, tmp_path_factory.mktemp("pgbouncer")) as url:
            yield url
