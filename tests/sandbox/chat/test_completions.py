"""Apps of the mode completion, and the routes that other apps refuse."""

import io
from pathlib import Path
from typing import Any

import pytest

from ...support.sandbox_chat import Sandbox, Template, events_of, stop_after_first_event

USER = {"user": "alice"}


@pytest.fixture
def key(sandbox: Sandbox) -> str:
    """The key of a new completion app."""
    app = sandbox.console("POST", "/apps", json={"name": "补全", "mode": "completion"})
    assert (app.status_code, app.json["mode"]) == (201, "completion"), app.text
    return sandbox.console("POST", f"/apps/{app.json['id']}/api-keys").json["token"]


def complete(sandbox: Sandbox, key: str, **more: Any) -> Any:
    """Ask a completion app."""
    body = {"inputs": {"query": "葫芦庙在哪里？"}, **USER, **more}
    return sandbox.service("POST", "/completion-messages", key, json=body)


def test_a_completion_has_no_conversation(sandbox: Sandbox, key: str) -> None:
    answer = complete(sandbox, key).json
    assert (answer["mode"], answer["id"]) == ("completion", answer["message_id"])
    assert "葫芦庙在哪里？" in answer["answer"] and "conversation_id" not in answer
    events = events_of(complete(sandbox, key, response_mode="streaming").text)
    assert {event["event"] for event in events} == {"message", "message_end"}
    assert not any("conversation_id" in event for event in events)
    assert "葫芦庙在哪里？" in "".join(event.get("answer", "") for event in events)


def test_each_completion_begins_anew(sandbox: Sandbox, key: str) -> None:
    first, second = (complete(sandbox, key).json["answer"] for _ in range(2))
    assert first == second


def test_a_completion_can_be_stopped_and_rated(sandbox: Sandbox, key: str) -> None:
    body = {"inputs": {"query": "长[[len:800]][[delay:300]][[nothink]]"}, **USER, "response_mode": "streaming"}
    text = stop_after_first_event(
        sandbox.service("POST", "/completion-messages", key, json=body),
        lambda task_id: sandbox.service("POST", f"/completion-messages/{task_id}/stop", key, json=USER),
    )
    last = events_of(text)[-1]
    assert (last["event"], last["metadata"]["usage"]["total_tokens"]) == ("message_end", 0)
    path = f"/messages/{last['message_id']}/feedbacks"
    assert sandbox.service("POST", path, key, json={**USER, "rating": "like"}).status_code == 200
    (feedback,) = sandbox.service("GET", "/app/feedbacks", key).json["data"]
    assert (feedback["message_id"], feedback["rating"]) == (last["message_id"], "like")


def test_what_is_missing_is_refused(sandbox: Sandbox, key: str) -> None:
    for body, message in (
        ({"inputs": {}, **USER}, "query is required in input form"),
        ({**USER}, "Field required"),
        ({"inputs": {"query": "x"}}, "Arg user must be provided."),
    ):
        answer = sandbox.service("POST", "/completion-messages", key, json=body)
        assert (answer.status_code, answer.json["code"]) == (400, "invalid_param")
        assert message in answer.json["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/chat-messages"),
        ("POST", "/chat-messages/1/stop"),
        ("GET", "/messages"),
        ("GET", "/conversations"),
        ("DELETE", "/conversations/00000000-0000-4000-8000-000000000000"),
        ("GET", "/messages/00000000-0000-4000-8000-000000000000/suggested"),
    ],
)
def test_a_completion_app_has_no_routes_of_chats(sandbox: Sandbox, key: str, method: str, path: str) -> None:
    more: dict[str, Any] = {} if method == "GET" else {"json": USER}
    answer = sandbox.service(method, path, key, **more)
    assert (answer.status_code, answer.json["code"]) == (400, "not_chat_app")


def test_a_chat_app_refuses_completions_workflows_and_speech(sandbox: Sandbox) -> None:
    refused = {
        "/completion-messages": "app_unavailable",
        "/completion-messages/1/stop": "app_unavailable",
        "/workflows/run": "not_workflow_app",
        "/workflows/1/run": "not_workflow_app",
        "/workflows/tasks/1/stop": "not_workflow_app",
        "/text-to-audio": "invalid_param",
    }
    answers = {path: sandbox.service("POST", path, json={**USER, "inputs": {}, "text": "x"}) for path in refused}
    assert {path: answer.json["code"] for path, answer in answers.items()} == refused
    assert {answer.status_code for answer in answers.values()} == {400}


@pytest.mark.parametrize(("version", "code"), [("1.12.1", "invalid_param"), ("1.16.1", "speech_to_text_disabled")])
def test_speech_is_refused_for_each_of_dify_s_reasons(
    template: Template, tmp_path: Path, version: str, code: str
) -> None:
    sandbox = template.copy_to(tmp_path / "data", version)

    def audio_to_text(key: str, mime_type: str) -> tuple[int, str]:
        form = {"file": (io.BytesIO(b"x"), "a.mp3", mime_type), **USER}
        answer = sandbox.service("POST", "/audio-to-text", key, data=form)
        return answer.status_code, answer.json["code"]

    assert audio_to_text("", "audio/mp3") == (400, code)
    key = sandbox.make_app(speech_to_text={"enabled": True}, text_to_speech={"enabled": True})[1]
    assert audio_to_text(key, "text/plain") == (415, "unsupported_audio_type")
    assert audio_to_text(key, "audio/mp3") == (400, "provider_not_initialize")
    spoken = sandbox.service("POST", "/text-to-audio", key, json={**USER, "text": "x"})
    assert (spoken.status_code, spoken.json["code"]) == (400, "provider_not_initialize")
    unknown = sandbox.service("POST", "/text-to-audio", key, json={**USER, "message_id": "nope"})
    assert (unknown.status_code, unknown.json) == (200, None)


def test_a_chat_app_s_conversation_has_no_variable_to_change(sandbox: Sandbox) -> None:
    conversation_id = sandbox.ask()["conversation_id"]
    path = f"/conversations/{conversation_id}/variables/00000000-0000-4000-8000-000000000000"
    answer = sandbox.service("PUT", path, json={**USER, "value": 1})
    assert (answer.status_code, answer.json["message"]) == (404, "Conversation Variable Not Exists.")
    other = sandbox.service("PUT", path, json={"user": "bob", "value": 1})
    assert (other.status_code, other.json["message"]) == (404, "Conversation Not Exists.")
