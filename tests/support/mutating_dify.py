"""A Dify on loopback that gives recorded answers, and changes them while a test wants it to."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any
from urllib.parse import urlsplit

import orjson

from .event_streams import chunk
from .mutations import Answer, mutate
from .recordings import load

ID = r"[^/]+"
CONSOLE = "/console/api"
RULES = {
    "data": [
        {"name": "temperature", "use_template": "temperature", "type": "float", "min": 0, "max": 2},
        {"name": "num_predict", "use_template": "max_tokens", "type": "int", "min": 1, "max": 8192},
    ]
}
ROUTES: list[tuple[str, str, str | dict[str, str]]] = [
    ("GET", "/v1/", "general/service-index"),
    ("GET", "/v1/parameters", "chat/parameters-with-variables"),
    ("GET", "/v1/info", "chat/info"),
    ("GET", "/v1/datasets", "datasets/list-default"),
    ("POST", "/v1/datasets", "datasets/create-all-fields"),
    ("GET", f"/v1/datasets/{ID}", "datasets/get-detail"),
    ("PATCH", f"/v1/datasets/{ID}", "datasets/patch-retrieval-model-full"),
    ("DELETE", f"/v1/datasets/{ID}", "datasets/delete"),
    ("POST", f"/v1/datasets/{ID}/retrieve", "retrieve/semantic"),
    ("POST", f"/v1/datasets/{ID}/metadata/built-in/enable", "metadata/built-in-enable"),
    ("POST", f"/v1/datasets/{ID}/document/create-by-file", "documents/create-by-file-txt-chinese-name"),
    ("GET", f"/v1/datasets/{ID}/documents", "documents/list-default"),
    ("PATCH", f"/v1/datasets/{ID}/documents/status/{ID}", "documents/status-enable"),
    ("GET", f"/v1/datasets/{ID}/documents/{ID}", "documents/get-one"),
    ("DELETE", f"/v1/datasets/{ID}/documents/{ID}", "documents/delete"),
    ("GET", f"/v1/datasets/{ID}/documents/{ID}/indexing-status", "documents/indexing-status-completed"),
    ("GET", f"/v1/datasets/{ID}/documents/{ID}/upload-file", "documents/upload-file"),
    ("GET", f"/v1/datasets/{ID}/documents/{ID}/segments", "segments/list-default"),
    ("GET", f"/v1/datasets/{ID}/documents/{ID}/segments/{ID}", "segments/get-one"),
    ("POST", f"/v1/datasets/{ID}/documents/{ID}/segments/{ID}", "segments/update-enable"),
    ("GET", f"/v1/workspaces/current/models/model-types/{ID}", "models/list-llm"),
    ("POST", f"/v1/chat-messages/{ID}/stop", "chat/stop"),
    ("POST", f"/v1/messages/{ID}/feedbacks", "chat/feedback-like"),
    ("GET", f"/v1/messages/{ID}/suggested", "chat/suggested"),
    ("DELETE", f"/v1/conversations/{ID}", "chat/conversation-delete"),
    ("GET", f"/files/{ID}/file-preview", "documents/download"),
    ("POST", f"{CONSOLE}/login", "auth/login"),
    ("POST", f"{CONSOLE}/refresh-token", "auth/refresh"),
    ("GET", f"{CONSOLE}/datasets/{ID}/documents", "documents/console-list-fetch-true"),
    ("GET", f"{CONSOLE}/datasets/{ID}/documents/{ID}/download", "documents/console-download"),
    ("PATCH", f"{CONSOLE}/datasets/{ID}/documents/{ID}/segment/{ID}", "segments/console-enable-two"),
    ("GET", f"{CONSOLE}/files/upload", "documents/console-upload-limits"),
    ("POST", f"{CONSOLE}/workspaces/current/default-model", "models/console-default-post"),
    ("GET", f"{CONSOLE}/apps", "provisioning/app-list"),
    ("GET", f"{CONSOLE}/apps/{ID}", "provisioning/app-get-with-variables"),
    ("GET", f"{CONSOLE}/apps/{ID}/api-keys", "provisioning/app-api-keys-list"),
    ("POST", f"{CONSOLE}/apps/{ID}/chat-messages/{ID}/stop", "debugger/stop"),
    ("DELETE", f"{CONSOLE}/apps/{ID}/chat-conversations/{ID}", "debugger/console-conversation-delete"),
    ("POST", "/v1/chat-messages", "chat/streaming-auto-generate-name-false"),
    ("POST", f"{CONSOLE}/apps/{ID}/chat-messages", "chat/streaming-first-turn"),
]
"""Method, path and recorded case. No stream of the debugger was recorded
for both versions, and it has the form of the service API's."""

COMPILED = [(method, re.compile(path), case) for method, path, case in ROUTES]
FRAMING = ("Transfer-Encoding", "Content-Length", "Connection")
PIECE = 300
"""The size of the pieces of a stream, in bytes."""

FILE = b"x" * 252
"""The recordings of downloads have no content, only its length."""


class MutatingDify(ThreadingHTTPServer):
    """Answers as recorded.

    :ivar version: the version of Dify whose recordings are used
    :ivar mutation: changes the answers; None: no answer is changed
    :ivar mutated_calls: the numbers of the requests, from 0, whose answers are changed
    :ivar log: the requests with the answers that were changed, for a person who looks for a failure
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.version = "1.12.1"
        self.restore()

    def mutate(self, chance: Random, calls: set[int]) -> None:
        self.mutation: Random | None = chance
        self.mutated_calls = calls
        self.count = 0
        self.log: list[str] = []

    def restore(self) -> None:
        self.mutation = None
        self.mutated_calls = set()
        self.count = 0
        self.log = []

    def __enter__(self) -> "MutatingDify":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: the gateway closes connections whose answers it does not want."""

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """The answer to one request, changed if the test wants it."""
        answer = self._recorded(method, path, body)
        number, self.count = self.count, self.count + 1
        if self.mutation is not None and number in self.mutated_calls:
            answer = mutate(answer, self.mutation)
            text = f"{answer.status} {dict(answer.headers)} {answer.body[:3000]!r} less {answer.missing_bytes} bytes"
            self.log.append(f"{method} {path} -> {text}")
        return answer

    def _recorded(self, method: str, path: str, body: bytes) -> Answer:
        if method == "GET" and path.endswith("/models/parameter-rules"):
            return Answer(200, self._headers("application/json"), orjson.dumps(RULES))
        for known, pattern, case in COMPILED:
            if known == method and pattern.fullmatch(path):
                return self._load(case)
        return self._load("auth/console-unknown-path")

    def _load(self, case: str) -> Answer:
        try:
            recorded = load(self.version, case)["response"]
        except FileNotFoundError:
            return self._load("auth/console-unknown-path")
        given = {name: value for name, value in recorded["headers"].items() if name not in FRAMING}
        headers = [(name, value) for name, value in given.items() if isinstance(value, str)]
        headers += [(name, each) for name, value in given.items() if isinstance(value, list) for each in value]
        if not any(name == "X-Version" for name, _ in headers):
            headers.append(("X-Version", self.version))
        body = recorded["body"]
        content = b"" if body is None else body.encode() if isinstance(body, str) else orjson.dumps(body)
        if content.endswith(b"application/octet-stream>"):
            content = FILE
        return Answer(recorded["status"], tuple(headers), content.replace(b"<dify>", self.url.encode()))

    def _headers(self, content_type: str) -> tuple[tuple[str, str], ...]:
        return (("Content-Type", content_type), ("X-Version", self.version))


class Handler(BaseHTTPRequestHandler):
    """Reads a request and sends the answer of :meth:`MutatingDify.answer`."""

    protocol_version = "HTTP/1.1"
    server: MutatingDify
    disable_nagle_algorithm = True

    def handle_request(self) -> None:
        body = self._body()
        answer = self.server.answer(self.command, urlsplit(self.path).path, body)
        whole = answer.body[: len(answer.body) - answer.missing_bytes] if answer.missing_bytes else answer.body
        head = f"HTTP/1.1 {answer.status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
        if answer.status != 204 and "event-stream" in head:
            head += "Transfer-Encoding: chunked\r\n"
            pieces = [whole[at : at + PIECE] for at in range(0, len(whole), PIECE)]
            whole = b"".join(map(chunk, pieces)) + (b"" if answer.missing_bytes else chunk(b""))
        elif answer.status != 204:
            head += f"Content-Length: {len(answer.body)}\r\n"
        self.wfile.write(head.encode("latin-1", "replace") + b"\r\n" + (b"" if answer.status == 204 else whole))
        # After a whole answer the connection stays open: whether the next request finds it closed would be a race.
        self.close_connection = bool(answer.missing_bytes) and answer.status != 204

    do_GET = do_POST = do_PATCH = do_DELETE = handle_request

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size + 2)[:-2]
        self.rfile.readline()
        return body

    def log_message(self, *_: Any) -> None:
        """Log nothing."""
