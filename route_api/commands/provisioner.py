"""From a Dify and an admin's login to the settings of a gateway: what is there is used, what is missing is made.

Nothing that works is changed: a key of the settings that Dify takes stays, and an app gets its prompt and variables
only if it is ours and has neither. A run that broke off has left nothing that the next one would not find again.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .. import prompts
from ..dify import CHAT_MODES, Dify
from ..errors import DifyAuthFailed, DifyForbidden, DifyRejected, NotSupported

Json = dict[str, Any]

APP_NAME = "Route API"
APP_DESCRIPTION = "Answers the questions that come through Route API."

VARIABLES = ("instructions", "context", "history")
"""What `prompts.compose` has to say besides the question; the app declares a variable for each."""

PRE_PROMPT = "{{instructions}}\n\n<context>\n{{context}}\n</context>\n\n<history>\n{{history}}\n</history>"
"""The app's prompt. It is written once; after that it is the operator's, who may change it in Dify."""

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
class Note:
    """What was done about one thing; `text` holds no secret."""

    state: State
    text: str


@dataclass(frozen=True, slots=True)
class Provisioned:
    """The settings for the gateway, and whether it can answer questions with them."""

    settings: dict[str, str]
    is_complete: bool


class Provisioner:
    """One run of `flask dify provision`, in Dify's workspace of the login."""

    def __init__(self, dify: Dify, known: Mapping[str, str], report: Callable[[Note], None]) -> None:
        """
        :param dify: with the login, and with the keys of `known`
        :param known: the settings that there are, for this Dify
        :param report: is told what was done, as soon as it is done
        """
        self._dify = dify
        self._known = known
        self._report = report

    def run(self) -> Provisioned:
        """Do what is missing.

        :raises DifyError: Dify cannot be reached, or refused; nothing that was made is lost for the next run
        """
        models = self._dify.provisioning.models("llm")
        settings = {
            "DIFY_DATASET_API_KEY": self._dataset_key(),
            "DIFY_APP_API_KEY": self._app_key(models),
            **self._own_settings(),
        }
        if not models:
            self._report(Note("missing", NO_LANGUAGE_MODEL))
        if not self._dify.provisioning.models("text-embedding"):
            self._report(Note("missing", NO_EMBEDDING_MODEL))
        return Provisioned(settings, is_complete=bool(models))

    def _dataset_key(self) -> str:
        known = self._known.get("DIFY_DATASET_API_KEY")
        if known and _is_taken(lambda: self._dify.knowledge.list_datasets(1, 1)):
            self._report(Note("reused", "the dataset key of the settings"))
            return known
        if known:
            self._report(Note("note", "Dify refuses the dataset key of the settings, which is replaced"))
        keys = self._dify.provisioning.dataset_keys()
        if keys:
            self._report(Note("reused", "a dataset key of the workspace"))
            return keys[0]
        key = self._dify.provisioning.create_dataset_key()
        self._report(Note("made", "a dataset key"))
        return key

    def _app_key(self, models: list[tuple[str, str]]) -> str:
        known = self._known.get("DIFY_APP_API_KEY")
        if known and self._prepare_known_app(models):
            return known
        if known:
            self._report(Note("note", "no questions can be asked with the app key of the settings, which is replaced"))
        app_id = self._our_app()
        self._prepare(self._dify.provisioning.app(app_id), models)
        keys = self._dify.provisioning.app_keys(app_id)
        if keys:
            self._report(Note("reused", "a key of the app"))
            return keys[0]
        key = self._dify.provisioning.create_app_key(app_id)
        self._report(Note("made", "a key of the app"))
        return key

    def _prepare_known_app(self, models: list[tuple[str, str]]) -> bool:
        """Make the app of the known key ready; False where the key cannot be used."""
        try:
            takes_questions = self._dify.chat().info()["mode"] in CHAT_MODES
        except DifyForbidden:  # Its service API is switched off.
            takes_questions = False
        except (DifyAuthFailed, DifyRejected):
            return False
        try:
            app = self._dify.provisioning.app(self._dify.find_app())
        except NotSupported:  # A Chatflow, an Agent, or an app of another workspace.
            if takes_questions:
                self._report(Note("reused", "the app key of the settings; its app is none that this login can prepare"))
            return takes_questions
        self._report(Note("reused", f"the app key of the settings, of the app “{app['name']}”"))
        self._prepare(app, models)
        return True

    def _our_app(self) -> str:
        apps = self._dify.provisioning.chat_apps(APP_NAME)
        if apps:
            self._report(Note("reused", f"the chat app “{APP_NAME}”"))
            return str(apps[0]["id"])
        app_id = self._dify.provisioning.create_chat_app(APP_NAME, APP_DESCRIPTION)
        self._report(Note("made", f"the chat app “{APP_NAME}”"))
        return app_id

    def _prepare(self, app: Json, models: list[tuple[str, str]]) -> None:
        """Open the app's service API, and give it prompt and variables if nobody has given it any."""
        if not app["enable_api"]:
            self._dify.provisioning.open_app(app["id"])
            self._report(Note("made", "the app's service API was off, and is on now"))
        config = app["model_config"]
        lacking = [name for name in VARIABLES if name not in prompts.declared_variables(config)]
        if not lacking:
            return
        is_untouched = not config["pre_prompt"] and not config["user_input_form"]
        if app["name"] == APP_NAME and is_untouched:
            if models:
                self._dify.provisioning.configure_app(app["id"], app_config(config["model"], models))
                self._report(Note("made", f"the app's prompt, with the variables {', '.join(VARIABLES)}"))
            return
        text = f"the app declares no variable {', '.join(lacking)}, so this goes into the question; its prompt is yours"
        self._report(Note("note", text))

    def _own_settings(self) -> dict[str, str]:
        """What concerns the gateway's own callers; what there is of it stays, AUTH=open too."""
        made = {
            "AUTH": ("required", "AUTH=required: callers need a key or a login"),
            "API_KEYS": (secrets.token_urlsafe(32), "a service key for your backends (API_KEYS)"),
            "SECRET_KEY": (secrets.token_urlsafe(32), "what signs the logins of users (SECRET_KEY)"),
        }
        for name, (_, meaning) in made.items():
            if name not in self._known:
                self._report(Note("made", meaning))
        if known := [name for name in made if name in self._known]:
            self._report(Note("reused", f"{', '.join(known)} of the settings"))
        if self._known.get("AUTH") == "open":
            self._report(Note("note", "AUTH=open: everybody who reaches the port may do everything"))
        return {name: self._known.get(name, value) for name, (value, _) in made.items()}


def app_config(published: Json, models: list[tuple[str, str]]) -> Json:
    """The configuration of our app, with Dify's defaults for the rest (provisioning/empty-model-config).

    :param published: the `model` that the app has; one that is not ready is replaced
    :param models: what is ready, the default first; not empty
    """
    chosen = (published["provider"], published["name"])
    provider, name = chosen if chosen in models else models[0]
    return {
        "model": {"provider": provider, "name": name, "mode": "chat", "completion_params": {}},
        "pre_prompt": PRE_PROMPT,
        "user_input_form": [
            {"paragraph": {"label": variable, "variable": variable, "required": False, "default": ""}}
            for variable in VARIABLES
        ],
        "suggested_questions_after_answer": {"enabled": True},  # Made on request only, by message/suggested.
    }


def _is_taken(call: Callable[[], Any]) -> bool:
    """Whether Dify takes the key of a call that changes nothing."""
    try:
        call()
    except DifyAuthFailed:
        return False
    return True
