"""The checks of `flask dify check`: what works, what is missing, and what to do about it. They change nothing."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cached_property
from typing import Any

from config import Config

from ..chat.inputs import callers_must_give, can_be_given, nobody_can_give
from ..dify import CHAT_MODES, CHATBOT, CHATFLOW, Dify, ready_models
from ..errors import (
    ConsoleLoginRefused,
    ConsoleNotConfigured,
    DifyAuthFailed,
    DifyError,
    DifyForbidden,
    DifyNotFound,
    DifyRejected,
    DifyUnreadable,
    NotSupported,
)
from ..languages import DIFY, Sentence, quoted
from ..prompts.builder import BUDGETS
from ..prompts.variables import APP_VARIABLES, HISTORY, Form, declared_variables, our_limits
from .connection_limit import DEFAULT_CONNECTIONS, has_more_connections
from .finding import NOTHING, PROVISION, Finding, State, WithoutStop
from .gateway_check import GatewayCheck
from .version_check import version_findings

Json = dict[str, Any]
Model = tuple[str, str]
Found = tuple[State, Sentence, Sentence]
"""State, text and remedy of a :class:`Finding`."""

SEARCHED_ROWS = 20
"""Knowledge bases, and documents in each, among which we search for a document to download."""

NEVER_PUBLISHED = "app_unavailable"
"""Dify's code for an app without a published configuration (read in Dify's code)."""

WORKER_WAIT_S = 5.0
"""Seconds within which a chatflow must begin. It begins within 0.1 s if a worker of Dify is free (tests/contract,
chat/advanced-chat-query-empty-streaming)."""

LOGIN_SETTINGS = Sentence("set DIFY_CONSOLE_EMAIL and DIFY_CONSOLE_PASSWORD (`flask dify provision` writes them)")
SET_BOTH = Sentence("set both or neither")
ASK_A_QUESTION = Sentence("ask a question to see")


def check_everything(
    settings: Config, dify: Dify, *, may_log_in: bool = True, shows_addresses: bool = True
) -> list[Finding]:
    """Check the current application and its Dify.

    :param dify: a client for this check alone, because the check makes it ignore the breaker and forget the login
    :param may_log_in: whether the console login may be tried. After six wrong passwords Dify locks the account for a
        day, and each try counts
    :param shows_addresses: whether addresses and e-mail addresses are shown; else the names of their settings
    """
    of_dify = DifyCheck(settings, dify, may_log_in, shows_addresses).findings()
    return [*GatewayCheck(settings).findings(), *of_dify]


def report(settings: Config, dify: Dify) -> dict[str, Any]:
    """Check everything but the console login, for callers of the API.

    :param dify: a client for this check alone
    :returns: the `data` of `dify/check` without its time. It is kept for all callers, and each of them gets its
        sentences in their language
    """
    findings = check_everything(settings, dify, may_log_in=False, shows_addresses=False)
    shown = [{each.name: getattr(finding, each.name) for each in fields(Finding)} for finding in findings]
    return {"works": is_fine(findings), "findings": shown}


def is_fine(findings: list[Finding]) -> bool:
    """Whether everything works that is needed."""
    return not any(finding.state == "missing" for finding in findings)


class DifyCheck:
    """Checks what Dify offers us with the keys and the console login of the settings."""

    def __init__(self, settings: Config, dify: Dify, may_log_in: bool, shows_addresses: bool) -> None:
        self._settings = settings
        self._address = settings.DIFY_BASE_URL if shows_addresses else "DIFY_BASE_URL"
        self._email = settings.DIFY_CONSOLE_EMAIL if shows_addresses else "DIFY_CONSOLE_EMAIL"
        self._dify = dify
        self._may_log_in = may_log_in
        self._has_login = dify.console.is_configured
        self._app_models: dict[str | None, Json] = {}
        self._app_modes: dict[str | None, str] = {}
        self._app_forms: dict[str | None, Form] = {}
        self._was_refused = False
        self._is_worker_away = False
        dify.ask_directly()
        if not may_log_in:
            dify.forget_login()

    def findings(self) -> Iterator[Finding]:
        """Check each capability; if Dify does not answer, none but the first."""
        server = self._server()
        yield server
        if server.state != "works":
            text = Sentence("keys, apps, models, console login and downloads, as long as Dify is not there")
            yield Finding(Sentence("all that Dify does"), "unknown", text)
            return
        yield from version_findings(self._dify.transport.dify_version)
        yield self._check(Sentence("connections to Dify"), "unknown", self._connections)
        yield self._check(Sentence("dataset key"), "missing", self._dataset_key)
        yield self._check(Sentence("console login"), "missing", self._console_login)
        for model_name in (None, *self._dify.models_with_app):
            yield from self._app(model_name)
        yield self._check(Sentence("indexing by meaning"), "missing", self._embedding)
        yield self._check(Sentence("reranking"), "optional", self._rerank)
        yield self._check(Sentence("download of files"), "optional", self._download)
        yield self._check(Sentence("model parameters per request"), "optional", self._model_parameters)

    def _check(self, capability: Sentence, otherwise: State, check: Callable[[], Found]) -> Finding:
        """Run one check.

        :param otherwise: the state if Dify refuses a call of the check
        :param check: returns the state, text and remedy of a :class:`Finding`
        """
        try:
            return Finding(capability, *check())
        except DifyAuthFailed as error:
            return Finding(capability, otherwise, WithoutStop(error.message), PROVISION)
        except DifyUnreadable:
            text = Sentence("this version of Dify answers in a form that we do not know")
            return Finding(capability, "unknown", text)
        except (DifyError, NotSupported) as error:
            return Finding(capability, otherwise, WithoutStop(error.message))

    def _server(self) -> Finding:
        name, address = quoted(DIFY), self._address
        if not self._settings.DIFY_BASE_URL:
            remedy = Sentence("{provision}, or `make serve` for the sandbox", provision=PROVISION)
            return Finding(name, "missing", Sentence("DIFY_BASE_URL is not set"), remedy)
        try:
            version = self._dify.transport.server_version()
        except DifyError as error:
            text = Sentence("{address}: {problem}", address=address, problem=WithoutStop(error.message))
            return Finding(name, "missing", text, Sentence("start Dify, or correct DIFY_BASE_URL"))
        if version is None:
            text = Sentence("something answers at {address}, but does not say Dify's version", address=address)
            remedy = Sentence("correct DIFY_BASE_URL, or let the proxy pass X-Version on")
            return Finding(name, "missing", text, remedy)
        return Finding(name, "works", Sentence("version {version} at {address}", version=version, address=address))

    def _connections(self) -> Found:
        remedy = Sentence("set SERVER_WORKER_CONNECTIONS in Dify's own settings to more, for example 1000")
        has_more = has_more_connections(self._dify.transport)
        if has_more is None:
            text = Sentence(
                "a proxy or https may hide their limit (a Dify since 1.14 does not name itself); the default is"
                " {default}",
                default=DEFAULT_CONNECTIONS,
            )
            return "unknown", text, remedy
        if not has_more:
            text = Sentence(
                "at {default} open streams every other call, also a stop, waits until one ends",
                default=DEFAULT_CONNECTIONS,
            )
            return "optional", text, remedy
        text = Sentence("Dify takes more than {default} at the same time", default=DEFAULT_CONNECTIONS)
        return "works", text, NOTHING

    def _dataset_key(self) -> Found:
        if not self._settings.DIFY_DATASET_API_KEY:
            return "missing", Sentence("DIFY_DATASET_API_KEY is not set"), PROVISION
        total = self._dify.knowledge.list_datasets(1, 1)["total"]
        if total == 1:
            return "works", Sentence("it opens 1 knowledge base"), NOTHING
        return "works", Sentence("it opens {total} knowledge bases", total=total), NOTHING

    @cached_property
    def _login_problem(self) -> Sentence:
        """Try the login, once, also if Dify has refused it before: the account may be unlocked now.

        :returns: why we cannot use the console; empty if we can
        """
        if not self._has_login:
            return Sentence("no console login is set")
        if not self._may_log_in:
            return Sentence("the console login was not tried")
        self._was_refused = self._dify.try_login_again()
        try:
            self._dify.provisioning.default_model("llm")
        except ConsoleLoginRefused as error:
            return quoted(error.message.partition(". ")[0].rstrip("."))  # The rest is about the gateway.
        return NOTHING

    def _console_login(self) -> Found:
        problem = self._login_problem
        if not problem:
            if not self._was_refused:
                return "works", Sentence("as {email}", email=self._email), NOTHING
            text = Sentence(
                "as {email}; Dify had refused it before, the gateways use it again within seconds", email=self._email
            )
            return "works", text, NOTHING
        if not self._settings.DIFY_CONSOLE_EMAIL and self._settings.DIFY_CONSOLE_PASSWORD:
            return "missing", Sentence("DIFY_CONSOLE_PASSWORD is set without DIFY_CONSOLE_EMAIL"), SET_BOTH
        if not self._settings.DIFY_CONSOLE_EMAIL:
            text = Sentence(
                "{problem}: no default models, no model parameters per request, on Dify 1.12.1 no downloads",
                problem=problem,
            )
            return "optional", text, LOGIN_SETTINGS
        if not self._settings.DIFY_CONSOLE_PASSWORD:
            return "missing", Sentence("DIFY_CONSOLE_EMAIL is set without DIFY_CONSOLE_PASSWORD"), SET_BOTH
        if not self._may_log_in:
            text = Sentence("{email} is set and was not tried", email=self._email)
            return "unknown", text, Sentence("leave --without-login away to try it")
        remedy = Sentence(
            "correct DIFY_CONSOLE_EMAIL and DIFY_CONSOLE_PASSWORD or remove both; the gateways do not try them again,"
            " but each run of this check does: six wrong passwords lock the account for a day, and Dify does not tell"
            " how many tries are left"
        )
        return "missing", problem, remedy

    def _app(self, model_name: str | None) -> Iterator[Finding]:
        """Check an app's key, variables and model; if the key does not work, the key alone."""
        key = self._check(_of_app(Sentence("app key"), model_name), "missing", lambda: self._app_key(model_name))
        yield key
        if key.state != "missing":
            name = _of_app(Sentence("input variables"), model_name)
            yield self._check(name, "unknown", lambda: self._variables(model_name))
            if model_name in self._app_forms:
                name = _of_app(Sentence("further variables"), model_name)
                yield self._check(name, "unknown", lambda: self._further_variables(model_name))
            name = _of_app(Sentence("model behind the app"), model_name)
            yield self._check(name, "unknown", lambda: self._model(model_name))

    def _app_key(self, model_name: str | None) -> Found:
        if not model_name and not self._settings.DIFY_APP_API_KEY:
            return "missing", Sentence("DIFY_APP_API_KEY is not set"), PROVISION
        try:
            app = self._dify.chat(model_name).info()
        except DifyForbidden:
            remedy = Sentence("switch it on in Dify, on the app's API Access page")
            return "missing", Sentence("the app's service API is switched off"), remedy
        self._app_modes[model_name] = app["mode"]
        if app["mode"] not in CHAT_MODES:
            text = Sentence(
                "it is the key of “{name}”, an app of the kind {kind}, which takes no questions",
                name=app["name"],
                kind=app["mode"],
            )
            return "missing", text, Sentence("set the key of a Chatbot or Chatflow")
        if app["mode"] == CHATFLOW:
            begins = self._worker_begins(model_name)
            if begins is None:
                text = Sentence(
                    "it opens “{name}”, a Chatflow; this Dify does not tell whether its worker is there",
                    name=app["name"],
                )
                return "unknown", text, Sentence("ask a question to see; without Dify's worker it gets no answer")
            if not begins:
                text = Sentence(
                    "“{name}” is a Chatflow, and did not begin within {seconds:g} seconds",
                    name=app["name"],
                    seconds=WORKER_WAIT_S,
                )
                remedy = Sentence("start Dify's worker, which carries out chatflows, or look what keeps it busy")
                return "missing", text, remedy
        text = Sentence("it opens “{name}”, an app of the kind {kind}", name=app["name"], kind=app["mode"])
        return "works", text, NOTHING

    def _worker_begins(self, model_name: str | None) -> bool | None:
        """Whether Dify begins to carry out a chatflow; None if it does not tell. All chatflows have the same worker, so
        that after the first one that does not begin no other is waited for."""
        if not self._is_worker_away:
            begins = self._dify.chat(model_name).begins(WORKER_WAIT_S)
            self._is_worker_away = begins is False
            return begins
        return False

    def _variables(self, model_name: str | None) -> Found:
        try:
            form = self._app_forms[model_name] = declared_variables(self._dify.chat(model_name).parameters())
        except DifyRejected as error:
            if error.dify_code != NEVER_PUBLISHED:
                raise
            text = Sentence("the app was never published, so it answers no question")
            return "missing", text, Sentence("publish it in Dify")
        limits = our_limits(form)
        lacking = [name for name in APP_VARIABLES if name not in limits]
        if lacking:
            remedy = Sentence(
                "declare them in the app as paragraphs that are not required, and put them into its prompt"
            )
            return "optional", self._without_variables(model_name, lacking), remedy
        short = [f"{name} ({limit})" for name, budget in BUDGETS.items() if (limit := limits[name]) and limit < budget]
        if short:
            text = Sentence("their maximum length is too short: {names} characters", names=", ".join(short))
            return "optional", text, Sentence("remove their maximum length in Dify")
        return "works", quoted(", ".join(APP_VARIABLES)), NOTHING

    def _without_variables(self, model_name: str | None, lacking: list[str]) -> Sentence:
        """Where the texts go for which the app declares no variable (`chat/preparation.py`)."""
        is_chatflow = self._app_modes[model_name] == CHATFLOW
        in_question = [name for name in lacking if not (is_chatflow and name == HISTORY)]
        names = ", ".join(in_question)
        history = Sentence("history not declared: the model of this chatflow gets only what Dify itself remembers")
        if not in_question:
            return history
        if not is_chatflow:
            return Sentence("{names} not declared, so their texts go into the question", names=names)
        text = Sentence(
            "{names} not declared, so their texts go into the question, with which knowledge nodes of this chatflow"
            " search",
            names=names,
        )
        return text if in_question == lacking else Sentence("{text}; {more}", text=text, more=history)

    def _further_variables(self, model_name: str | None) -> Found:
        form = self._app_forms[model_name]
        if names := nobody_can_give(form):
            text = Sentence(
                "the app requires {names}, which this API cannot give, so every turn is refused",
                names=", ".join(names),
            )
            return "missing", text, Sentence("make them optional in Dify")
        if names := callers_must_give(form):
            text = Sentence("callers must give {names} in `inputs`, else the turn is a 400", names=", ".join(names))
            remedy = Sentence("give them a default in Dify, or make them optional, if callers do not know them")
            return "optional", text, remedy
        given = [name for name, each in form.items() if name not in our_limits(form) and can_be_given(each)]
        if not given:
            return "works", Sentence("the app declares none"), NOTHING
        return "works", Sentence("callers may give {names} in `inputs`", names=", ".join(given)), NOTHING

    def _model(self, model_name: str | None) -> Found:
        ready = self._models("llm")
        if not ready:
            text = Sentence("the workspace has no language model that is ready")
            return "missing", text, Sentence("add one in Dify under Settings → Model Provider")
        if self._login_problem:
            text = Sentence(
                "{problem}, so it is not known; ready in the workspace: {models}",
                problem=self._login_problem,
                models=_names(ready),
            )
            return "unknown", text, ASK_A_QUESTION
        if (mode := self._app_modes[model_name]) != CHATBOT:
            text = Sentence(
                "an app of the kind {kind} names it where only Dify looks; ready in the workspace: {models}",
                kind=mode,
                models=_names(ready),
            )
            return "unknown", text, ASK_A_QUESTION
        model = self._model_of(model_name)
        if not model.get("name"):
            remedy = Sentence("choose one on the app's page in Dify, and publish it")
            return "missing", Sentence("the app has no model"), remedy
        if (model.get("provider"), model["name"]) not in ready:
            remedy = Sentence("fix it in Dify under Settings → Model Provider, or choose another for the app")
            return "missing", Sentence("{model} is not ready", model=model["name"]), remedy
        text = Sentence("{model}; whether it answers, only a question shows", model=model["name"])
        return "works", text, NOTHING

    def _embedding(self) -> Found:
        ready = self._models("text-embedding")
        if not ready:
            remedy = Sentence(
                "add an embedding model in Dify under Settings → Model Provider, or create every kb with"
                " indexing_technique economy"
            )
            return "missing", Sentence("the workspace has no embedding model that is ready"), remedy
        wanted = (self._settings.DIFY_EMBEDDING_PROVIDER, self._settings.DIFY_EMBEDDING_MODEL)
        if wanted[1] and wanted not in ready:
            remedy = Sentence(
                "correct DIFY_EMBEDDING_MODEL and DIFY_EMBEDDING_PROVIDER, or empty both for Dify's default"
            )
            text = Sentence(
                "{model} of {provider} is none of the embedding models that are ready",
                model=wanted[1],
                provider=wanted[0],
            )
            return "missing", text, remedy
        if wanted[1]:
            return "works", quoted(wanted[1]), NOTHING
        if self._login_problem:
            text = Sentence("by Dify's default; ready in the workspace: {models}", models=_names(ready))
            return "works", text, NOTHING
        if default := self._dify.provisioning.default_model("text-embedding"):
            return "works", Sentence("by Dify's default, {model}", model=default[1]), NOTHING
        return "works", Sentence("by {model}", model=ready[0][1]), NOTHING

    def _rerank(self) -> Found:
        ready = self._models("rerank")
        if ready:
            return "works", quoted(ready[0][1]), NOTHING
        remedy = Sentence("add one in Dify under Settings → Model Provider if you want reranking")
        return "optional", Sentence("the workspace has no rerank model"), remedy

    def _download(self) -> Found:
        document = self._some_document()
        if document is None:
            return "unknown", Sentence("no knowledge base has a file yet that could be tried"), NOTHING
        try:
            self._dify.files.open_file(self._dify.files.locate(*document)).close()
        except ConsoleNotConfigured:
            if self._has_login:
                text = Sentence("files need the console login, and {problem}", problem=self._login_problem)
                return "unknown", text, NOTHING
            text = Sentence("this version of Dify hands out files to a console login only")
            return "optional", text, LOGIN_SETTINGS
        except DifyNotFound:
            return "unknown", Sentence("the file that was tried is gone from Dify's storage"), NOTHING
        return "works", Sentence("the file of a document was opened"), NOTHING

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

    def _model_parameters(self) -> Found:
        if self._login_problem:
            if not self._settings.DIFY_CONSOLE_EMAIL:
                return "optional", self._login_problem, LOGIN_SETTINGS
            return "optional" if self._may_log_in else "unknown", self._login_problem, NOTHING
        if (mode := self._app_modes.get(None, CHATBOT)) != CHATBOT:
            text = Sentence("the app is of the kind {kind}; only a Chatbot takes them", kind=mode)
            return "optional", text, Sentence("set DIFY_APP_API_KEY to the key of a Chatbot if callers need them")
        model = self._model_of(None)
        rules = self._dify.console.parameter_rules(model["provider"], model["name"]) if model.get("name") else []
        if not rules:
            return "optional", Sentence("the app's model has no parameters"), NOTHING
        names = ", ".join(rule["name"] for rule in rules)
        return "works", Sentence("{model} has {names}", model=model["name"], names=names), NOTHING

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


def _of_app(capability: Sentence, model_name: str | None) -> Sentence:
    """The name of a capability of an app; the app of DIFY_APP_API_KEY has no name."""
    if not model_name:
        return capability
    return Sentence("{capability} of {model_name} in DIFY_APPS", capability=capability, model_name=model_name)


def _names(models: list[Model]) -> str:
    return ", ".join(name for _, name in models)
