"""A sandbox for the chat tests: set up with apps, keys and a console session, and without delays."""

import base64
import json
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from route_api.sandbox.app import create_sandbox
from route_api.sandbox.embedding.embedder import Embedder
from route_api.sandbox.version import DEFAULT_VERSION

from .patience import PATIENCE_S

PROVIDER = "route-api/sandbox/sandbox"
MODEL = {"provider": PROVIDER, "name": "sandbox-extractive", "completion_params": {}}
VARIABLES = ("instructions", "context", "history")
PROMPT = "{{instructions}}\n\n已知资料：\n{{context}}\n\n历史对话：\n{{history}}"


def form(**declarations: dict[str, Any]) -> list[dict[str, Any]]:
    """A user_input_form of paragraphs."""
    return [
        {"paragraph": {"label": name, "variable": name, "required": False, "default": "", **more}}
        for name, more in declarations.items()
    ]


class Sandbox:
    """A sandbox that is set up, with a console session, one app and the app's key.

    :param session: cookies of a login that was made before; checking a password is slow by design
    """

    def __init__(
        self,
        data_dir: Path,
        credentials: dict[str, str],
        session: dict[str, str] | None = None,
        version: str = DEFAULT_VERSION,
        embedder: Embedder | None = None,
    ) -> None:
        self.version = version
        self._session = session
        self.data_dir = data_dir
        self.credentials = credentials
        self.flask: Flask = create_sandbox(data_dir, version=version, embedder=embedder)
        self.flask.config.update(SANDBOX_WORD_DELAY_S=0.0)
        self.client: FlaskClient = self.flask.test_client()
        self.app_key = credentials["DIFY_APP_API_KEY"]
        self.csrf_token = ""

    def open_session(self) -> None:
        """Begin the console session. Cookies of an earlier login are used if there are some."""
        if self._session is None:
            assert self.login().status_code == 200
            return
        for name, value in self._session.items():
            self.client.set_cookie(name, value)
        self.csrf_token = self._session["csrf_token"]

    def anonymous(self) -> FlaskClient:
        """A client without cookies."""
        return self.flask.test_client(use_cookies=False)

    def login(self, password: str | None = None, email: str | None = None) -> TestResponse:
        """Log in to the console; the client keeps the cookies."""
        encoded = base64.b64encode((password or self.credentials["DIFY_CONSOLE_PASSWORD"]).encode()).decode()
        body = {
            "email": email or self.credentials["DIFY_CONSOLE_EMAIL"],
            "password": encoded,
            "remember_me": True,
        }
        answer = self.client.post("/console/api/login", json=body)
        if answer.status_code == 200:
            self.csrf_token = self.cookie("csrf_token")
        return answer

    def cookie(self, name: str) -> str:
        """The value of a cookie of the client, or "" if there is none."""
        cookie = self.client.get_cookie(name)
        return cookie.value if cookie else ""

    def console(self, method: str, path: str, **more: Any) -> TestResponse:
        """Call the console. The first call begins the session."""
        if not self.csrf_token:
            self.open_session()
        headers = {"X-CSRF-Token": self.csrf_token}
        return self.client.open(f"/console/api{path}", method=method, headers=headers, **more)

    def service(self, method: str, path: str, key: str = "", **more: Any) -> TestResponse:
        """Call the service API with the app's key."""
        headers = {"Authorization": f"Bearer {key or self.app_key}"}
        return self.anonymous().open(f"/v1{path}", method=method, headers=headers, **more)

    def make_app(self, **config: Any) -> tuple[str, str]:
        """Create an app with this configuration.

        :returns: its id and its key
        """
        app_id = self.console("POST", "/apps", json={"name": "合同一", "mode": "chat"}).json["id"]
        body = {"model": MODEL, "suggested_questions_after_answer": {"enabled": True}, **config}
        assert self.console("POST", f"/apps/{app_id}/model-config", json=body).status_code == 200
        return app_id, self.console("POST", f"/apps/{app_id}/api-keys").json["token"]

    def make_dataset(self) -> str:
        """Create a dataset with one indexed document about 葫芦庙, and return its id."""
        key = self.credentials["DIFY_DATASET_API_KEY"]
        body = {"name": f"lab-{uuid.uuid4()}"[:40], "indexing_technique": "economy"}
        dataset_id: str = self.service("POST", "/datasets", key, json=body).json["id"]
        document = {
            "name": "葫芦庙.txt",
            "text": "葫芦庙内寄居着一个穷儒，姓贾名化。葫芦庙在仁清巷内。",
            "indexing_technique": "economy",
            "process_rule": {"mode": "automatic"},
        }
        answer = self.service("POST", f"/datasets/{dataset_id}/document/create-by-text", key, json=document)
        assert answer.status_code == 200, answer.text
        path = f"/datasets/{dataset_id}/documents/{answer.json['batch']}/indexing-status"
        for _ in range(PATIENCE_S * 20):
            documents = self.service("GET", path, key).json["data"]
            if [document["indexing_status"] for document in documents] == ["completed"]:
                return dataset_id
            time.sleep(0.05)
        raise AssertionError(f"the document was not indexed within {PATIENCE_S} s")

    def ask(self, query: str = "你好", key: str = "", **more: Any) -> dict[str, Any]:
        """Ask an app as alice, in blocking mode, and return the answer."""
        body = {"inputs": {}, "query": query, "user": "alice", "response_mode": "blocking", **more}
        answer = self.service("POST", "/chat-messages", key=key, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json

    def debug(self, app_id: str, query: str = "你好", **more: Any) -> dict[str, Any]:
        """Ask in the debugger, in blocking mode, and return the answer."""
        body = {
            "inputs": {},
            "query": query,
            "model_config": {"model": MODEL},
            "response_mode": "blocking",
            **more,
        }
        answer = self.console("POST", f"/apps/{app_id}/chat-messages", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json


def stop_after_first_event(answer: TestResponse, stop: Callable[[str], TestResponse]) -> str:
    """Read a stream, and call `stop` with the task's id after the first event."""
    stream = answer.iter_encoded()
    first = next(stream).decode()
    assert stop(events_of(first)[0]["task_id"]).json == {"result": "success"}
    return first + b"".join(stream).decode()


def events_of(text: str) -> list[dict[str, Any]]:
    """The events of a stream; a ping is `{"event": "ping"}`."""
    blocks = [block for block in text.split("\n\n") if block.strip()]
    return [json.loads(block[6:]) if block.startswith("data: ") else {"event": "ping"} for block in blocks]


@dataclass(frozen=True)
class Template:
    """A data folder as the first start creates it, with a login. Copying it saves time."""

    data_dir: Path
    credentials: dict[str, str]
    session: dict[str, str]

    def copy_to(self, data_dir: Path, version: str = DEFAULT_VERSION) -> Sandbox:
        """A sandbox with a copy of the folder."""
        shutil.copytree(self.data_dir, data_dir)
        return Sandbox(data_dir, self.credentials, self.session, version)
