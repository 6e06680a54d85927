import pytest
import responses

from route_api.dify import Dify
from route_api.dify.chat_app import Rating
from route_api.errors import DifyForbidden, DifyNotFound, DifyRejected

from ..support.recordings import DIFY, load, play, sent

QUESTION = {"query": "你好", "user": "alice", "inputs": {"context": ""}}


def test_a_streamed_answer_comes_as_events_and_no_title_is_asked_for(
    dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "chat/streaming-second-turn")
    events = list(dify.chat().stream(QUESTION))
    assert events[0]["event"] == "message" and events[-1]["event"] == "message_end"
    assert sent(mock_dify) == {**QUESTION, "response_mode": "streaming", "auto_generate_name": False}


def test_an_error_before_the_stream_is_raised_at_once(
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


def test_a_closed_app_is_forbidden(dify: Dify, mock_dify: responses.RequestsMock, version: str) -> None:
    play(mock_dify, version, "chat/app-api-disabled")
    with pytest.raises(DifyForbidden, match="API service has been disabled"):
        dify.chat().stream(QUESTION)


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


@pytest.mark.parametrize(
    "case, rating, content", [("like", "like", "很好"), ("dislike", "dislike", ""), ("null", None, "")]
)
def test_a_rating_goes_to_dify_as_recorded(
    dify: Dify,
    mock_dify: responses.RequestsMock,
    version: str,
    case: str,
    rating: Rating | None,
    content: str,
) -> None:
    play(mock_dify, version, f"chat/feedback-{case}", path="/v1/messages/m/feedbacks")
    recorded = load(version, f"chat/feedback-{case}")["request"]["body"]
    dify.chat().feedback("m", recorded["user"], rating, content)
    assert sent(mock_dify) == recorded


def test_withdrawing_a_rating_that_is_not_there_is_done(
    dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "chat/feedback-null-again", path="/v1/messages/m/feedbacks")
    dify.chat().feedback("m", "alice", None)
    assert sent(mock_dify) == {"rating": None, "user": "alice"}


@pytest.mark.parametrize("case", ["feedback-other-user", "feedback-unknown-message"])
def test_an_answer_that_the_user_never_got_cannot_be_rated(
    dify: Dify, mock_dify: responses.RequestsMock, version: str, case: str
) -> None:
    play(mock_dify, version, f"chat/{case}", path="/v1/messages/m/feedbacks")
    with pytest.raises(DifyNotFound):
        dify.chat().feedback("m", "bob", None)


def test_any_other_error_of_a_withdrawal_is_raised(dify: Dify, mock_dify: responses.RequestsMock, version: str) -> None:
    play(mock_dify, version, "chat/feedback-bad-rating", path="/v1/messages/m/feedbacks")
    with pytest.raises(DifyRejected):
        dify.chat().feedback("m", "alice", None)


def test_suggested_questions_are_asked_for_in_the_name_of_the_user(
    dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "chat/suggested", path="/v1/messages/m/suggested?user=alice")
    assert dify.chat().suggested("m", "alice") == load(version, "chat/suggested")["response"]["body"]["data"]


def test_another_users_message_has_no_suggested_questions(
    dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "chat/suggested-other-user", path="/v1/messages/m/suggested?user=bob")
    with pytest.raises(DifyNotFound):
        dify.chat().suggested("m", "bob")


@pytest.mark.parametrize("case", ["conversation-delete", "conversation-delete-unknown", "conversation-delete-again"])
def test_a_conversation_is_deleted_and_may_have_been_before(
    dify: Dify, mock_dify: responses.RequestsMock, version: str, case: str
) -> None:
    play(mock_dify, version, f"chat/{case}", path="/v1/conversations/c")
    dify.chat().delete_conversation("c", "alice")
    assert sent(mock_dify) == {"user": "alice"}
    assert mock_dify.calls[-1].request.url == f"{DIFY}/v1/conversations/c"


def test_a_rating_that_is_withdrawn_twice_is_no_error_in_later_versions_either(
    dify: Dify, mock_dify: responses.RequestsMock
) -> None:
    """Dify 1.17 and later: read in Dify's code, not recorded."""
    body = {"code": "message_feedback_rating_required", "message": "", "status": 400}
    mock_dify.post(f"{DIFY}/v1/messages/m/feedbacks", json=body, status=400)
    dify.chat().feedback("m", "alice", None)


@pytest.mark.parametrize(("version", "stops"), [("1.8.1", False), ("1.12.1", False), ("1.16.1", True), (None, False)])
def test_which_versions_stop_the_model_when_the_connection_closes(dify: Dify, version: str | None, stops: bool) -> None:
    dify.transport.dify_version = version
    assert dify.chat().stops_when_left is stops
