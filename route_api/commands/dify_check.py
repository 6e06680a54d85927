"""The checks of `flask dify check`: what works, what is missing, and what to do about it. They change nothing."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import current_app
from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from config import Config

from ..access.limits import redis_of
from ..dify import CHAT_MODES, Dify, ready_models
from ..dify.breaker import FAILURES
from ..dify.breaker_state import RedisState
from ..errors import (
    ConsoleLoginRefused,
    ConsoleNotConfigured,
    DifyAuthFailed,
    DifyError,
    DifyForbidden,
    DifyNotFound,
    DifyUnreadable,
    NotSupported,
)
from ..extensions import db
from ..extensions import dify as configured_dify
from ..prompts.builder import BUDGETS
from ..prompts.variables import APP_VARIABLES, declared_variables

Json = dict[str, Any]
Model = tuple[str, str]
State = Literal["works", "missing", "optional", "unknown"]

SEARCHED_ROWS = 20
"""Knowledge bases, and documents in each, among which we search for a document to download."""

PROVISION = "run `flask --app wsgi dify provision`"
MODELS_PAGE = "in Dify under Settings → Model Provider"
LOGIN_SETTINGS = "set DIFY_CONSOLE_EMAIL and DIFY_CONSOLE_PASSWORD (`flask dify provision` writes them)"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of the check of one capability.

    :param state: it works; it is missing, though needed; it is missing, and optional; or we cannot know
    :param text: what was found, without secrets
    :param remedy: what to do about it; empty if there is nothing to do
    """

    capability: str
    state: State
    text: str
    remedy: str = ""


def check_everything(settings: Config, *, may_log_in: bool = True) -> list[Finding]:
    """Check the current application and its Dify.

    :param may_log_in: whether the console login may be tried. After six wrong passwords Dify locks the account for a
        day, and each try counts
    """
    return [*GatewayCheck(settings).findings(), *DifyCheck(settings, configured_dify, may_log_in).findings()]


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
        if self._settings.AUTH == "open":
            text = "AUTH=open: everybody who reaches the port may do everything"
            return Finding("callers", "works", text, "set AUTH=required and API_KEYS unless only you reach it")
        if not self._settings.API_KEYS:
            remedy = f"set API_KEYS to a long random text, or {PROVISION}"
            return Finding("callers", "missing", "API_KEYS is not set, so no backend could call", remedy)
        keys = len(self._settings.API_KEYS)
        return Finding("callers", "works", f"they need a key; {keys} in API_KEYS")

    def _logins(self) -> Finding:
        if self._settings.SECRET_KEY:
            return Finding("logins of users", "works", "SECRET_KEY is set")
        remedy = f"set SECRET_KEY to a long random text, or {PROVISION}"
        return Finding("logins of users", "optional", "SECRET_KEY is not set, so users cannot log in", remedy)

    def _counters(self) -> Finding:
        redis = redis_of(self._settings)
        if redis is None:
            return Finding("counters of limits", "works", "each process counts by itself")
        try:
            redis.ping()
        except RedisError:
            text = "Redis does not answer, so each process counts by itself"
            return Finding("counters of limits", "optional", text, "check LIMITS_STORAGE and the Redis server")
        return Finding("counters of limits", "works", "all processes count together, in Redis")

    def _breaker(self) -> Finding:
        name, rule = "circuit breaker", f"after {FAILURES} failures in a row calls to Dify of that kind fail at once"
        redis = redis_of(self._settings)
        if redis is None:
            text = f"{rule}; each worker by itself, so only /readyz and /metrics of a running gateway tell its state"
            return Finding(name, "works", text)
        if refused := sorted(RedisState(redis, self._settings.DIFY_BASE_URL).read()):
            text = f"running gateways refuse calls to Dify of these kinds: {', '.join(refused)}"
            return Finding(name, "unknown", text, "none, if Dify works: the gateways notice it within a few seconds")
        return Finding(name, "works", f"{rule}; no running gateway refuses calls now")

    def _database(self) -> Finding:
        upgrade = "run `flask --app wsgi db upgrade`"
        file = db.engine.url.database
        if db.engine.dialect.name == "sqlite" and file and not Path(file).exists():
            return Finding("database", "missing", "it has not been made yet", upgrade)
        scripts = ScriptDirectory.from_config(current_app.extensions["migrate"].migrate.get_config())
        try:
            with db.engine.connect() as connection:
                current = set(MigrationContext.configure(connection).get_current_heads())
        except SQLAlchemyError:
            text = "it cannot be reached, or refuses us"
            return Finding("database", "missing", text, "check DATABASE_URL and the database server")
        if current != set(scripts.get_heads()):
            return Finding("database", "missing", "its tables are not up to date", upgrade)
        return Finding("database", "works", f"{db.engine.dialect.name}, up to date")

    def _download_root(self) -> Finding:
        folder = self._settings.DOWNLOAD_ROOT
        existing = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
        if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
            return Finding("folder of document/get", "works", f"{folder} can be written")
        text = f"DOWNLOAD_ROOT, {folder}, cannot be written by the user who runs this"
        return Finding(
            "folder of document/get", "missing", text, f"let that user write {existing}, or set another folder"
        )


class DifyCheck:
    """Checks what Dify offers us with the keys and the console login of the settings."""

    def __init__(self, settings: Config, dify: Dify, may_log_in: bool) -> None:
        self._settings = settings
        self._dify = dify
        self._may_log_in = may_log_in
        self._has_login = dify.console.is_configured
        self._app_models: dict[str | None, Json] = {}
        self._was_refused = False
        dify.ask_directly()
        if not may_log_in:
            dify.forget_login()

    def findings(self) -> Iterator[Finding]:
        """Check each capability; if Dify does not answer, none but the first."""
        server = self._server()
        yield server
        if server.state != "works":
            text = "keys, apps, models, console login and downloads, as long as Dify is not there"
            yield Finding("all that Dify does", "unknown", text)
            return
        yield self._check("dataset key", "missing", self._dataset_key)
        yield self._check("console login", "missing", self._console_login)
        for model_name in (None, *self._dify.models_with_app):
            yield from self._app(model_name)
        yield self._check("indexing by meaning", "missing", self._embedding)
        yield self._check("reranking", "optional", self._rerank)
        yield self._check("download of files", "optional", self._download)
        yield self._check("model parameters per request", "optional", self._model_parameters)

    def _check(self, capability: str, otherwise: State, check: Callable[[], tuple[State, str, str]]) -> Finding:
        """Run one check.

        :param otherwise: the state if Dify refuses a call of the check
        :param check: returns the state, text and remedy of a :class:`Finding`
        """
        try:
            return Finding(capability, *check())
        except DifyAuthFailed as error:
            return Finding(capability, otherwise, error.message.rstrip("."), PROVISION)
        except DifyUnreadable:
            return Finding(capability, "unknown", "this version of Dify answers in a form that we do not know")
        except (DifyError, NotSupported) as error:
            return Finding(capability, otherwise, error.message.rstrip("."))

    def _server(self) -> Finding:
        address = self._settings.DIFY_BASE_URL
        if not address:
            remedy = f"{PROVISION}, or `make serve` for the sandbox"
            return Finding("Dify", "missing", "DIFY_BASE_URL is not set", remedy)
        try:
            version = self._dify.transport.server_version()
        except DifyError as error:
            text = f"{address}: {error.message.rstrip('.')}"
            return Finding("Dify", "missing", text, "start Dify, or correct DIFY_BASE_URL")
        if version is None:
            text = f"something answers at {address}, but does not say Dify's version"
            return Finding("Dify", "missing", text, "correct DIFY_BASE_URL, or let the proxy pass X-Version on")
        return Finding("Dify", "works", f"version {version} at {address}")

    def _dataset_key(self) -> tuple[State, str, str]:
        if not self._settings.DIFY_DATASET_API_KEY:
            return "missing", "DIFY_DATASET_API_KEY is not set", PROVISION
        total = self._dify.knowledge.list_datasets(1, 1)["total"]
        return "works", f"it opens {total} knowledge base{'' if total == 1 else 's'}", ""

    @cached_property
    def _login_problem(self) -> str:
        """Try the login, once, also if Dify has refused it before: the account may be unlocked now.

        :returns: why we cannot use the console; empty if we can
        """
        if not self._has_login:
            return "no console login is set"
        if not self._may_log_in:
            return "the console login was not tried"
        self._was_refused = self._dify.try_login_again()
        try:
            self._dify.provisioning.default_model("llm")
        except ConsoleLoginRefused as error:
            return error.message.partition(". ")[0].rstrip(".")  # The rest is about the gateway.
        return ""

    def _console_login(self) -> tuple[State, str, str]:
        problem = self._login_problem
        if not problem:
            again = (
                "; Dify had refused it before, the gateways use it again within seconds" if self._was_refused else ""
            )
            return "works", f"as {self._settings.DIFY_CONSOLE_EMAIL}{again}", ""
        if not self._settings.DIFY_CONSOLE_EMAIL:
            text = f"{problem}: no default models, no model parameters per request, on Dify 1.12.1 no downloads"
            return "optional", text, LOGIN_SETTINGS
        if not self._may_log_in:
            return "unknown", problem, "leave --without-login away"
        remedy = (
            "correct DIFY_CONSOLE_EMAIL and DIFY_CONSOLE_PASSWORD or remove both; the gateways do not try them again,"
            " but each run of this check does: six wrong passwords lock the account for a day, and Dify does not tell"
            " how many tries are left"
        )
        return "missing", problem, remedy

    def _app(self, model_name: str | None) -> Iterator[Finding]:
        """Check an app's key, variables and model; if the key does not work, the key alone."""
        of_app = f" of {model_name} in DIFY_APPS" if model_name else ""
        key = self._check(f"app key{of_app}", "missing", lambda: self._app_key(model_name))
        yield key
        if key.state == "works":
            yield self._check(f"input variables{of_app}", "unknown", lambda: self._variables(model_name))
            yield self._check(f"model behind the app{of_app}", "unknown", lambda: self._model(model_name))

    def _app_key(self, model_name: str | None) -> tuple[State, str, str]:
        if not model_name and not self._settings.DIFY_APP_API_KEY:
            return "missing", "DIFY_APP_API_KEY is not set", PROVISION
        try:
            app = self._dify.chat(model_name).info()
        except DifyForbidden:
            remedy = "switch it on in Dify, on the app's API Access page"
            return "missing", "the app's service API is switched off", remedy
        if app["mode"] not in CHAT_MODES:
            text = f"it is the key of “{app['name']}”, an app of the kind {app['mode']}, which takes no questions"
            return "missing", text, "set the key of a Chatbot or Chatflow"
        if app["mode"] == "agent-chat":
            return "works", f"it opens “{app['name']}”, an Agent, which only answers with \"streaming\": true", ""
        return "works", f"it opens “{app['name']}”", ""

    def _variables(self, model_name: str | None) -> tuple[State, str, str]:
        form = declared_variables(self._dify.chat(model_name).parameters())
        lacking = [name for name in APP_VARIABLES if name not in form]
        if lacking:
            remedy = "declare them in the app as paragraphs that are not required, and put them into its prompt"
            return "optional", f"{', '.join(lacking)} not declared, so their texts go into the question", remedy
        short = [f"{name} ({limit})" for name, budget in BUDGETS.items() if (limit := form[name]) and limit < budget]
        if short:
            remedy = "remove their maximum length in Dify"
            return "optional", f"their maximum length is too short: {', '.join(short)} characters", remedy
        return "works", ", ".join(APP_VARIABLES), ""

    def _model(self, model_name: str | None) -> tuple[State, str, str]:
        ready = self._models("llm")
        if not ready:
            return "missing", "the workspace has no language model that is ready", f"add one {MODELS_PAGE}"
        if self._login_problem:
            text = f"{self._login_problem}, so it is not known; ready in the workspace: {_names(ready)}"
            return "unknown", text, "ask a question to see"
        model = self._model_of(model_name)
        if not model.get("name"):
            return "missing", "the app has no model", "choose one on the app's page in Dify, and publish it"
        if (model.get("provider"), model["name"]) not in ready:
            remedy = f"fix it {MODELS_PAGE}, or choose another for the app"
            return "missing", f"{model['name']} is not ready", remedy
        return "works", f"{model['name']}; whether it answers, only a question shows", ""

    def _embedding(self) -> tuple[State, str, str]:
        ready = self._models("text-embedding")
        if not ready:
            remedy = f"add an embedding model {MODELS_PAGE}, or create every kb with indexing_technique economy"
            return "missing", "the workspace has no embedding model that is ready", remedy
        wanted = (self._settings.DIFY_EMBEDDING_PROVIDER, self._settings.DIFY_EMBEDDING_MODEL)
        if wanted[1] and wanted not in ready:
            remedy = "correct DIFY_EMBEDDING_MODEL and DIFY_EMBEDDING_PROVIDER, or empty both for Dify's default"
            return "missing", f"{wanted[1]} of {wanted[0]} is none of the embedding models that are ready", remedy
        if wanted[1]:
            return "works", wanted[1], ""
        if self._login_problem:
            return "works", f"by Dify's default; ready in the workspace: {_names(ready)}", ""
        default = self._dify.provisioning.default_model("text-embedding")
        return "works", f"by Dify's default, {default[1]}" if default else f"by {ready[0][1]}", ""

    def _rerank(self) -> tuple[State, str, str]:
        ready = self._models("rerank")
        if ready:
            return "works", ready[0][1], ""
        return "optional", "the workspace has no rerank model", f"add one {MODELS_PAGE} if you want reranking"

    def _download(self) -> tuple[State, str, str]:
        document = self._some_document()
        if document is None:
            return "unknown", "no knowledge base has a file yet that could be tried", ""
        try:
            self._dify.files.open_file(self._dify.files.locate(*document)).close()
        except ConsoleNotConfigured:
            text = "this version of Dify hands out files to a console login only"
            return "optional", text, LOGIN_SETTINGS
        except DifyNotFound:
            return "unknown", "the file that was tried is gone from Dify's storage", ""
        return "works", "the file of a document was opened", ""

    def _some_document(self) -> tuple[str, str] | None:
        """Find a document that was made from a file.

        :returns: the ids of its dataset and of the document; None if none was found
        """
        for dataset in self._dify.knowledge.list_datasets(1, SEARCHED_ROWS)["data"]:
            if dataset["document_count"]:
                for document in self._dify.knowledge.list_documents(dataset["id"], 1, SEARCHED_ROWS)["data"]:
                    if document["data_source_type"] == "upload_file":
                        return dataset["id"], document["id"]
        return None

    def _model_parameters(self) -> tuple[State, str, str]:
        if self._login_problem:
            if not self._settings.DIFY_CONSOLE_EMAIL:
                return "optional", self._login_problem, LOGIN_SETTINGS
            return "optional" if self._may_log_in else "unknown", self._login_problem, ""
        model = self._model_of(None)
        rules = self._dify.console.parameter_rules(model["provider"], model["name"]) if model.get("name") else []
        if not rules:
            return "optional", "the app's model has no parameters", ""
        return "works", f"{model['name']} has {', '.join(rule['name'] for rule in rules)}", ""

    def _model_of(self, model_name: str | None) -> Json:
        """Return `provider` and `name` of the model behind an app.

        The result is kept, because the console finds an app only with one call for each app of the workspace.
        """
        if model_name not in self._app_models:
            config = self._dify.console.app_model_config(self._dify.find_app(model_name))
            self._app_models[model_name] = config["model"]
        return self._app_models[model_name]

    def _models(self, model_type: str) -> list[Model]:
        return ready_models(self._dify.knowledge.list_models(model_type))


def _names(models: list[Model]) -> str:
    return ", ".join(name for _, name in models)
