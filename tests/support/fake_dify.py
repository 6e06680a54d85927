"""A Dify that answers from the recordings, for tests of the whole gateway in one process."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import orjson
import responses
from requests import PreparedRequest

from .recordings import DIFY, load, play

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
Answer = tuple[int, dict[str, str], bytes]


class FakeDify:
    """A mocked Dify of one version. A call without a prepared answer fails with a connection error."""

    def __init__(self, mock: responses.RequestsMock, version: str) -> None:
        self.mock = mock
        self.version = version

    def play(self, case: str, path: str | None = None) -> list[str]:
        """Answer one more request as it was recorded.

        :param path: another path than the recorded one
        :returns: the ids in the recorded path, outermost first
        """
        play(self.mock, self.version, case, path)
        return self.ids(case)

    def ids(self, case: str) -> list[str]:
        """The ids in the path of a recording."""
        return UUID.findall(load(self.version, case)["request"]["path"])

    def body(self, case: str) -> Any:
        """The recorded answer."""
        return load(self.version, case)["response"]["body"]

    def answer(self, method: str, path: str, body: Any, status: int = 200) -> None:
        """Answer with a body that was not recorded, for example with other ids or counts."""
        self.mock.add(method, DIFY + path, json=body, status=status, headers={"X-Version": self.version})

    def fail(self, method: str, path: str, error: Exception) -> None:
        """Let the connection fail."""
        self.mock.add(method, DIFY + path, body=error)

    def call_back(self, method: str, path: str | re.Pattern[str], ask: Callable[[PreparedRequest], Answer]) -> None:
        """Answer with the result of `ask`, which gets the request and runs while the gateway waits."""
        url = re.compile(re.escape(DIFY) + path.pattern) if isinstance(path, re.Pattern) else DIFY + path
        self.mock.add_callback(method, url, callback=ask)

    @property
    def calls(self) -> list[str]:
        """The requests of the gateway so far, such as `GET /v1/datasets?page=1&limit=20`."""
        return [f"{call.request.method} {unquote(call.request.path_url)}" for call in self.mock.calls]

    def sent(self, index: int = -1) -> Any:
        """The JSON body of a call; the default is the last call."""
        return orjson.loads(self.mock.calls[index].request.body or b"null")


def recorded(version: str, case: str) -> Answer:
    """A recorded answer, in the form that a callback of `responses` returns."""
    response = load(version, case)["response"]
    body = response["body"]
    content = body.encode() if isinstance(body, str) else orjson.dumps(body)
    return response["status"], {"X-Version": version, "Content-Type": response["headers"]["Content-Type"]}, content
