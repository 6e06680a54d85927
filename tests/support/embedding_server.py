"""An OpenAI-compatible server for vectors, on loopback. A vector counts the concepts in a text, in two languages."""

import threading
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.serving import make_server

CONCEPTS = (
    ("holiday", "leave", "年假", "假期"),
    ("salary", "paid", "工资", "薪水"),
    ("password", "口令", "密码"),
    ("car", "taxi", "cab", "出租车"),
)


class FakeEmbeddingServer:
    """Answers `/v1/embeddings`; keeps what it was sent.

    :ivar status: another status than 200 makes it fail
    :ivar failures: the statuses with which it fails first
    :ivar answer: sent instead of vectors, unless it is None
    """

    def __init__(self) -> None:
        self.status = 200
        self.failures: list[int] = []
        self.answer: Any = None
        self.received: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        app = Flask(__name__)
        app.add_url_rule("/v1/embeddings", view_func=self._embeddings, methods=["POST"])
        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def _embeddings(self) -> Response | tuple[str, int]:
        body = request.get_json()
        self.received.append(body)
        self.keys.append(request.headers.get("Authorization"))
        if (status := self.failures.pop(0) if self.failures else self.status) != 200:
            return '{"error": "the model is not loaded"}', status
        if self.answer is not None:
            return jsonify(self.answer)
        data = [{"index": place, "embedding": vector(text)} for place, text in enumerate(body["input"])]
        return jsonify({"object": "list", "data": data[::-1], "model": body["model"]})

    def stop(self) -> None:
        """Close the socket."""
        self._server.shutdown()
        self._server.server_close()


def vector(text: str) -> list[float]:
    """Return how often each concept is in a text, and a small constant, so that no vector is zero."""
    return [float(sum(text.lower().count(word) for word in words)) for words in CONCEPTS] + [0.1]
