"""The sandbox behind a gateway in the same process.

It keeps a conversation on the configuration with which it began and drops inputs that it does not know, as the
recordings show it of Dify (inputs/existing-conversation-after-config-change, inputs/undeclared). And it knows what its
model received.
"""

import re
from pathlib import Path
from typing import Any

import orjson
import responses
from requests import PreparedRequest

from route_api.sandbox.gateway_settings import prepare_gateway_settings

from .recordings import DIFY
from .sandbox_chat import MODEL, Sandbox

PASSED_ON = ("Authorization", "Content-Type", "Cookie", "X-CSRF-Token")


class SandboxAsDify(Sandbox):
    """A sandbox that answers every call of a mocked Dify.

    :ivar asked: the bodies of all questions that the gateway has sent, in their order
    """

    def __init__(self, data_dir: Path, mock: responses.RequestsMock) -> None:
        super().__init__(data_dir, prepare_gateway_settings(data_dir))
        self.asked: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.app_id, self.app_key = self.make_app()
        for method in ("GET", "POST", "DELETE"):
            mock.add_callback(method, re.compile(re.escape(DIFY) + "/.*"), callback=self._answer)
        mock.assert_all_requests_are_fired = False

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of a gateway that uses this sandbox."""
        names = ("DIFY_DATASET_API_KEY", "DIFY_CONSOLE_EMAIL", "DIFY_CONSOLE_PASSWORD")
        return {"DIFY_APP_API_KEY": self.app_key, **{name: self.credentials[name] for name in names}}

    def configure(self, **config: Any) -> None:
        """Publish another configuration of the app."""
        path = f"/apps/{self.app_id}/model-config"
        assert self.console("POST", path, json={"model": MODEL, **config}).status_code == 200

    def reached_the_model(self, message_id: str) -> str:
        """All that the model received for a message of the app, from the model's own log."""
        answer = self.console("GET", f"/apps/{self.app_id}/chat-messages/{message_id}/model-request")
        return "\n".join(message["content"] for message in answer.json["messages"])

    def _answer(self, request: PreparedRequest) -> tuple[int, list[tuple[str, str]], bytes]:
        path = (request.url or "").removeprefix(DIFY)
        self.calls.append(f"{request.method} {path.partition('?')[0]}")
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        body = request.body.encode() if isinstance(request.body, str) else request.body
        client = self.flask.test_client(use_cookies=False)
        answer = client.open(path, method=request.method, headers=headers, data=body)
        if path.endswith("/chat-messages"):
            self.asked.append(orjson.loads(body or b""))
        return answer.status_code, list(answer.headers.items()), answer.data
