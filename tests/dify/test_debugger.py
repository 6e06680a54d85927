from typing import Any

import pytest
import responses

from route_api.dify import DebuggerApi, Dify
from route_api.errors import ConsoleNotConfigured, DifyForbidden, DifyNotFound, DifyRejected

from ..support.dify_client import dify_client
from ..support.recordings import DIFY, body_of, load, play, sent

APP = "/console/api/apps/app"
QUESTION = {"query": "你好", "inputs": {}}


@pytest.fixture
def debugger(console_dify: Dify) -> DebuggerApi:
    return console_dify.debugger("app")


def recorded_body(version: str, case: str) -> dict[str, Any]:
    body: dict[str, Any] = load(version, case)["request"]["body"]
    return body


@pytest.mark.parametrize("case", ["blocking-minimal-model-config", "override-everything", "chain-2", "chain-4"])
def test_a_turn_is_sent_as_it_was_recorded_to_work_but_for_the_response_mode(
    debugger: DebuggerApi, mock_dify: responses.RequestsMock, version: str, case: str
) -> None:
    case = f"debugger/{case}"
    play(mock_dify, version, case, path=f"{APP}/chat-messages")
    body = recorded_body(version, case)
    question = {name: value for name, value in body.items() if name != "response_mode"}
    debugger.stream({"conversation_id": None, "parent_message_id": None, **question, "user": "alice"}).close()
    assert sent(mock_dify) == {**body, "response_mode": "streaming"}


def test_without_a_configuration_the_published_one_is_asked_for(
    debugger: DebuggerApi, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "debugger/model-config-empty", path=f"{APP}/chat-messages")
    debugger.stream(QUESTION).close()
    assert sent(mock_dify) == {**QUESTION, "model_config": {}, "response_mode": "streaming"}


def test_a_streamed_turn_asks_for_a_stream_and_comes_as_events(
    debugger: DebuggerApi, mock_dify: responses.RequestsMock, version: str
) -> None:
    case = "debugger/streaming-stopped"
    play(mock_dify, version, case, path=f"{APP}/chat-messages")
    body = recorded_body(version, case)
    events = list(debugger.stream({**QUESTION, "query": body["query"], "model_config": body["model_config"]}))
    assert (events[0]["event"], events[-1]["event"]) == ("message", "message_end")
    assert sent(mock_dify) == {**body, "response_mode": "streaming"}


def test_a_stream_whose_session_has_expired_is_asked_for_once_more(
    debugger: DebuggerApi, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "debugger/app-key", path=f"{APP}/chat-messages")  # 401
    play(mock_dify, version, "auth/refresh")
    play(mock_dify, version, "debugger/streaming-stopped", path=f"{APP}/chat-messages")
    assert list(debugger.stream(QUESTION))[-1]["event"] == "message_end"
    assert sent(mock_dify, -1) == sent(mock_dify, -3)


@pytest.mark.parametrize("case", ["unknown-model", "unknown-provider", "error-blocking"])
def test_a_model_that_is_unknown_or_fails_is_a_rejection_with_its_reason(
    debugger: DebuggerApi, mock_dify: responses.RequestsMock, version: str, case: str
) -> None:
    play(mock_dify, version, f"debugger/{case}", path=f"{APP}/chat-messages")
    with pytest.raises(DifyRejected) as refused:
        debugger.stream(QUESTION)
    assert refused.value.message == load(version, f"debugger/{case}")["response"]["body"]["message"]


@pytest.mark.parametrize("case", ["unknown-app", "conversation-unknown", "advanced-chat-app"])
def test_an_app_or_conversation_that_the_debugger_does_not_know_is_not_found(
    debugger: DebuggerApi, mock_dify: responses.RequestsMock, version: str, case: str
) -> None:
    play(mock_dify, version, f"debugger/{case}", path=f"{APP}/chat-messages")
    with pytest.raises(DifyNotFound):
        debugger.stream(QUESTION)


def test_stop_names_the_task(debugger: DebuggerApi, mock_dify: responses.RequestsMock, version: str) -> None:
    play(mock_dify, version, "debugger/stop-running", path=f"{APP}/chat-messages/task-1/stop")
    debugger.stop("task-1", "alice")
    assert mock_dify.calls[-1].request.url == f"{DIFY}{APP}/chat-messages/task-1/stop"


def test_suggested_questions_that_are_switched_off_are_forbidden(
    debugger: DebuggerApi, mock_dify: responses.RequestsMock, version: str
) -> None:
    path = f"{APP}/chat-messages/m/suggested-questions"
    play(mock_dify, version, "debugger/console-suggested", path=path)
    with pytest.raises(DifyForbidden, match="disabled"):
        debugger.suggested("m", "alice")


def test_a_conversation_is_deleted_and_may_have_been_before(
    debugger: DebuggerApi, mock_dify: responses.RequestsMock, version: str
) -> None:
    path = f"{APP}/chat-conversations/c"
    play(mock_dify, version, "debugger/console-conversation-delete", path=path)
    debugger.delete_conversation("c", "alice")
    gone = body_of(load(version, "debugger/conversation-unknown"))
    mock_dify.delete(DIFY + path, body=gone, status=404)
    debugger.delete_conversation("c", "alice")
    assert mock_dify.calls[-1].request.url == mock_dify.calls[-2].request.url == DIFY + path


def test_without_a_console_login_the_debugger_says_what_to_set() -> None:
    with pytest.raises(ConsoleNotConfigured, match="DIFY_CONSOLE_EMAIL"):
        dify_client(DIFY).debugger("app").stream(QUESTION)
