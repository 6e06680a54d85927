"""Chooses the API of Dify through which a turn is asked: the service API of an app, or the debugger of Dify's console.

The service API accepts no model parameters. The debugger, which Dify's web page uses, accepts them
(`tests/contract/FINDINGS.md`, a). But its routes may change with every version of Dify, and it needs a console login.
So only a turn with model parameters, or with a model that has no app, uses the debugger.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from ..dify import CHATFLOW, ChatApi, DebuggerApi, override_model
from ..errors import NotSupported, ValidationFailed
from ..extensions import dify
from ..languages import Sentence
from ..prompts.variables import Form, declared_variables, fingerprint
from .dify_cache import dify_cache
from .request import ModelOptions

Json = dict[str, Any]

MAX_MODEL_LENGTH = 255
"""The length of the column that keeps the name of a model, in characters."""


@dataclass(frozen=True, slots=True)
class Backend:
    """An API of Dify through which a turn is asked.

    :param name: stored with the conversation, because no other backend can continue that conversation on Dify
    :param variables: the variables that the app declares
    :param form: a hash of them. Dify keeps a conversation on the configuration of the app with which it began. None for
        the debugger, which takes the configuration with each turn
    :param model: the model that the app runs; None if it is not known, and for the debugger
    :param model_config: the debugger's settings, which replace the app's published settings; None for the service API
    """

    name: str
    api: ChatApi | DebuggerApi
    variables: Form
    form: str | None = None
    model: str | None = None
    model_config: Json | None = None

    @property
    def is_debugger(self) -> bool:
        return self.model_config is not None

    @property
    def is_chatflow(self) -> bool:
        """Whether Dify answers with a chatflow. Only few turns need to know it, so Dify is not asked before.

        :raises DifyError: Dify does not say it
        """
        if isinstance(self.api, DebuggerApi):
            return False
        mode: str = dify_cache.get(("info", self.name), self.api.info)["mode"]
        return mode == CHATFLOW

    @property
    def needs_task(self) -> bool:
        """Whether a turn that must end waits for the id of Dify's task, without which nothing stops the model. A
        chatflow without one waits for a worker of Dify, so that no model runs yet.

        :raises DifyError: as :attr:`is_chatflow`
        """
        if self.api.stops_when_left:
            return False
        return not (isinstance(self.api, ChatApi) and self.api.queues_chatflows and self.is_chatflow)


def check_options(options: ModelOptions) -> None:
    """Refuse options that need settings that the operator has not made. Calls nothing.

    :raises NotSupported: the message names these settings
    """
    if not _is_for_service(options) and not dify.console.is_configured:
        raise NotSupported(_missing_settings(options))


def choose_backend(options: ModelOptions, form_lifetime: float | None = None) -> Backend:
    """Choose the backend for a turn. Calls Dify only for data that are not in the cache.

    :param form_lifetime: seconds after which the cached variables of an app of the service API are too old; None: the
        same as for all data
    :raises NotSupported: as :func:`check_options`, or the console does not have the app
    :raises ValidationFailed: Dify has no such model, or the model's provider has no such parameter
    """
    check_options(options)
    if _is_for_service(options):
        return _service_backend(options.model_name, form_lifetime)
    has_app = options.model_name in dify.models_with_app
    model_with_app = options.model_name if has_app else None
    app_id = _app_id(model_with_app)
    published = dify_cache.get(("model_config", app_id), partial(dify.console.app_model_config, app_id))
    model = published["model"]
    provider, name = model.get("provider") or "", model.get("name") or ""
    if options.model_name not in (None, name) and not has_app:
        # The default app runs another model. The debugger can run the requested model instead.
        provider, name = find_model(options.model_name or "")
    elif not options.has_parameters:
        # The default app already runs the requested model, and there are no parameters that need the debugger.
        return _service_backend(model_with_app, form_lifetime)
    if not name:
        raise NotSupported(
            Sentence("The Dify app has no model. The operator should choose one on the app's page in Dify.")
        )
    rules = dify_cache.get(("rules", provider, name), partial(dify.console.parameter_rules, provider, name))
    model_config = override_model(
        published,
        model=(provider, name),
        temperature=options.temperature,
        max_tokens=options.max_tokens,
        rules=rules if options.has_parameters else [],
    )
    variables = declared_variables(published)
    name = _backend_name("debugger", model_with_app)
    return Backend(name, dify.debugger(app_id), variables, model_config=model_config)


def known_variables(options: ModelOptions) -> Form | None:
    """The variables of the app that is to answer, without a call to Dify; None if they are not in the cache."""
    if _is_for_service(options):
        form: Form | None = dify_cache.known(("variables", options.model_name))
        return form
    published = _known_config(options.model_name if options.model_name in dify.models_with_app else None)
    return None if published is None else declared_variables(published)


def api_of(backend_name: str | None) -> ChatApi | DebuggerApi:
    """The API of the backend with this name. If its app is no longer configured, the default app is used.

    For a debugger the console is called, unless the id of the app is in the cache.

    :param backend_name: as it is stored with a turn; None if the turn has none
    """
    return service_api_of(backend_name) or dify.debugger(_app_id(_model_with_app(backend_name)))


def service_api_of(backend_name: str | None) -> ChatApi | None:
    """What :func:`api_of` returns; None if the backend is a debugger. Dify is not called.

    :param backend_name: as it is stored with a turn; None if the turn has none
    """
    is_debugger = (backend_name or "").partition(":")[0] == "debugger"
    return None if is_debugger else dify.chat(_model_with_app(backend_name))


def find_model(model_name: str) -> tuple[str, str]:
    """Find a model of the Dify workspace.

    :param model_name: the name, or `name@provider`
    :returns: the provider and the name
    :raises ValidationFailed: the workspace has no such model
    """
    wanted, _, wanted_provider = model_name.partition("@")
    providers = dify_cache.get(("models",), partial(dify.knowledge.list_models, "llm"))["data"]
    for provider in providers:
        for model in provider["models"]:
            if model["model"] == wanted and wanted_provider in ("", provider["provider"]):
                return provider["provider"], wanted
    known = ", ".join(sorted({model["model"] for provider in providers for model in provider["models"]}))
    raise ValidationFailed(
        Sentence(
            "model_name '{model_name}' is not a model of this Dify; it has: {known}.",
            model_name=model_name,
            known=known,
        )
    )


def _is_for_service(options: ModelOptions) -> bool:
    """Whether the service API of an app answers this turn, without a look at the console."""
    has_app = options.model_name is None or options.model_name in dify.models_with_app
    return has_app and not options.has_parameters


def _service_backend(model_with_app: str | None, form_lifetime: float | None) -> Backend:
    api = dify.chat(model_with_app)
    key = "variables", model_with_app
    variables = dify_cache.get(key, lambda: declared_variables(api.parameters()), form_lifetime)
    model = _known_model(model_with_app)
    return Backend(_backend_name("app", model_with_app), api, variables, fingerprint(variables), model)


def _known_config(model_with_app: str | None) -> Json | None:
    """The published configuration of an app, if it is in the cache."""
    app_id = dify_cache.known(("app_id", model_with_app))
    return app_id and dify_cache.known(("model_config", app_id))


def _known_model(model_with_app: str | None) -> str | None:
    """The model that an app runs, if a turn with parameters has lately asked the console for it. The service API does
    not tell it, and a turn that does not need the console must neither wait for it nor fail with it."""
    model = (_known_config(model_with_app) or {}).get("model") or {}
    return f"{model['name']}@{model.get('provider') or ''}"[:MAX_MODEL_LENGTH] if model.get("name") else None


def _app_id(model_with_app: str | None) -> str:
    """Dify's id of the app.

    :param model_with_app: the name of a model that has an app in DIFY_APPS; None for the default app
    """
    return dify_cache.get(("app_id", model_with_app), partial(dify.find_app, model_with_app))


def _model_with_app(backend_name: str | None) -> str | None:
    model_name = (backend_name or "").partition(":")[2]
    return model_name if model_name in dify.models_with_app else None


def _backend_name(kind: str, model_with_app: str | None) -> str:
    return f"{kind}:{model_with_app}" if model_with_app else kind


def _missing_settings(options: ModelOptions) -> Sentence:
    """The message for a caller whose options need settings that the operator has not made."""
    if options.has_parameters:
        return Sentence(
            "temperature and max_tokens need DIFY_CONSOLE_EMAIL and DIFY_CONSOLE_PASSWORD, a login to Dify's console;"
            " the operator has set none."
        )
    return Sentence(
        "model_name '{model_name}' needs an entry in DIFY_APPS (its name and the key of an app that runs it), or"
        " DIFY_CONSOLE_EMAIL and DIFY_CONSOLE_PASSWORD, a login to Dify's console; the operator has set neither.",
        model_name=options.model_name,
    )
