import orjson
import pytest
import responses

from route_api.dify import Dify
from route_api.errors import DifyForbidden, DifyNotFound, DifyRejected

from .recordings import body_of, load, play, sent

QUESTION = {"query": "你好", "user": "alice", "inputs": {"context": ""}}


def test_a_blocking_answer_comes_as_dify_sent_it(dify: Dify, mock_dify: responses.RequestsMock, version: str) -> None:
    play(mock_dify, version, "chat/blocking-first-turn")
    assert dify.chat().send(QUESTION) == orjson.loads(body_of(load(version, "chat/blocking-first-turn")))
    assert sent(mock_dify) == {**QUESTION, "response_mode": "blocking", "auto_generate_name": False}


def test_a_streamed_answer_comes_as_events_and_no_title_is_asked_for(
    dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "chat/streaming-second-turn")
    events = list(dify.chat().stream(QUESTION))
    assert events[0]["event"] == "message" and events[-1]["event"] == "message_end"
    assert sent(mock_dify) == {**QUESTION, "response_mode": "streaming", "auto_generate_name": False}


def test_a_refusal_before_the_stream_is_raised_at_once(
    dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "chat/error-streaming-conversation-unknown")
    with pytest.raises(DifyNotFound):
        dify.chat().stream(QUESTION)


def test_a_model_that_fails_in_a_stream_is_its_last_event(
    dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "chat/error-mid-stream")
    events = list(dify.chat().stream(QUESTION))
    assert [event["event"] for event in events[-2:]] == ["message", "error"]


def test_a_model_that_fails_in_a_blocking_answer_is_a_rejection(
    dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "chat/error-before-blocking-rate")
    with pytest.raises(DifyRejected, match="injected failure: rate"):
        dify.chat().send(QUESTION)


def test_a_closed_app_is_forbidden(dify: Dify, mock_dify: responses.RequestsMock, version: str) -> None:
    play(mock_dify, version, "chat/app-api-disabled")
    with pytest.raises(DifyForbidden, match="API service has been disabled"):
        dify.chat().send(QUESTION)


def test_stop_names_the_task_and_its_user(dify: Dify, mock_dify: responses.RequestsMock, version: str) -> None:
    play(mock_dify, version, "chat/stop", path="/v1/chat-messages/task-1/stop")
    dify.chat().stop("task-1", "alice")
    assert sent(mock_dify) == {"user": "alice"}


def test_parameters_tell_the_declared_variables(dify: Dify, mock_dify: responses.RequestsMock, version: str) -> None:
    play(mock_dify, version, "chat/parameters-with-variables")
    form = dify.chat().parameters()["user_input_form"]
    assert [item["paragraph"]["variable"] for item in form]


def test_each_model_has_the_key_of_its_app(dify: Dify, mock_dify: responses.RequestsMock, version: str) -> None:
    for model_name, key in ((None, "app-secret"), ("small", "app-small")):
        play(mock_dify, version, "chat/parameters-with-variables")
        dify.chat(model_name).parameters()
        assert mock_dify.calls[-1].request.headers["Authorization"] == f"Bearer {key}"
    with pytest.raises(KeyError):
        dify.chat("unknown")
