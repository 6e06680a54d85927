"""Readiness: the database answers and has the tables of this version, and Dify answers."""

import logging
import threading
from time import monotonic

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from .dify import Breaker, Transport
from .errors import DifyError
from .extensions import component

log = logging.getLogger(__name__)

CACHE_S = 1.0
"""Seconds for which the result of a check is returned again."""

CONNECT_TIMEOUT_S = 1.0
READ_TIMEOUT_S = 2.0
"""Short, because load balancers wait a few seconds only. A broken connection is tried twice (`dify/retries.py`)."""


class HealthCheck:
    """Checks the database and Dify, at most once per second however many requests come."""

    def __init__(self, engine: Engine, migrations: ScriptDirectory, dify: Transport, breaker: Breaker) -> None:
        self._engine = engine
        self._dify = dify
        self._breaker = breaker
        heads = set(migrations.get_heads())
        self._outdated = {script.revision for script in migrations.walk_revisions()} - heads
        self._lock = threading.Lock()
        self._problems: dict[str, str] = {}
        self._check_at = 0.0

    def problems(self) -> dict[str, str]:
        """Check, or return the result of the last second.

        :returns: the reason for each part that is not ready, `database` or `dify`, in words that callers may read;
            details are in the log
        """
        with self._lock:
            if monotonic() >= self._check_at:
                found = {"database": self._database_problem(), "dify": self._dify_problem()}
                self._problems = {part: problem for part, problem in found.items() if problem is not None}
                self._check_at = monotonic() + CACHE_S
            return self._problems

    def _database_problem(self) -> str | None:
        try:
            with self._engine.connect() as connection:
                revisions = set(MigrationContext.configure(connection).get_current_heads())
        except SQLAlchemyError as error:
            log.error("not ready: the database: %s", error)
            return "The database does not answer."
        # An unknown revision belongs to a newer version, which is being deployed: meanwhile this one keeps serving.
        if revisions <= self._outdated:
            return "The database's tables are not those of this version: the operator should run `flask db upgrade`."
        return None

    def _dify_problem(self) -> str | None:
        try:
            self._dify.ping()
        except DifyError as error:
            log.error("not ready: %s dify_status=%s", error.message, error.dify_status)
            return f"{error.message} {self.refused_calls()}".rstrip()
        return None

    def refused_calls(self) -> str:
        """A sentence about the calls to Dify that are refused at once; empty if there are none.

        If Dify answers, they are no reason to be not ready: a search that fails in Dify fails for every gateway, and if
        all of them were not ready, the load balancer would have none for the requests that work.
        """
        kinds = self._breaker.refused_kinds()
        return (
            f"Calls to Dify of these kinds fail at once until Dify answers them: {', '.join(kinds)}." if kinds else ""
        )


health_check: HealthCheck = component("health_check")


def health_check_of(app: Flask, engine: Engine, dify_address: str, breaker: Breaker) -> HealthCheck:
    """The health check of an application.

    :param dify_address: the setting DIFY_BASE_URL
    """
    migrations = ScriptDirectory(app.extensions["migrate"].directory)
    dify = Transport(dify_address, connect_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S, pool_size=1)
    return HealthCheck(engine, migrations, dify, breaker)
