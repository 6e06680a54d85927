"""Readiness (the database answers and has this version's tables, and Dify answers), and the last report of what
Dify can do."""

import contextvars
import logging
import threading
from collections.abc import Callable
from functools import partial
from time import monotonic, time
from typing import Any, cast

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from .dify import Breaker, Transport
from .errors import DifyError, TooManyRequests
from .extensions import component
from .languages import Sentence, joined
from .storage.database import lacks_characters

log = logging.getLogger(__name__)

CACHE_S = 1.0
"""Seconds for which the result of a check is returned again."""

REPORT_S = 30.0
"""Seconds for which a :class:`CapabilityReport` returns its result again: it makes about ten calls to Dify."""

RETRY_S = 5
"""The `Retry-After`, in seconds, of a caller who comes while another one waits for the first report of the process."""

ANSWER_S = 2.0
"""Seconds within which the database and Dify must answer. Load balancers wait a few seconds only, and the limits of our
database connections are longer."""

CONNECT_TIMEOUT_S = 1.0
READ_TIMEOUT_S = 2.0
"""Of the call to Dify. A broken connection is tried twice (`dify/retries.py`)."""

DATABASE_SILENT = Sentence("The database does not answer.")
DIFY_SILENT = Sentence("Dify did not answer in time.")


class Probe:
    """A question to a server, asked in a thread of its own, so that nobody must wait longer than they want."""

    def __init__(self, ask: Callable[[], Sentence | None], late_text: Sentence) -> None:
        """
        :param ask: returns a problem, or None if there is none
        :param late_text: the problem if `ask` does not return in time
        """
        self._ask = ask
        self._late_text = late_text
        self._thread: threading.Thread | None = None
        self._problem: Sentence | None = None

    def begin(self) -> None:
        """Ask, unless the last question still waits for its answer: the threads must not become many."""
        if self._thread is None or not self._thread.is_alive():
            run = partial(contextvars.copy_context().run, self._run)  # For the X-Request-Id of the call to Dify.
            self._thread = threading.Thread(target=run, name="health-check", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            self._problem = self._ask()
        except Exception:
            log.exception("not ready: a check met an unexpected error")
            self._problem = Sentence("A check of the gateway failed; the log says why.")

    def problem(self, ends_at: float) -> Sentence | None:
        """Wait for the answer.

        :param ends_at: the time at which the wait ends without an answer, as a value of `monotonic`
        :returns: the problem; None if there is none
        """
        thread = cast(threading.Thread, self._thread)
        thread.join(max(0.0, ends_at - monotonic()))
        if thread.is_alive():
            log.error("not ready: no answer within %g s: %s", ANSWER_S, self._late_text)
            return self._late_text
        return self._problem


class HealthCheck:
    """Checks the database and Dify side by side, at most once per second however many requests come.

    A check takes ANSWER_S at the most. A request that comes during a check waits for its result.
    """

    def __init__(self, engine: Engine, migrations: ScriptDirectory, dify: Transport, breaker: Breaker) -> None:
        self._engine = engine
        self._dify = dify
        self._breaker = breaker
        self._probes = {
            "database": Probe(self._database_problem, DATABASE_SILENT),
            "dify": Probe(self._dify_problem, DIFY_SILENT),
        }
        heads = set(migrations.get_heads())
        self._outdated = {script.revision for script in migrations.walk_revisions()} - heads
        self._lock = threading.Lock()
        self._problems: dict[str, Sentence] = {}
        self._check_at = 0.0

    def problems(self) -> dict[str, Sentence]:
        """Check, or return the result of the last second.

        :returns: the reason for each part that is not ready, `database` or `dify`, in words that callers may read;
            details are in the log
        """
        with self._lock:
            if monotonic() >= self._check_at:
                for probe in self._probes.values():
                    probe.begin()
                ends_at = monotonic() + ANSWER_S
                found = {part: probe.problem(ends_at) for part, probe in self._probes.items()}
                self._problems = {part: problem for part, problem in found.items() if problem is not None}
                if "dify" in self._problems and (refused := self.refused_calls()):
                    self._problems["dify"] = joined([self._problems["dify"], refused])
                self._check_at = monotonic() + CACHE_S
            return self._problems

    def _database_problem(self) -> Sentence | None:
        try:
            with self._engine.connect() as connection:
                revisions = set(MigrationContext.configure(connection).get_current_heads())
                problem = lacks_characters(connection)
        except SQLAlchemyError as error:
            log.error("not ready: the database: %s", error)
            return DATABASE_SILENT
        # An unknown revision belongs to a newer version, which is being deployed: meanwhile this one keeps serving.
        if revisions <= self._outdated:
            return Sentence(
                "The database's tables are not those of this version: the operator should run `flask db upgrade`."
            )
        return problem

    def _dify_problem(self) -> Sentence | None:
        try:
            self._dify.ping()
        except DifyError as error:
            log.error("not ready: %s dify_status=%s", error.message, error.dify_status)
            return error.message
        return None

    def refused_calls(self) -> Sentence | None:
        """A sentence about the calls to Dify that are refused at once; None if there are none.

        If Dify answers, they are no reason to be not ready: a search that fails in Dify fails for every gateway, and if
        all of them were not ready, the load balancer would have none for the requests that work.
        """
        kinds = self._breaker.refused_kinds()
        return (
            Sentence(
                "Calls to Dify of these kinds fail at once until Dify answers them: {kinds}.", kinds=", ".join(kinds)
            )
            if kinds
            else None
        )


class CapabilityReport:
    """What the gateway and its Dify can do, at most once per `REPORT_S` seconds however many requests come.

    A check of a silent Dify takes DIFY_READ_TIMEOUT. Requests that come meanwhile do not wait for it: they would occupy
    all threads of the worker.
    """

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        """
        :param make: checks everything, and returns the `data` of `dify/check` without its time
        """
        self._make = make
        self._lock = threading.Lock()
        self._report: dict[str, Any] = {}
        self._make_at = 0.0

    def latest(self) -> dict[str, Any]:
        """Check, or return the last result.

        :returns: `works`, `findings`, and `checked_at` in seconds since 1970
        :raises TooManyRequests: another request is making the first check
        """
        if self._lock.acquire(blocking=False):
            try:
                if not self._report or monotonic() >= self._make_at:
                    self._report = {"checked_at": int(time()), **self._make()}
                    self._make_at = monotonic() + REPORT_S
            finally:
                self._lock.release()
        if not self._report:
            raise TooManyRequests(
                Sentence("Another request is making this check; try again in a few seconds."), retry_after=RETRY_S
            )
        return self._report


health_check: HealthCheck = component("health_check")
capability_report: CapabilityReport = component("capability_report")


def health_check_of(app: Flask, engine: Engine, dify_address: str, breaker: Breaker) -> HealthCheck:
    """The health check of an application.

    :param dify_address: the setting DIFY_BASE_URL
    """
    migrations = ScriptDirectory(app.extensions["migrate"].directory)
    dify = Transport(dify_address, connect_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S, pool_size=1)
    return HealthCheck(engine, migrations, dify, breaker)
