"""`/message`: reading one, rating it, and what to ask next."""

from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from requests import exceptions as network
from sqlalchemy import Engine

from route_api.extensions import db

from ..support.fake_dify import FakeDify
from ..support.recordings import load
from ..support.stored import add_conversation, add_message

NOBODYS = "00000000-0000-4000-8000-000000000000"
THEIRS = "25db0cb2-01c8-4efc-ae4a-ebd13d30dff4"
FEEDBACK = f"/v1/messages/{THEIRS}/feedbacks"
SUGGESTED = f"/v1/messages/{THEIRS}/suggested"


@pytest.fixture
def engine(app: Flask) -> Engine:
    with app.app_context():
        return db.engine


@pytest.fixture
def message_id(engine: Engine) -> str:
    """A message of Alice's that Dify knows as `THEIRS`; with dashes."""
    meta_data = {"status": "done", "carrier": "app", "task_id": "t"}
    return str(UUID(add_message(engine, add_conversation(engine), meta_data=meta_data, dify_message_id=THEIRS)))


@pytest.fixture
def ours_alone(engine: Engine) -> str:
    """A message of Alice's that never reached Dify."""
    return add_message(engine, add_conversation(engine), meta_data={"status": "failed"})


def call(client: FlaskClient, what: str, **given: Any) -> Any:
    return client.post(f"/v1/message/{what}", json={"user_id": "alice", **given})


def stored(client: FlaskClient, message_id: str) -> tuple[Any, Any]:
    row = call(client, "get", message_id=message_id).json["data"]
    return row["feedback_score"], row["feedback_reason"]


@pytest.mark.parametrize("what", ["get", "feedback", "suggested"])
@pytest.mark.parametrize("user_id", ["mallory", "Alice"])
def test_another_users_message_is_not_found(
    client: FlaskClient, any_dify: FakeDify, message_id: str, what: str, user_id: str
) -> None:
    theirs = call(client, what, user_id=user_id, message_id=message_id, score=1)
    nobodys = call(client, what, message_id=NOBODYS, score=1)
    for refused, named in ((theirs, message_id), (nobodys, NOBODYS)):
        assert (refused.status_code, refused.json["error"]) == (404, "message_not_found")
        assert named in refused.json["message"]
    assert any_dify.calls == [] and stored(client, message_id) == (None, None)


def test_a_message_is_read_with_or_without_dashes_by_get_and_post(client: FlaskClient, message_id: str) -> None:
    posted = call(client, "get", message_id=message_id.replace("-", "")).json["data"]
    got = client.get("/message/get", query_string={"user_id": "alice", "message_id": message_id}).json["data"]
    assert got == posted and got["message_id"] == message_id
    assert not {"carrier", "task_id"} & got["meta_data"].keys()


# ------------------------------------------------------------------ feedback


@pytest.mark.parametrize(
    ("score", "case", "rating"),
    [(100, "like", "like"), (60, "like", "like"), (59, "dislike", "dislike"), (0, "dislike", "dislike")],
)
def test_a_score_is_stored_and_passed_on_as_like_or_dislike(
    client: FlaskClient, dify: FakeDify, message_id: str, score: int, case: str, rating: str
) -> None:
    dify.play(f"chat/feedback-{case}", FEEDBACK)
    data = call(client, "feedback", message_id=message_id, score=score, reason="很好😀").json["data"]
    assert data == {"message_id": message_id, "passed_on": True, "reason": "很好😀", "score": score}
    assert dify.sent() == {"rating": rating, "user": "alice", "content": "很好😀"}
    assert stored(client, message_id) == (score, "很好😀")


def test_feedback_is_withdrawn_also_twice(client: FlaskClient, dify: FakeDify, message_id: str) -> None:
    dify.play("chat/feedback-like", FEEDBACK)
    dify.play("chat/feedback-null", FEEDBACK)
    dify.play("chat/feedback-null-again", FEEDBACK)
    call(client, "feedback", message_id=message_id, score=90, reason="好")
    for _ in range(2):
        data = call(client, "feedback", message_id=message_id, score=None).json["data"]
        assert (data["passed_on"], data["score"], data["reason"]) == (True, None, None)
    assert dify.sent() == {"rating": None, "user": "alice"}
    assert stored(client, message_id) == (None, None)


def test_feedback_that_dify_does_not_take_is_kept(
    client: FlaskClient, dify: FakeDify, message_id: str, log: pytest.LogCaptureFixture
) -> None:
    dify.play("chat/feedback-unknown-message", FEEDBACK)
    dify.fail("POST", FEEDBACK, network.ConnectionError())
    for score in (80, 20):
        data = call(client, "feedback", message_id=message_id, score=score).json["data"]
        assert data["passed_on"] is False
        assert stored(client, message_id) == (score, None)
    assert log.text.count(f"Dify did not take the feedback on its message {THEIRS}") == 2


def test_feedback_on_what_dify_never_saw_is_ours_alone(
    client: FlaskClient, any_dify: FakeDify, ours_alone: str
) -> None:
    assert call(client, "feedback", message_id=ours_alone, score=5).json["data"]["passed_on"] is False
    assert stored(client, ours_alone) == (5, None) and any_dify.calls == []


@pytest.mark.parametrize("backend", ["debugger", "debugger:gone"])
def test_feedback_on_a_turn_of_the_debugger_calls_nothing(
    console_client: FlaskClient, any_dify: FakeDify, backend: str
) -> None:
    with console_client.application.app_context():
        conversation, meta_data = add_conversation(db.engine), {"status": "done", "carrier": backend}
        rated = add_message(db.engine, conversation, meta_data=meta_data, dify_message_id=THEIRS)
    assert call(console_client, "feedback", message_id=rated, score=5).json["data"]["passed_on"] is False
    assert any_dify.calls == [] and stored(console_client, rated) == (5, None)


@pytest.mark.parametrize(
    "wrong", [{"score": 101}, {"score": -1}, {"score": 1.5}, {}, {"score": 1, "reason": "x" * 256}]
)
def test_feedback_out_of_its_limits_is_refused(
    client: FlaskClient, any_dify: FakeDify, message_id: str, wrong: dict[str, Any]
) -> None:
    answer = call(client, "feedback", message_id=message_id, **wrong)
    assert (answer.status_code, answer.json["error"]) == (400, "validation_failed")
    assert any_dify.calls == [] and stored(client, message_id) == (None, None)


# ------------------------------------------------------------------ suggested questions


def test_suggested_questions_are_passed_through(client: FlaskClient, dify: FakeDify, message_id: str) -> None:
    dify.play("chat/suggested", SUGGESTED)
    answer = call(client, "suggested", message_id=message_id)
    assert answer.json["data"] == load(dify.version, "chat/suggested")["response"]["body"]["data"] != []
    assert dify.calls == [f"GET {SUGGESTED}?user=alice"]


@pytest.mark.parametrize("case", ["debugger/console-suggested", "chat/suggested-unknown"])
def test_where_dify_suggests_nothing_there_are_no_questions(
    client: FlaskClient, dify: FakeDify, message_id: str, case: str
) -> None:
    refused = load(dify.version, case)["response"]
    dify.answer("GET", SUGGESTED, refused["body"], refused["status"])
    answer = call(client, "suggested", message_id=message_id)
    assert (answer.status_code, answer.json["data"]) == (200, [])


def test_a_message_that_never_reached_dify_has_no_suggestions(
    client: FlaskClient, any_dify: FakeDify, ours_alone: str
) -> None:
    assert call(client, "suggested", message_id=ours_alone).json["data"] == []
    assert any_dify.calls == []


def test_a_dify_that_cannot_be_reached_is_told(client: FlaskClient, any_dify: FakeDify, message_id: str) -> None:
    any_dify.fail("GET", SUGGESTED, network.ReadTimeout())
    answer = call(client, "suggested", message_id=message_id)
    assert (answer.status_code, answer.json["error"]) == (504, "dify_timeout")
