"""The steps of `flask dify provision`: make the keys and the app that are missing in Dify, and build our settings.

Nothing that works is changed. A key in the settings stays if Dify accepts it. A key that Dify shows masked is unknown:
if the settings have none, a new one is made. An app gets our prompt and variables only if it is ours and has neither.
If a run fails halfway, the next run finds and uses what it has made.

The console calls that these steps use are in `route_api/dify/`.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..dify import CHAT_MODES, Dify
from ..errors import DifyAuthFailed, DifyForbidden, DifyRejected, NotSupported
from ..prompts.variables import APP_VARIABLES, declared_variables

Json = dict[str, Any]

APP_NAME = "Route API"
APP_DESCRIPTION = "Answers the questions that come through Route API."

PRE_PROMPT = "{{instructions}}\n\n<context>\n{{context}}\n</context>\n\n<history>\n{{history}}\n</history>"
"""The app's prompt, with a placeholder for each of APP_VARIABLES. We write it once; the operator may change it."""

NO_LANGUAGE_MODEL = (
    "a language model: the workspace has none, so no question can be answered. Add one in Dify under Settings → Model"
    " Provider, then run this command again"
)
NO_EMBEDDING_MODEL = (
    "an embedding model: the workspace has none, so knowledge bases cannot be indexed by meaning. Add one in Dify under"
    " Settings → Model Provider"
)

State = Literal["reused", "made", "missing", "note"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run, as it is printed.

    :param state: `reused` and `made` say what was done with a thing; `missing` names a thing that only a person can
        add; `note` is for everything else that the operator should know
    :param text: the thing, or the note; without secrets
    """

    state: State
    text: str


@dataclass(frozen=True, slots=True)
class ProvisionResult:
    """The result of a run.

    :param settings: the gateway's settings by name
    :param is_complete: whether the gateway can answer questions with them
    """

    settings: dict[str, str]
    is_complete: bool


class Provisioner:
    """One run of `flask dify provision`, in the workspace of the console login."""

    def __init__(self, dify: Dify, existing: Mapping[str, str], report: Callable[[Step], None]) -> None:
        """
        :param dify: a client with the console login, and with the keys of `existing`
        :param existing: the settings that the gateway has for this Dify already
        :param report: is called after each step
        """
        self._dify = dify
        self._existing = existing
        self._report = report

    def run(self) -> ProvisionResult:
        """Make everything that is missing.

        :raises DifyError: Dify cannot be reached, or refuses a call; the next run uses what this one has made
        """
        models = self._dify.provisioning.models("llm")
        settings = {
            "DIFY_DATASET_API_KEY": self._dataset_key(),
            "DIFY_APP_API_KEY": self._app_key(models),
            **self._own_settings(),
        }
        if not models:
            self._report(Step("missing", NO_LANGUAGE_MODEL))
        if not self._dify.provisioning.models("text-embedding"):
            self._report(Step("missing", NO_EMBEDDING_MODEL))
        return ProvisionResult(settings, is_complete=bool(models))

    def _dataset_key(self) -> str:
        if existing := self._existing.get("DIFY_DATASET_API_KEY"):
            try:
                self._dify.knowledge.list_datasets(1, 1)
            except DifyAuthFailed:
                self._report(Step("note", "Dify refuses the dataset key of the settings, which is replaced"))
            except DifyForbidden:
                self._report(Step("note", "the dataset key of the settings is for one knowledge base and is replaced"))
            else:
                self._report(Step("reused", "the dataset key of the settings"))
                return existing
        keys = self._dify.provisioning.dataset_keys()
        if keys:
            self._report(Step("reused", "a dataset key of the workspace"))
            return keys[0]
        key = self._dify.provisioning.create_dataset_key()
        self._report(Step("made", "a dataset key"))
        return key

    def _app_key(self, models: list[tuple[str, str]]) -> str:
        existing = self._existing.get("DIFY_APP_API_KEY")
        if existing and self._prepare_existing_app(models):
            return existing
        if existing:
            self._report(Step("note", "no questions can be asked with the app key of the settings, which is replaced"))
        app_id = self._find_or_create_app()
        self._prepare_app(self._dify.provisioning.app(app_id), models)
        keys = self._dify.provisioning.app_keys(app_id)
        if keys:
            self._report(Step("reused", "a key of the app"))
            return keys[0]
        key = self._dify.provisioning.create_app_key(app_id)
        self._report(Step("made", "a key of the app"))
        return key

    def _prepare_existing_app(self, models: list[tuple[str, str]]) -> bool:
        """Prepare the app whose key is in the settings.

        :returns: whether the key can be used
        """
        try:
            takes_questions = self._dify.chat().info()["mode"] in CHAT_MODES
        except DifyForbidden:  # The app's service API is switched off.
            takes_questions = False
        except (DifyAuthFailed, DifyRejected):
            return False
        try:
            app = self._dify.provisioning.app(self._dify.find_app())
        except NotSupported:  # A Chatflow, an Agent, or an app in another workspace.
            if takes_questions:
                self._report(Step("reused", "the app key of the settings; its app is none that this login can prepare"))
            return takes_questions
        self._report(Step("reused", f"the app key of the settings, of the app “{app['name']}”"))
        self._prepare_app(app, models)
        return True

    def _find_or_create_app(self) -> str:
        apps = self._dify.provisioning.chat_apps(APP_NAME)
        if apps:
            self._report(Step("reused", f"the chat app “{APP_NAME}”"))
            return str(apps[0]["id"])
        app_id = self._dify.provisioning.create_chat_app(APP_NAME, APP_DESCRIPTION)
        self._report(Step("made", f"the chat app “{APP_NAME}”"))
        return app_id

    def _prepare_app(self, app: Json, models: list[tuple[str, str]]) -> None:
        """Switch on the app's service API, and write our prompt and variables if the app is ours and has neither."""
        if not app["enable_api"]:
            self._dify.provisioning.open_app(app["id"])
            self._report(Step("made", "the app's service API was off, and is on now"))
        config = app["model_config"]
        lacking = [name for name in APP_VARIABLES if name not in declared_variables(config)]
        if not lacking:
            return
        is_untouched = not config.get("pre_prompt") and not config.get("user_input_form")
        if app["name"] == APP_NAME and is_untouched:
            if models:
                self._dify.provisioning.configure_app(app["id"], app_config(config["model"], models))
                self._report(Step("made", f"the app's prompt, with the variables {', '.join(APP_VARIABLES)}"))
            return
        names = ", ".join(lacking)
        self._report(
            Step("note", f"the app declares no variable {names}, so their texts go into the question; its prompt stays")
        )

    def _own_settings(self) -> dict[str, str]:
        """Make the settings for the gateway's own callers. Those that exist stay, also AUTH=open."""
        made = {
            "AUTH": ("required", "AUTH=required: callers need a key or a login"),
            "API_KEYS": (secrets.token_urlsafe(32), "a service key for your backends (API_KEYS)"),
            "SECRET_KEY": (secrets.token_urlsafe(32), "what signs the logins of users (SECRET_KEY)"),
        }
        for name, (_, meaning) in made.items():
            if name not in self._existing:
                self._report(Step("made", meaning))
        if kept := [name for name in made if name in self._existing]:
            self._report(Step("reused", f"{', '.join(kept)} of the settings"))
        if self._existing.get("AUTH") == "open":
            self._report(Step("note", "AUTH=open: everybody who reaches the port may do everything"))
        return {name: self._existing.get(name, value) for name, (value, _) in made.items()}


def app_config(published: Json, models: list[tuple[str, str]]) -> Json:
    """Build the configuration of our app. Dify uses its defaults for all other keys (as recorded in
    tests/contract/dify-1.8.1/provisioning/empty-model-config.json).

    :param published: the app's `model`; it is replaced if it is not ready
    :param models: the models that are ready, the default first; not empty
    """
    chosen = (published.get("provider"), published.get("name"))
    provider, name = chosen if chosen in models else models[0]
    return {
        "model": {"provider": provider, "name": name, "mode": "chat", "completion_params": {}},
        "pre_prompt": PRE_PROMPT,
        "user_input_form": [
            {"paragraph": {"label": variable, "variable": variable, "required": False, "default": ""}}
            for variable in APP_VARIABLES
        ],
        "suggested_questions_after_answer": {"enabled": True},  # Dify writes them only when message/suggested asks.
    }
