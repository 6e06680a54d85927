"""Whether the gateway should get requests: its database answers and has this version's tables, and Dify answers."""

import logging
import threading
from time import monotonic

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from .dify import Transport
from .errors import DifyError

log = logging.getLogger(__name__)

CHECK_S = 1.0
"""Seconds for which what was found is told to everybody who asks."""

CONNECT_S = 1.0
ANSWER_S = 2.0
"""Seconds that Dify may take to accept a connection and to answer. A load balancer that asks us does not wait long.
A broken connection is tried twice (dify/retries.py)."""


class HealthCheck:
    """Looks at the database and at Dify, once a second at the most however many ask."""

    def __init__(self, engine: Engine, migrations: ScriptDirectory, dify: Transport) -> None:
        self._engine = engine
        self._dify = dify
        heads = set(migrations.get_heads())
        self._outdated = {script.revision for script in migrations.walk_revisions()} - heads
        self._lock = threading.Lock()
        self._problems: dict[str, str] = {}
        self._check_at = 0.0

    def problems(self) -> dict[str, str]:
        """What is not ready, `database` or `dify`, and why, in words that may be shown. The log says more."""
        with self._lock:
            if monotonic() >= self._check_at:
                found = {"database": self._database_problem(), "dify": self._dify_problem()}
                self._problems = {part: problem for part, problem in found.items() if problem is not None}
                self._check_at = monotonic() + CHECK_S
            return self._problems

    def _database_problem(self) -> str | None:
        try:
            with self._engine.connect() as connection:
                revisions = set(MigrationContext.configure(connection).get_current_heads())
        except SQLAlchemyError as error:
            log.error("not ready: the database: %s", error)
            return "The database does not answer."
        # A revision that we do not know is a newer version's: while that one takes over, this one still serves.
        if revisions <= self._outdated:
            return "The database's tables are not those of this version: the operator should run `flask db upgrade`."
        return None

    def _dify_problem(self) -> str | None:
        try:
            self._dify.ping()
        except DifyError as error:
            log.error("not ready: %s dify_status=%s", error.message, error.dify_status)
            return error.message
        return None


def health_check_of(app: Flask, engine: Engine, dify_address: str) -> HealthCheck:
    """The health check of an application.

    :param dify_address: the setting DIFY_BASE_URL
    """
    migrations = ScriptDirectory(app.extensions["migrate"].directory)
    dify = Transport(dify_address, connect_timeout=CONNECT_S, read_timeout=ANSWER_S, pool_size=1)
    return HealthCheck(engine, migrations, dify)
