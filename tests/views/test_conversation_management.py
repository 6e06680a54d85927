"""`/conversation` around its turns: list, get, rename, rm, messages, stop."""

from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from requests import exceptions as network
from sqlalchemy import Engine

from route_api.chat import forwarding
from route_api.extensions import db
from route_api.schemas.base import describe_problems
from route_api.storage.models import Conversation, Message
from route_api.storage.stop_requests import stop_requests

from ..support.api_document import answer_schema
from ..support.fake_dify import FakeDify
from ..support.gateway_client import MakeApp
from ..support.stored import add_conversation, add_message, add_running, count_rows

NOBODYS = "00000000-0000-4000-8000-000000000000"
THEIRS = [str(UUID(int=number)) for number in range(1, 5)]
READERS = ["list", "get", "messages"]


@pytest.fixture
def engine(app: Flask) -> Engine:
    with app.app_context():
        return db.engine


def dashed(hex_id: str) -> str:
    return str(UUID(hex_id))


def call(client: FlaskClient, what: str, method: str = "POST", **given: Any) -> Any:
    return client.open(f"/v1/conversation/{what}", method=method, json={"user_id": "alice", **given})


def on_dify(engine: Engine, *dify_ids: str, carrier: str = "app") -> str:
    """A conversation whose turns went into these conversations of Dify's."""
    conversation_id = add_conversation(engine)
    for position, dify_id in enumerate(dify_ids, 1):
        meta_data = {"status": "done", "carrier": carrier, "dify_conversation_id": dify_id}
        add_message(engine, conversation_id, position, meta_data=meta_data)
    return conversation_id


# ------------------------------------------------------------------ reading


def test_a_user_lists_reads_and_pages_what_was_said(client: FlaskClient, engine: Engine) -> None:
    conversation_id = add_conversation(engine, name="名字😀")
    for position in (1, 2, 3):
        add_message(engine, conversation_id, position)
    listed = call(client, "list").json["data"]
    assert listed["total"] == 1
    (row,) = listed["conversations"]
    assert (row["conversation_id"], row["name"], row["message_count"]) == (dashed(conversation_id), "名字😀", 3)
    assert call(client, "get", conversation_id=conversation_id).json["data"] == row
    page = call(client, "messages", conversation_id=conversation_id, page=2, page_size=2).json["data"]
    assert ([message["query"] for message in page["messages"]], page["total"]) == (["第3个问题"], 3)
    newest = call(client, "messages", conversation_id=conversation_id, page_size=1, order="desc").json["data"]
    assert newest["messages"] == page["messages"]


@pytest.mark.parametrize(
    "path",
    [f"conversation/{what}" for what in (*READERS, "rename", "stop", "rm")] + ["message/get", "message/feedback"],
)
def test_an_answer_is_what_the_openapi_document_promises(client: FlaskClient, engine: Engine, path: str) -> None:
    conversation_id = add_conversation(engine, chat_type="kb_chat", kb_id=THEIRS[0])
    message_id = add_message(engine, conversation_id)
    given = {"conversation_id": conversation_id, "message_id": message_id, "name": "x", "score": 1}
    answer = client.post(f"/{path}", json={"user_id": "alice", **given})
    schema = answer_schema(client.application, f"/{path}", "POST")
    assert answer.status_code == 200 and schema is not None
    assert describe_problems(schema.validate(answer.json)) == []


@pytest.mark.parametrize("what", READERS)
def test_a_get_with_a_query_string_reads_the_same(client: FlaskClient, engine: Engine, what: str) -> None:
    conversation_id = add_conversation(engine)
    given = {"user_id": " alice ", "conversation_id": dashed(conversation_id).upper()}
    got = client.get(f"/conversation/{what}", query_string=given)
    posted = call(client, what, conversation_id=conversation_id)
    assert got.status_code == 200 and got.json["data"] == posted.json["data"]


def test_a_new_user_has_an_empty_list(client: FlaskClient) -> None:
    assert call(client, "list").json["data"] == {"conversations": [], "total": 0}


@pytest.mark.parametrize("what", ["get", "messages", "rename", "rm", "stop"])
@pytest.mark.parametrize("user_id", ["mallory", "Alice"])
def test_another_users_conversation_is_not_found(client: FlaskClient, engine: Engine, what: str, user_id: str) -> None:
    conversation_id = add_conversation(engine)
    add_running(engine, conversation_id, task_id="t")
    answer = call(client, what, user_id=user_id, conversation_id=conversation_id, name="x")
    unknown = call(client, what, conversation_id=NOBODYS, name="x")
    for refused, named in ((answer, dashed(conversation_id)), (unknown, NOBODYS)):
        assert (refused.status_code, refused.json["error"]) == (404, "conversation_not_found")
        assert named in refused.json["message"]
    assert call(client, "get", conversation_id=conversation_id).json["data"]["name"] == "名字"


# ------------------------------------------------------------------ rename, rm


def test_a_renamed_conversation_is_answered_whole(client: FlaskClient, engine: Engine) -> None:
    conversation_id = add_conversation(engine)
    data = call(client, "rename", conversation_id=conversation_id, name="  新😀  ").json["data"]
    assert data["name"] == "新😀"
    assert data == call(client, "get", conversation_id=conversation_id).json["data"]


@pytest.mark.parametrize("name", ["", "  ", "x" * 51])
def test_a_name_that_no_sidebar_could_show_is_refused(client: FlaskClient, engine: Engine, name: str) -> None:
    answer = call(client, "rename", conversation_id=add_conversation(engine), name=name)
    assert (answer.status_code, answer.json["error"]) == (400, "validation_failed")


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_deleted_conversation_is_deleted_on_dify_too(
    client: FlaskClient, engine: Engine, dify: FakeDify, method: str
) -> None:
    conversation_id = on_dify(engine, *THEIRS[:2])
    for dify_id in THEIRS[:2]:
        dify.play("chat/conversation-delete", f"/v1/conversations/{dify_id}")
    answer = call(client, "rm", method, conversation_id=conversation_id)
    assert answer.json["data"] == {"deleted": [dashed(conversation_id)]}
    assert sorted(dify.calls) == [f"DELETE /v1/conversations/{dify_id}" for dify_id in THEIRS[:2]]
    assert dify.sent() == {"user": "alice"}
    assert count_rows(engine, Conversation, Message) == (0, 0)


def test_several_conversations_are_deleted_by_one_call(client: FlaskClient, engine: Engine) -> None:
    ids = [add_conversation(engine) for _ in range(3)]
    assert call(client, "rm", conversation_id=[*ids, ids[0]]).json["data"] == {"deleted": [dashed(i) for i in ids]}
    assert count_rows(engine, Conversation) == (0,)


def test_the_app_that_carried_a_conversation_is_the_one_that_deletes_it(make_app: MakeApp, any_dify: FakeDify) -> None:
    app = make_app(DIFY_APPS={"qwen": "app-of-qwen"})
    with app.app_context():
        conversation_id = on_dify(db.engine, THEIRS[0], carrier="app:qwen")
    any_dify.play("chat/conversation-delete", f"/v1/conversations/{THEIRS[0]}")
    assert call(app.test_client(), "rm", conversation_id=conversation_id).status_code == 200
    assert any_dify.mock.calls[0].request.headers["Authorization"] == "Bearer app-of-qwen"


def test_a_dify_that_cannot_delete_keeps_nothing_of_ours_alive(
    client: FlaskClient, engine: Engine, any_dify: FakeDify, log: pytest.LogCaptureFixture
) -> None:
    conversation_id = on_dify(engine, THEIRS[0])
    any_dify.answer("DELETE", f"/v1/conversations/{THEIRS[0]}", {"message": "no"}, 500)
    assert call(client, "rm", conversation_id=conversation_id).status_code == 200
    assert count_rows(engine, Conversation, Message) == (0, 0)
    assert f"Dify keeps its conversation {THEIRS[0]}" in log.text


@pytest.mark.parametrize("failure", [network.ConnectTimeout(), network.ReadTimeout()])
def test_a_dify_that_does_not_answer_is_asked_once(
    client: FlaskClient, engine: Engine, any_dify: FakeDify, log: pytest.LogCaptureFixture, failure: Exception
) -> None:
    conversation_id = on_dify(engine, *THEIRS)
    for dify_id in THEIRS:
        any_dify.mock.assert_all_requests_are_fired = False
        any_dify.fail("DELETE", f"/v1/conversations/{dify_id}", failure)
    assert call(client, "rm", conversation_id=conversation_id).status_code == 200
    assert len(any_dify.calls) == 1
    assert all(f"Dify keeps its conversation {dify_id}" in log.text for dify_id in THEIRS)


def test_a_caller_does_not_wait_long_for_dify_to_delete(
    client: FlaskClient, engine: Engine, any_dify: FakeDify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarding, "DELETE_ON_DIFY_S", -1.0)
    conversation_id = on_dify(engine, *THEIRS)
    assert call(client, "rm", conversation_id=conversation_id).status_code == 200
    assert any_dify.calls == []


def test_a_conversation_in_which_an_answer_is_being_written_is_busy(
    client: FlaskClient, engine: Engine, any_dify: FakeDify
) -> None:
    idle, busy = on_dify(engine, THEIRS[0]), add_conversation(engine)
    add_running(engine, busy)
    answer = call(client, "rm", conversation_id=[idle, busy])
    assert (answer.status_code, answer.json["error"]) == (409, "conversation_busy")
    assert count_rows(engine, Conversation) == (2,) and any_dify.calls == []


# ------------------------------------------------------------------ stop


@pytest.mark.parametrize("by", ["conversation_id", "message_id"])
def test_a_running_answer_is_stopped_on_dify(client: FlaskClient, engine: Engine, dify: FakeDify, by: str) -> None:
    (task_id,) = dify.play("chat/stop")
    conversation_id = add_conversation(engine)
    message_id = add_running(engine, conversation_id, task_id=task_id, carrier="app")
    ids = {"conversation_id": conversation_id, "message_id": message_id}
    answer = call(client, "stop", **{by: ids[by]})
    assert answer.json["data"] == {"message_id": dashed(message_id), "stopped": True}
    assert dify.calls == [f"POST /v1/chat-messages/{task_id}/stop"] and dify.sent() == {"user": "alice"}


def test_stopping_where_nothing_is_running_is_no_failure(
    client: FlaskClient, engine: Engine, any_dify: FakeDify
) -> None:
    conversation_id = add_conversation(engine)
    message_id = dashed(add_message(engine, conversation_id, meta_data={"status": "done", "task_id": "old"}))
    by_conversation = call(client, "stop", conversation_id=conversation_id).json["data"]
    by_message = call(client, "stop", message_id=message_id).json["data"]
    assert (by_conversation, by_message) == (
        {"message_id": None, "stopped": False},
        {"message_id": message_id, "stopped": False},
    )
    assert any_dify.calls == []


def test_a_stop_before_dify_begins_to_answer_is_left_to_the_process_of_the_turn(
    client: FlaskClient, engine: Engine, any_dify: FakeDify
) -> None:
    conversation_id = add_conversation(engine)
    message_id = add_running(engine, conversation_id)
    for _ in range(2):
        answer = call(client, "stop", conversation_id=conversation_id)
        assert answer.json["data"] == {"message_id": dashed(message_id), "stopped": True}
    assert stop_requests(engine) == {message_id} and any_dify.calls == []


def test_a_stop_that_fails_on_dify_is_left_to_the_process_of_the_turn(
    client: FlaskClient, engine: Engine, any_dify: FakeDify
) -> None:
    conversation_id = add_conversation(engine)
    message_id = add_running(engine, conversation_id, task_id=THEIRS[0])
    any_dify.fail("POST", f"/v1/chat-messages/{THEIRS[0]}/stop", network.ConnectionError())
    assert call(client, "stop", conversation_id=conversation_id).json["data"]["stopped"] is True
    assert stop_requests(engine) == {message_id}


@pytest.mark.parametrize("nothing", [{}, {"conversation_id": "", "message_id": None}])
def test_a_stop_must_name_something(client: FlaskClient, nothing: dict[str, Any]) -> None:
    answer = call(client, "stop", **nothing)
    assert (answer.status_code, answer.json["message"]) == (400, "conversation_id or message_id is required.")


def test_what_a_message_id_names_is_stopped_for_its_owner_alone(client: FlaskClient, engine: Engine) -> None:
    message_id = add_running(engine, add_conversation(engine), task_id="t")
    answer = call(client, "stop", user_id="mallory", message_id=message_id)
    assert (answer.status_code, answer.json["error"]) == (404, "message_not_found")
