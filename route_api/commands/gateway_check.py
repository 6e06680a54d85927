"""The checks of what the gateway itself needs. They change nothing."""

import os
from collections.abc import Iterator
from pathlib import Path

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import current_app
from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from config import Config

from ..access.limits import redis_of
from ..dify.breaker import FAILURES
from ..dify.breaker_state import RedisState
from ..extensions import db
from ..languages import Sentence
from .finding import PROVISION, Finding


class GatewayCheck:
    """Checks what the gateway itself needs: keys for its callers, a database, a folder for downloads."""

    def __init__(self, settings: Config) -> None:
        self._settings = settings

    def findings(self) -> Iterator[Finding]:
        """Check each capability."""
        yield self._callers()
        yield self._logins()
        yield self._counters()
        yield self._breaker()
        yield self._database()
        yield self._download_root()

    def _callers(self) -> Finding:
        name = Sentence("callers")
        if self._settings.AUTH == "open":
            text = Sentence("AUTH=open: everybody who reaches the port may do everything")
            remedy = Sentence("set AUTH=required and API_KEYS unless only you reach it")
            return Finding(name, "works", text, remedy)
        if not self._settings.API_KEYS:
            remedy = Sentence("set API_KEYS to a long random text, or {provision}", provision=PROVISION)
            return Finding(name, "missing", Sentence("API_KEYS is not set, so no backend could call"), remedy)
        keys = len(self._settings.API_KEYS)
        return Finding(name, "works", Sentence("they need a key; {keys} in API_KEYS", keys=keys))

    def _logins(self) -> Finding:
        name = Sentence("logins of users")
        if self._settings.SECRET_KEY:
            return Finding(name, "works", Sentence("SECRET_KEY is set"))
        remedy = Sentence("set SECRET_KEY to a long random text, or {provision}", provision=PROVISION)
        return Finding(name, "optional", Sentence("SECRET_KEY is not set, so users cannot log in"), remedy)

    def _counters(self) -> Finding:
        name = Sentence("counters of limits")
        redis = redis_of(self._settings)
        if redis is None:
            return Finding(name, "works", Sentence("each process counts by itself"))
        try:
            redis.ping()
        except RedisError:
            text = Sentence("Redis does not answer, so each process counts by itself")
            return Finding(name, "optional", text, Sentence("check LIMITS_STORAGE and the Redis server"))
        return Finding(name, "works", Sentence("all processes count together, in Redis"))

    def _breaker(self) -> Finding:
        name = Sentence("circuit breaker")
        redis = redis_of(self._settings)
        if redis is None:
            text = Sentence(
                "after {failures} failures in a row calls to Dify of that kind fail at once; each worker by itself, so"
                " only /readyz and /metrics of a running gateway tell its state",
                failures=FAILURES,
            )
            return Finding(name, "works", text)
        if refused := sorted(RedisState(redis, self._settings.DIFY_BASE_URL).read()):
            text = Sentence("running gateways refuse calls to Dify of these kinds: {kinds}", kinds=", ".join(refused))
            remedy = Sentence("none, if Dify works: the gateways notice it within a few seconds")
            return Finding(name, "unknown", text, remedy)
        text = Sentence(
            "after {failures} failures in a row calls to Dify of that kind fail at once; no running gateway refuses"
            " calls now",
            failures=FAILURES,
        )
        return Finding(name, "works", text)

    def _database(self) -> Finding:
        name = Sentence("database")
        upgrade = Sentence("run `flask --app wsgi db upgrade`")
        file = db.engine.url.database
        if db.engine.dialect.name == "sqlite" and file and not Path(file).exists():
            return Finding(name, "missing", Sentence("it has not been made yet"), upgrade)
        scripts = ScriptDirectory.from_config(current_app.extensions["migrate"].migrate.get_config())
        try:
            with db.engine.connect() as connection:
                current = set(MigrationContext.configure(connection).get_current_heads())
        except SQLAlchemyError:
            text = Sentence("it cannot be reached, or refuses us")
            return Finding(name, "missing", text, Sentence("check DATABASE_URL and the database server"))
        if current != set(scripts.get_heads()):
            return Finding(name, "missing", Sentence("its tables are not up to date"), upgrade)
        return Finding(name, "works", Sentence("{kind}, up to date", kind=db.engine.dialect.name))

    def _download_root(self) -> Finding:
        name = Sentence("folder of document/get")
        folder = self._settings.DOWNLOAD_ROOT
        existing = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
        if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
            return Finding(name, "works", Sentence("{folder} can be written", folder=folder))
        text = Sentence("DOWNLOAD_ROOT, {folder}, cannot be written by the user who runs this", folder=folder)
        remedy = Sentence("let that user write {existing}, or set another folder", existing=existing)
        return Finding(name, "missing", text, remedy)
