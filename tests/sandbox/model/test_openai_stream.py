"""A language model behind an OpenAI-compatible server, here one of our own on loopback."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, request
from werkzeug.serving import make_server

from route_api.sandbox.app import create_sandbox
from route_api.sandbox.gateway_settings import prepare_gateway_settings

from ...support.sandbox_chat import PROVIDER, Sandbox


class FakeLanguageModel:
    """Streams `deltas`, or answers `status`; keeps what it was sent."""

    def __init__(self) -> None:
        self.deltas: list[dict[str, Any]] = [{"role": "assistant"}, {"content": "你"}, {"content": "好"}]
        self.status = 200
        self.received: list[dict[str, Any]] = []
        app = Flask(__name__)
        app.add_url_rule("/v1/chat/completions", view_func=self._answer, methods=["POST"])
        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def _answer(self) -> Response | tuple[str, int]:
        self.received.append(request.get_json())
        if self.status != 200:
            return "model not found", self.status
        lines = [f"data: {json.dumps({'choices': [{'delta': delta}]})}\n\n" for delta in self.deltas]
        return Response([*lines, "data: [DONE]\n\n"], content_type="text/event-stream")

    def stop(self) -> None:
        """Close the socket."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def language_model() -> Iterator[FakeLanguageModel]:
    """A running fake."""
    fake = FakeLanguageModel()
    yield fake
    fake.stop()


@pytest.fixture
def sandbox(language_model: FakeLanguageModel, tmp_path: Path) -> Sandbox:
    """A sandbox that was started without the language model, and now has it."""
    prepare_gateway_settings(tmp_path)
    settings = {"llm_url": language_model.url, "llm_model": "qwen3:4b"}
    sandbox = Sandbox(tmp_path, prepare_gateway_settings(tmp_path, **settings))
    sandbox.flask = create_sandbox(tmp_path, **settings)
    sandbox.client = sandbox.flask.test_client()
    return sandbox


def test_it_is_listed_first_and_the_default(sandbox: Sandbox) -> None:
    listed = sandbox.console("GET", "/workspaces/current/models/model-types/llm").json["data"][0]["models"]
    assert [model["model"] for model in listed] == [
        "qwen3:4b",
        "sandbox-extractive",
        "sandbox-extractive-brief",
    ]
    default = sandbox.console("GET", "/workspaces/current/default-model?model_type=llm").json["data"]
    assert default["model"] == "qwen3:4b"


def test_it_answers_instead_of_the_extracts(sandbox: Sandbox, language_model: FakeLanguageModel) -> None:
    assert sandbox.ask("问", inputs={"context": "资料甲"})["answer"] == "你好"
    (received,) = language_model.received
    assert (received["model"], received["stream"]) == ("qwen3:4b", True)
    assert received["messages"] == [
        {"role": "system", "content": "None\n资料甲\nNone\n"},
        {"role": "user", "content": "问"},
    ]


def test_reasoning_that_comes_apart_becomes_a_think_block(sandbox: Sandbox, language_model: FakeLanguageModel) -> None:
    language_model.deltas = [{"reasoning": "想"}, {"reasoning_content": "一想"}, {"content": "好"}]
    assert sandbox.ask()["answer"] == "<think>\n想一想\n</think>\n\n好"


def test_num_predict_goes_to_it_as_max_tokens(sandbox: Sandbox, language_model: FakeLanguageModel) -> None:
    app_id = sandbox.console("GET", "/apps").json["data"][0]["id"]
    params = {"num_predict": 7, "temperature": 0.5}
    model = {"provider": PROVIDER, "name": "qwen3:4b", "completion_params": params}
    sandbox.debug(app_id, model_config={"model": model})
    assert language_model.received[0]["max_tokens"] == 7
    assert language_model.received[0]["temperature"] == 0.5
    assert "num_predict" not in language_model.received[0]


def test_its_refusal_is_dify_s_400(sandbox: Sandbox, language_model: FakeLanguageModel) -> None:
    language_model.status = 404
    body = {"inputs": {}, "query": "问", "user": "alice"}
    answer = sandbox.service("POST", "/chat-messages", json=body)
    expected = {"code": "completion_request_error", "message": "404: model not found", "status": 400}
    assert (answer.status_code, answer.json) == (400, expected)


def test_a_server_that_is_not_there_is_an_error_event_without_its_address(
    sandbox: Sandbox, language_model: FakeLanguageModel
) -> None:
    sandbox.flask.config["SANDBOX_LLM_URL"] = "http://127.0.0.1:9/v1"
    body = {"inputs": {}, "query": "问", "user": "alice", "response_mode": "streaming"}
    text = sandbox.service("POST", "/chat-messages", json=body).text
    assert '"event":"error"' in text and "completion_request_error" in text
    assert "127.0.0.1" not in text
