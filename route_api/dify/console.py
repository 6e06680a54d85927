"""Calls of Dify's console for what the service API lacks. They need an admin's login."""

import time
from functools import partial
from typing import Any, Callable
from urllib.parse import quote

from ..errors import NotSupported
from ..languages import Sentence
from . import shapes
from .chat_app import CHATBOT
from .console_transport import ConsoleTransport
from .credentials import ServiceKey
from .retries import retry_while_indexing

Json = dict[str, Any]

SEGMENTS_IN_A_CALL = 50
"""The ids are in the query. Dify's gunicorn takes a request line of at most 4,094 characters."""

APPS_IN_A_PAGE = 100
"""Some of the console's lists refuse more (tests/contract, segments/console-list-limit-101)."""


class ConsoleApi:
    """Calls of the console. Each may raise what :class:`ConsoleTransport` raises."""

    def __init__(self, console: ConsoleTransport, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._console = console
        self._sleep = sleep

    @property
    def is_configured(self) -> bool:
        """Whether there is a console login. Without one each call here raises :class:`ConsoleNotConfigured`."""
        return self._console.is_configured

    def set_default_model(self, model_type: str, provider: str, model: str) -> None:
        """Set the workspace's default model of one type. Dify ignores an unknown provider and answers success."""
        setting = {"model_type": model_type, "provider": provider, "model": model}
        body = {"model_settings": [setting]}
        self._console.request("POST", "/console/api/workspaces/current/default-model", json=body)

    def list_documents(self, dataset_id: str, page: int, limit: int, keyword: str | None = None) -> Json:
        """A page of documents with `completed_segments` and `total_segments`. The service API has no such counts."""
        params = {"page": page, "limit": limit, "keyword": keyword, "fetch": "true"}
        path = f"/console/api/datasets/{dataset_id}/documents"
        documents: Json = self._console.request("GET", path, shape=shapes.CONSOLE_DOCUMENTS, params=params)
        return documents

    def indexing_status(self, dataset_id: str) -> Json:
        """The counts of segments and the times of processing of all documents of a dataset, in no order. Dify makes two
        queries for each document (read in its code), which takes about a millisecond (tests/contract,
        documents/console-dataset-indexing-status: 16 ms for 12 documents)."""
        path = f"/console/api/datasets/{dataset_id}/indexing-status"
        status: Json = self._console.request("GET", path, shape=shapes.DATASET_INDEXING_STATUS)
        return status

    def upload_limits(self) -> Json:
        """The server's limits. `file_size_limit` is for a document, in MB (tests/contract,
        documents/console-upload-limits). Since 1.17 `knowledge_file_size_limit` is; this was read in Dify's code."""
        limits: Json = self._console.request("GET", "/console/api/files/upload", shape=shapes.UPLOAD_LIMITS)
        return limits

    def switch_segments(self, dataset_id: str, document_id: str, action: str, segment_ids: list[str]) -> None:
        """Switch segments, many in one call. Dify ignores unknown ids and actions and answers success. Waits while Dify
        is still indexing.

        :param action: enable or disable.
        """
        path = f"/console/api/datasets/{dataset_id}/documents/{document_id}/segment/{action}"
        for first in range(0, len(segment_ids), SEGMENTS_IN_A_CALL):
            ids = segment_ids[first : first + SEGMENTS_IN_A_CALL]
            retry_while_indexing(partial(self._console.request, "PATCH", path, params={"segment_id": ids}), self._sleep)

    def document_download(self, dataset_id: str, document_id: str) -> Json:
        """The signed `url` of the original file (tests/contract/DIFFERENCES.md, 33)."""
        path = f"/console/api/datasets/{dataset_id}/documents/{document_id}/download"
        download: Json = self._console.request("GET", path, shape=shapes.FILE)
        return download

    def find_app(self, key: ServiceKey, ask_name: Callable[[], str]) -> str:
        """The id of the chat app that a service key belongs to. Up to 1.16.1 the console shows keys in full
        (tests/contract, provisioning/app-api-keys-list). This asks for the keys of one app after the other.

        If the console masks keys, the app is the only one whose mask and name both fit.

        :param ask_name: asks the service API for the name of the app with the key.
        :raises NotSupported: no chat app of this workspace has the key, or several may have it.
        """
        page, more = 1, True
        with_fitting_mask: list[Json] = []
        while more:
            params = {"page": page, "limit": APPS_IN_A_PAGE, "mode": CHATBOT}
            apps = self._console.request("GET", "/console/api/apps", shape=shapes.APPS, params=params)
            for app in apps["data"]:
                keys = self._console.request("GET", f"/console/api/apps/{app['id']}/api-keys", shape=shapes.KEYS)
                if any(key.is_key(each["token"]) for each in keys["data"]):
                    return str(app["id"])
                if any(key.may_be_key(each["token"]) for each in keys["data"]):
                    with_fitting_mask.append(app)
            page, more = page + 1, apps["has_more"] and apps["data"]
        if with_fitting_mask:
            name = ask_name()
            fitting = [str(app["id"]) for app in with_fitting_mask if app["name"] == name]
            if len(fitting) == 1:
                return fitting[0]
        raise NotSupported(
            Sentence(
                "Dify's console has no chat app with the key in {setting}, so that its model and parameters cannot"
                " be chosen per request. The operator should check that the app is a Chatbot in the workspace of"
                " DIFY_CONSOLE_EMAIL, or name its id in DIFY_APP_IDS.",
                setting=key.setting,
            )
        )

    def app_model_config(self, app_id: str) -> Json:
        """The published configuration of a chat app (tests/contract, provisioning/app-get-with-variables)."""
        app = self._console.request("GET", f"/console/api/apps/{app_id}", shape=shapes.APP)
        model_config: Json = app["model_config"]
        return model_config

    def parameter_rules(self, provider: str, model: str) -> list[Json]:
        """The parameters that a model takes, each with `name`, `type`, `min` and `max`. A parameter with the
        `use_template` "max_tokens" has that meaning, whatever its name is.

        :param provider: the name in the lists of models, such as `langgenius/ollama/ollama`.
        """
        path = f"/console/api/workspaces/current/model-providers/{quote(provider)}/models/parameter-rules"
        answer = self._console.request("GET", path, shape=shapes.PARAMETER_RULES, params={"model": model})
        rules: list[Json] = answer["data"]
        return rules
