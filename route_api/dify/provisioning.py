"""Calls with which an admin's login sets up a Dify workspace: keys, and the chat app that answers
(tests/contract/FINDINGS.md, j)."""

from collections.abc import Iterator
from typing import Any

from ..errors import DifyFailed
from ..languages import Sentence
from . import shapes
from .console_transport import ConsoleTransport
from .credentials import is_whole_key
from .transport import Transport

Json = dict[str, Any]

DATASET_KEYS = "/console/api/datasets/api-keys"
APPS = "/console/api/apps"
PAGE = 100


class ProvisioningApi:
    """Calls of the console that set things up. Each may raise what :class:`ConsoleTransport` raises."""

    def __init__(self, transport: Transport, console: ConsoleTransport) -> None:
        self._transport = transport
        self._console = console

    def is_set_up(self) -> bool:
        """Whether the first account of this Dify has been made. This needs no login.

        :raises DifyError: also where another program answers at the address.
        """
        status = self._transport.request("GET", "/console/api/setup")
        if not isinstance(status, dict) or "step" not in status:
            raise DifyFailed(Sentence("This does not answer as Dify's console does."))
        return bool(status["step"] == "finished")

    def dataset_keys(self) -> list[str]:
        """The workspace's dataset keys that can be used, oldest first: those that are shown in full, and are not for
        one dataset only."""
        return _tokens(self._console.request("GET", DATASET_KEYS, shape=shapes.KEYS))

    def create_dataset_key(self) -> str:
        """Make a dataset key. A workspace has at most ten (tests/contract, provisioning/dataset-api-key-limit)."""
        return str(self._console.request("POST", DATASET_KEYS, shape=shapes.NEW_KEY)["token"])

    def chat_apps(self, name: str) -> list[Json]:
        """The chat apps with exactly this name, oldest first. Names need not be unique."""
        return sorted(
            (app for app in self._apps_containing(name) if app["name"] == name),
            key=lambda app: app.get("created_at") or 0,
        )

    def create_chat_app(self, name: str, description: str) -> str:
        """Make a chat app, with the default model if there is one, without a prompt and variables.

        :returns: its id.
        """
        body = {"name": name, "mode": "chat", "description": description, "icon_type": "emoji", "icon": "🤖"}
        body["icon_background"] = "#FFEAD5"
        return str(self._console.request("POST", APPS, shape=shapes.NEW_APP, json=body)["id"])

    def app(self, app_id: str) -> Json:
        """An app with `name`, `enable_api` and `model_config`, its published configuration."""
        app: Json = self._console.request("GET", f"{APPS}/{app_id}", shape=shapes.APP)
        return app

    def configure_app(self, app_id: str, model_config: Json) -> None:
        """Publish a configuration. A key that is left out gets Dify's default, not its old value. `model` is needed."""
        self._console.request("POST", f"{APPS}/{app_id}/model-config", json=model_config)

    def open_app(self, app_id: str) -> None:
        """Switch an app's service API on."""
        self._console.request("POST", f"{APPS}/{app_id}/api-enable", json={"enable_api": True})

    def app_keys(self, app_id: str) -> list[str]:
        """The app's keys that are shown in full, oldest first."""
        return _tokens(self._console.request("GET", f"{APPS}/{app_id}/api-keys", shape=shapes.KEYS))

    def create_app_key(self, app_id: str) -> str:
        """Make a key for the app."""
        return str(self._console.request("POST", f"{APPS}/{app_id}/api-keys", shape=shapes.NEW_KEY)["token"])

    def models(self, model_type: str) -> list[tuple[str, str]]:
        """Provider and name of each model that is ready for use, Dify's default first.

        :param model_type: llm, text-embedding or rerank.
        """
        path = f"/console/api/workspaces/current/models/model-types/{model_type}"
        ready = ready_models(self._console.request("GET", path, shape=shapes.MODELS))
        default = self.default_model(model_type)
        return sorted(ready, key=lambda model: model != default)

    def default_model(self, model_type: str) -> tuple[str, str] | None:
        """Provider and name of the workspace's default model of a type."""
        path = "/console/api/workspaces/current/default-model"
        params = {"model_type": model_type}
        default = self._console.request("GET", path, shape=shapes.DEFAULT_MODEL, params=params).get("data")
        return (default["provider"]["provider"], default["model"]) if default else None

    def _apps_containing(self, name: str) -> Iterator[Json]:
        page, more = 1, True
        while more:
            params = {"page": page, "limit": PAGE, "name": name, "mode": "chat"}
            apps = self._console.request("GET", APPS, shape=shapes.APPS, params=params)
            yield from apps["data"]
            page, more = page + 1, apps["has_more"] and apps["data"]


def ready_models(answer: Json) -> list[tuple[str, str]]:
    """Provider and name of the models that are ready for use.

    :param answer: a list of models, from the console or from the service API.
    """
    return [
        (provider["provider"], model["model"])
        for provider in answer["data"]
        for model in provider["models"]
        if model.get("status") == "active"
    ]


def _tokens(answer: Json) -> list[str]:
    """The keys of a list that are whole. Since 1.17 Dify masks keys, and a dataset key with a `dataset_id` opens this
    dataset only. Both were read in Dify's code, and not recorded."""
    usable = [key for key in answer["data"] if is_whole_key(key["token"]) and not key.get("dataset_id")]
    return [key["token"] for key in sorted(usable, key=lambda key: key.get("created_at") or 0)]
