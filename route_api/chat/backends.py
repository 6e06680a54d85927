"""How a turn is carried to Dify: by an app's service API, or by the console's debugger.

The service API takes no model parameters. The debugger route of Dify's own web page does (FINDINGS a), but it may
change with any version and needs a console login, so a turn that asks for nothing special goes the service way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

from .. import prompts
from ..dify import ChatApi, DebuggerApi, override_model
from ..errors import NotSupported, ValidationFailed
from ..extensions import components, dify

Json = dict[str, Any]
T = TypeVar("T")

CACHE_LIFETIME_S = 300.0
"""Seconds for which an answer of Dify's about its apps and models is used again."""


class DifyCache:
    """Answers of Dify's about its apps and models, which hardly change."""

    def __init__(self) -> None:
        self._answers: dict[tuple[Any, ...], tuple[float, Any]] = {}

    def get(self, key: tuple[Any, ...], ask: Callable[[], T]) -> T:
        """The answer under this key; where there is none from the last CACHE_LIFETIME_S, `ask` gets it."""
        known = self._answers.get(key)
        if known is None or known[0] < monotonic():
            known = (monotonic() + CACHE_LIFETIME_S, ask())
            self._answers[key] = known
        answer: T = known[1]
        return answer


@dataclass(frozen=True, slots=True)
class Wish:
    """What a turn asks of the model; None leaves it to the app."""

    model_name: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None

    @property
    def has_parameters(self) -> bool:
        return self.temperature is not None or self.max_tokens is not None


@dataclass(frozen=True, slots=True)
class Carrier:
    """A way to Dify.

    :param name: under which it is remembered with the conversation
    :param form: the variables that its app declares, each with its `max_length`
    :param model_config: what the debugger is to run instead of the published settings; None on the service way
    """

    name: str
    api: ChatApi | DebuggerApi
    form: dict[str, int | None]
    model_config: Json | None = None

    @property
    def is_debugger(self) -> bool:
        return self.model_config is not None


def choose_carrier(wish: Wish) -> Carrier:
    """The way for a turn. No upstream call for what is remembered from the last five minutes.

    :raises NotSupported: what is asked for needs settings that are missing; the text says which
    :raises ValidationFailed: Dify has no such model, or its provider no such parameter
    """
    own_app = wish.model_name in dify.app_models
    if not wish.has_parameters and (wish.model_name is None or own_app):
        return _service(wish.model_name)
    if not dify.console.is_configured:
        raise NotSupported(_what_to_configure(wish, own_app))
    base = wish.model_name if own_app else None
    app_id = components.dify_cache.get(("app_id", base), lambda: dify.find_app(base))
    published = components.dify_cache.get(("model_config", app_id), lambda: dify.console.app_model_config(app_id))
    model = published["model"]
    provider, name = model["provider"], model["name"]
    if wish.model_name not in (None, name) and not own_app:
        provider, name = find_model(wish.model_name or "")
    elif not wish.has_parameters:
        return _service(base)
    rules = components.dify_cache.get(("rules", provider, name), lambda: dify.console.parameter_rules(provider, name))
    model_config = override_model(
        published,
        model=(provider, name),
        temperature=wish.temperature,
        max_tokens=wish.max_tokens,
        rules=rules if wish.has_parameters else [],
    )
    form = prompts.declared_variables(published)
    return Carrier(_name("debugger", base), dify.debugger(app_id), form, model_config)


def api_of(name: str | None) -> ChatApi | DebuggerApi:
    """The way that was remembered under this name; the default app's for none, or for one no longer configured."""
    kind, _, model_name = (name or "app").partition(":")
    base = model_name if model_name in dify.app_models else None
    if kind == "debugger":
        return dify.debugger(components.dify_cache.get(("app_id", base), lambda: dify.find_app(base)))
    return dify.chat(base)


def find_model(model_name: str) -> tuple[str, str]:
    """Provider and name of a model of the workspace, given its name or `name@provider`.

    :raises ValidationFailed: the workspace has no such model
    """
    wanted, _, wanted_provider = model_name.partition("@")
    providers = components.dify_cache.get(("models",), lambda: dify.knowledge.list_models("llm"))["data"]
    for provider in providers:
        for model in provider["models"]:
            if model["model"] == wanted and wanted_provider in ("", provider["provider"]):
                return provider["provider"], wanted
    known = ", ".join(sorted({model["model"] for provider in providers for model in provider["models"]}))
    raise ValidationFailed(f"model_name '{model_name}' is not a model of this Dify; it has: {known}.")


def _service(model_name: str | None) -> Carrier:
    api = dify.chat(model_name)
    form = components.dify_cache.get(("form", model_name), lambda: prompts.declared_variables(api.parameters()))
    return Carrier(_name("app", model_name), api, form)


def _name(kind: str, model_name: str | None) -> str:
    return f"{kind}:{model_name}" if model_name else kind


def _what_to_configure(wish: Wish, own_app: bool) -> str:
    console = "DIFY_CONSOLE_EMAIL and DIFY_CONSOLE_PASSWORD, a login to Dify's console"
    if wish.has_parameters:
        return f"temperature and max_tokens need {console}; the operator has set none."
    return (
        f"model_name '{wish.model_name}' needs an entry in DIFY_APPS (its name and the key of an app that runs it), or"
        f" {console}; the operator has set neither."
    )
