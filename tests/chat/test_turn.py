"""Turns of a conversation answered in one piece, from the recordings of both versions."""

import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient
from requests import PreparedRequest
from requests import exceptions as network
from sqlalchemy import select, update

from route_api.errors import ValidationFailed
from route_api.extensions import db
from route_api.storage.models import Conversation, Message, User, utc_now
from route_api.storage.stop_requests import request_stop

from ..support.fake_dify import Answer, FakeDify, recorded
from ..support.patience import PATIENCE_S
from ..support.talk import (
    CHAT,
    NOBODY,
    ask,
    asks_for_the_mode,
    counts,
    messages,
    recorded_events,
    recorded_text,
    without_variables,
)


def test_a_blocking_answer_is_split_and_stored_with_ids_of_ours(
    app: Flask, client: FlaskClient, dify: FakeDify
) -> None:
    without_variables(dify)
    dify.play("chat/streaming-first-turn")
    data = ask(client).json["data"]
    theirs = recorded_events(dify.version, "chat/streaming-first-turn")[-1]
    text = recorded_text(dify.version, "chat/streaming-first-turn")
    assert data["answer"] == text
    assert data["thinking"].startswith("用户问的是") and data["content"].startswith("你好，我是qwen3:4b")
    assert not {data["conversation_id"], data["message_id"]} & {theirs["conversation_id"], theirs["message_id"]}
    (stored,) = messages(app)
    assert (stored.id, stored.conversation_id) == (UUID(data["message_id"]).hex, UUID(data["conversation_id"]).hex)
    assert (stored.query, stored.response, stored.claimed_until) == ("葫芦庙在哪里？", text, None)
    assert (stored.meta_data["status"], stored.dify_message_id) == ("done", theirs["message_id"])
    assert stored.meta_data["usage"]["total_tokens"] == theirs["metadata"]["usage"]["total_tokens"]


def test_what_dify_is_asked(client: FlaskClient, dify: FakeDify) -> None:
    without_variables(dify)
    dify.play("chat/streaming-first-turn")
    ask(client)
    assert dify.calls == ["GET /v1/parameters", f"POST {CHAT}"]
    assert dify.sent() == {
        "query": "葫芦庙在哪里？",
        "inputs": {},
        "user": "alice",
        "response_mode": "streaming",
        "auto_generate_name": False,
    }


def test_the_next_turn_goes_into_difys_conversation(app: Flask, client: FlaskClient, dify: FakeDify) -> None:
    without_variables(dify)
    dify.play("chat/streaming-first-turn")
    dify.play("chat/streaming-second-turn")
    first = ask(client).json["data"]
    second = ask(client, "再短一点", conversation_id=first["conversation_id"].replace("-", "").upper()).json["data"]
    begun = recorded_events(dify.version, "chat/streaming-first-turn")[-1]
    assert dify.sent()["conversation_id"] == begun["conversation_id"]
    assert (first["is_new_conversation"], second["is_new_conversation"]) == (True, False)
    assert first["conversation_id"] == second["conversation_id"]
    assert [(row.position, row.query) for row in messages(app)] == [(1, "葫芦庙在哪里？"), (2, "再短一点")]
    assert counts(app) == (1, 1, 2)
    assert dify.calls.count("GET /v1/parameters") == 1


@pytest.mark.parametrize("nothing", [{}, {"conversation_id": ""}, {"conversation_id": None}])
def test_no_conversation_id_starts_one(client: FlaskClient, any_dify: FakeDify, nothing: dict[str, Any]) -> None:
    without_variables(any_dify)
    any_dify.play("chat/streaming-first-turn")
    assert ask(client, **nothing).json["data"]["is_new_conversation"] is True


def test_query_and_stream_are_other_names(client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    any_dify.play("chat/streaming-auto-generate-name-false")
    answer = client.post("/conversation/completion", json={"user_id": "alice", "query": "问", "stream": True})
    assert answer.mimetype == "text/event-stream" and answer.data
    assert any_dify.sent()["query"] == "问"


def test_the_question_is_stored_and_no_connection_is_held_while_the_model_talks(
    app: Flask, client: FlaskClient, any_dify: FakeDify
) -> None:
    seen: list[Any] = []

    def look(request: PreparedRequest) -> Answer:
        with app.app_context():
            held = db.engine.pool.checkedout()  # type: ignore[attr-defined]
        seen.append((held, [row.meta_data["status"] for row in messages(app)]))
        return recorded(any_dify.version, "chat/streaming-first-turn")

    without_variables(any_dify)
    any_dify.call_back("POST", CHAT, look)
    ask(client)
    assert seen == [(0, ["pending"])]


# ------------------------------------------------------------------ knowledge base


def test_passages_go_into_the_variable_that_the_app_declares(app: Flask, client: FlaskClient, dify: FakeDify) -> None:
    dify.play("chat/parameters-with-variables")
    (kb_id,) = dify.play("retrieve/semantic")
    dify.play("chat/streaming-first-turn")
    answer = ask(client, "英莲在元宵节走失", "completion_db", kb_id=kb_id).json
    sent = dify.sent()
    records = dify.body("retrieve/semantic")["records"]
    assert sent["query"] == "英莲在元宵节走失"
    assert sent["inputs"].keys() == {"instructions", "context", "history"}
    assert all(record["segment"]["content"] in sent["inputs"]["context"] for record in records)
    assert sent["inputs"]["history"] == "" and sent["inputs"]["instructions"]
    info = answer["rag_info"]
    assert (info["context_used"], info["kb_id"]) == (True, kb_id)
    assert info["context_length"] == len(sent["inputs"]["context"])
    assert [r["chunk_id"] for r in info["references"]] == [record["segment"]["id"] for record in records]
    assert [c["id"] for c in answer["data"]["reference"]["chunks"]] == [r["chunk_id"] for r in info["references"]]
    (stored,) = messages(app)
    assert (stored.meta_data["kb_ids"], stored.meta_data["references"]) == ([kb_id], info["references"])


def test_passages_go_into_the_query_where_the_app_declares_no_variable(client: FlaskClient, dify: FakeDify) -> None:
    without_variables(dify)
    (kb_id,) = dify.play("retrieve/semantic")
    dify.play("chat/streaming-first-turn")
    ask(client, "英莲在元宵节走失", "completion_db", kb_id=kb_id)
    sent = dify.sent()
    assert sent["inputs"] == {}
    assert dify.body("retrieve/semantic")["records"][0]["segment"]["content"] in sent["query"]
    assert sent["query"].endswith("英莲在元宵节走失")


def test_the_kb_searches_as_its_own_settings_say(client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    (kb_id,) = any_dify.play("retrieve/no-retrieval-model")
    any_dify.play("chat/streaming-first-turn")
    ask(client, path="completion_db", kb_id=kb_id)
    assert any_dify.sent(1).get("retrieval_model") is None


def test_an_empty_kb_is_no_error(client: FlaskClient, dify: FakeDify) -> None:
    dify.play("chat/parameters-with-variables")
    (kb_id,) = dify.play("retrieve/empty-dataset")
    dify.play("datasets/get-detail", f"/v1/datasets/{kb_id}")
    dify.play("chat/streaming-first-turn")
    answer = ask(client, path="completion_db", kb_id=kb_id).json
    assert (answer["code"], answer["rag_info"]["context_used"], answer["rag_info"]["context_length"]) == (0, False, 0)
    assert answer["rag_info"]["references"] == []
    assert set(dify.sent()["inputs"].values()) == {""}


def test_without_a_kb_completion_db_is_a_plain_conversation(client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    any_dify.play("chat/streaming-first-turn")
    answer = ask(client, path="completion_db").json
    assert answer["rag_info"] == {
        "context_length": 0,
        "context_used": False,
        "kb_id": None,
        "kb_ids": [],
        "references": [],
    }


def test_an_unknown_kb_is_told_and_the_question_kept(app: Flask, client: FlaskClient, dify: FakeDify) -> None:
    without_variables(dify)
    (kb_id,) = dify.play("retrieve/unknown-dataset")
    answer = ask(client, path="completion_db", kb_id=kb_id)
    assert (answer.status_code, answer.json["error"]) == (404, "kb_not_found")
    (stored,) = messages(app)
    assert (stored.meta_data["status"], stored.meta_data["reason"]) == ("failed", "kb_not_found")
    assert (stored.query, stored.claimed_until) == ("葫芦庙在哪里？", None)


def test_another_kb_starts_a_conversation_in_dify_as_well(app: Flask, client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    kb_ids = [any_dify.play(case)[0] for case in ("retrieve/semantic", "retrieve/qa-model")]
    any_dify.play("chat/streaming-first-turn")
    any_dify.play("chat/streaming-first-turn")
    first = ask(client, path="completion_db", kb_id=kb_ids[0]).json["data"]
    second = ask(client, path="completion_db", kb_id=kb_ids[1], conversation_id=first["conversation_id"]).json["data"]
    assert second["is_new_conversation"] is True and second["conversation_id"] != first["conversation_id"]
    assert "conversation_id" not in any_dify.sent()
    assert counts(app) == (1, 2, 2)


# ------------------------------------------------------------------ failures


@pytest.mark.parametrize("streaming", [False, True])
def test_a_failed_turn_keeps_the_question_and_lets_the_next_one_in(
    app: Flask, client: FlaskClient, dify: FakeDify, streaming: bool
) -> None:
    without_variables(dify)
    dify.play("chat/error-before-blocking-rate")
    dify.play("chat/streaming-first-turn")
    answer = ask(client, streaming=streaming)
    assert (answer.status_code, answer.json["error"]) == (502, "model_failed")
    assert "injected failure: rate" in answer.json["message"]
    (stored,) = messages(app)
    assert (stored.query, stored.response, stored.meta_data["status"]) == ("葫芦庙在哪里？", "", "failed")
    conversation_id = str(UUID(stored.conversation_id))
    assert ask(client, conversation_id=conversation_id).json["data"]["is_new_conversation"] is False


@pytest.mark.parametrize(
    ("failure", "status", "error"),
    [
        (network.ConnectionError(), 502, "dify_unreachable"),
        (network.ConnectTimeout(), 502, "dify_unreachable"),
        (network.ReadTimeout(), 504, "dify_timeout"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_a_dify_that_is_away_is_told_and_the_turn_ends(
    app: Flask, client: FlaskClient, any_dify: FakeDify, failure: Exception, status: int, error: str, streaming: bool
) -> None:
    without_variables(any_dify)
    any_dify.fail("POST", CHAT, failure)
    answer = ask(client, streaming=streaming)
    assert (answer.status_code, answer.json["error"]) == (status, error)
    assert [(row.meta_data["status"], row.claimed_until) for row in messages(app)] == [("failed", None)]


ERRORS = [f"chat/error-before-{{}}-{kind}" for kind in ("auth", "bad", "conn", "rate", "unavail")]


@pytest.mark.parametrize("case", ERRORS)
def test_a_model_that_fails_gives_the_error_of_difys_own_blocking_answer(
    app: Flask, client: FlaskClient, dify: FakeDify, case: str
) -> None:
    without_variables(dify)
    dify.play(case.format("streaming"))
    answer = ask(client)
    said = dify.body(case.format("blocking"))["message"]
    has_status_429 = dify.version == "1.16.1" and case.endswith(
        "rate"
    )  # That of the event; Dify's own answer is a 400.
    expected = (429, "dify_too_busy") if has_status_429 else (502, "model_failed")
    assert (answer.status_code, answer.json["error"]) == expected
    assert answer.json["message"] == f"The model could not answer: {said}"
    assert [(row.meta_data["status"], row.claimed_until) for row in messages(app)] == [("failed", None)]


def test_a_model_that_fails_in_the_middle_is_told_and_its_part_is_kept(
    app: Flask, client: FlaskClient, dify: FakeDify
) -> None:
    without_variables(dify)
    dify.play("chat/error-mid-stream")
    answer = ask(client)
    assert (answer.status_code, answer.json["error"]) == (502, "model_failed")
    (stored,) = messages(app)
    assert stored.response == recorded_text(dify.version, "chat/error-mid-stream") != ""
    assert (stored.meta_data["status"], stored.meta_data["reason"]) == ("failed", "model_failed")


def test_a_failure_of_difys_own_is_told_as_such(client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    event = {"event": "error", "status": 500, "code": "internal_server_error", "message": "Internal Server Error"}
    any_dify.call_back("POST", CHAT, lambda request: (200, {}, b"data: %b\n\n" % orjson.dumps(event)))
    answer = ask(client)
    assert (answer.status_code, answer.json["error"]) == (502, "dify_failed")


def test_a_model_that_says_nothing_gives_an_empty_answer(app: Flask, client: FlaskClient, dify: FakeDify) -> None:
    without_variables(dify)
    dify.play("chat/streaming-empty-answer")
    data = ask(client).json["data"]
    assert (data["answer"], data["status"]) == ("", "done")
    assert [row.meta_data["status"] for row in messages(app)] == ["done"]


@pytest.mark.parametrize("is_stopped", [False, True])
def test_an_answer_without_tokens_is_stopped_only_if_somebody_asked_for_it(
    app: Flask, client: FlaskClient, dify: FakeDify, is_stopped: bool
) -> None:
    """A workflow without a model uses no tokens either."""

    def talk(request: PreparedRequest) -> Answer:
        if is_stopped:
            with app.app_context():
                request_stop(db.engine, messages(app)[0].id)
        return recorded(dify.version, "chat/streaming-stopped")

    without_variables(dify)
    dify.call_back("POST", CHAT, talk)
    assert ask(client).json["data"]["status"] == ("stopped" if is_stopped else "done")


def test_a_model_that_dify_does_not_have_is_told_after_the_question_is_stored(
    app: Flask, client: FlaskClient, any_dify: FakeDify, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only Dify knows its models, and the question is stored before Dify is asked."""

    def refuse(*_: object) -> None:
        raise ValidationFailed("model_name 'x' is not a model of this Dify.")

    with monkeypatch.context() as refusing:
        refusing.setattr("route_api.chat.plan.choose_backend", refuse)
        answer = ask(client)
    assert (answer.status_code, answer.json["error"]) == (400, "validation_failed")
    (stored,) = messages(app)
    assert (stored.query, stored.claimed_until) == ("葫芦庙在哪里？", None)
    assert (stored.meta_data["status"], stored.meta_data["reason"]) == ("failed", "validation_failed")
    without_variables(any_dify)
    any_dify.play("chat/streaming-first-turn")
    assert ask(client, conversation_id=stored.conversation_id).json["data"]["status"] == "done"


@pytest.mark.parametrize("given", [{"prompt_name": "nope"}, {"temperature": 0.5}, {"model_name": "nope"}])
def test_what_can_be_refused_without_dify_changes_nothing(app: Flask, client: FlaskClient, given: Any) -> None:
    assert ask(client, **given).status_code == 400
    assert counts(app) == (0, 0, 0)


def test_a_wrong_key_is_the_operators_business(client: FlaskClient, dify: FakeDify) -> None:
    dify.play("chat/parameters-wrong-key")
    answer = ask(client)
    assert (answer.status_code, answer.json["error"]) == (502, "dify_auth_failed")
    assert "DIFY_APP_API_KEY" in answer.json["message"]


def test_a_conversation_that_dify_has_lost_is_asked_again_without_it(
    app: Flask, client: FlaskClient, dify: FakeDify
) -> None:
    without_variables(dify)
    asks_for_the_mode(dify)
    dify.play("chat/streaming-first-turn")
    dify.play("chat/conversation-deleted")
    dify.play("chat/streaming-second-turn")
    first = ask(client).json["data"]
    second = ask(client, conversation_id=first["conversation_id"]).json["data"]
    assert second["conversation_id"] == first["conversation_id"]
    assert "conversation_id" not in dify.sent()
    with app.app_context(), db.engine.connect() as connection:
        kept = connection.scalar(select(Conversation.dify_conversation_id))
    assert kept == recorded_events(dify.version, "chat/streaming-second-turn")[-1]["conversation_id"]


# ------------------------------------------------------------------ users and order of turns


def test_a_second_message_while_one_runs_is_refused_with_409(
    app: Flask, client: FlaskClient, any_dify: FakeDify
) -> None:
    refused: list[Any] = []

    def ask_again(request: PreparedRequest) -> Answer:
        (running,) = messages(app)
        refused.append(ask(app.test_client(), "第二句", conversation_id=running.conversation_id))
        return recorded(any_dify.version, "chat/streaming-first-turn")

    without_variables(any_dify)
    any_dify.call_back("POST", CHAT, ask_again)
    assert ask(client).status_code == 200
    (answer,) = refused
    assert (answer.status_code, answer.json["error"]) == (409, "conversation_busy")
    assert counts(app) == (1, 1, 1)


def test_a_claim_that_has_run_out_is_taken_over(app: Flask, client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    asks_for_the_mode(any_dify)
    any_dify.play("chat/streaming-first-turn")
    any_dify.play("chat/streaming-first-turn")
    conversation_id = ask(client).json["data"]["conversation_id"]
    for hence, status in ((60, 409), (-1, 200)):
        with app.app_context(), db.engine.begin() as connection:
            connection.execute(update(Message).values(leased_until=utc_now() + timedelta(seconds=hence)))
        assert ask(client, conversation_id=conversation_id).status_code == status


@pytest.mark.parametrize("path", ["completion", "completion_db"])
def test_another_users_conversation_is_not_found(client: FlaskClient, any_dify: FakeDify, path: str) -> None:
    without_variables(any_dify)
    any_dify.play("chat/streaming-first-turn")
    conversation_id = ask(client).json["data"]["conversation_id"]
    for foreign in (conversation_id, NOBODY):
        answer = ask(client, path=path, user_id="mallory", conversation_id=foreign)
        assert (answer.status_code, answer.json["error"]) == (404, "conversation_not_found")
    assert len(any_dify.calls) == 2


def test_two_users_at_once_get_their_own_answers(app: Flask, any_dify: FakeDify) -> None:
    barrier = threading.Barrier(2, timeout=PATIENCE_S)

    def meet(request: PreparedRequest) -> Answer:
        asked = orjson.loads(request.body or b"")
        barrier.wait()
        status, headers, body = recorded(any_dify.version, "chat/streaming-first-turn")
        *_, end = body.strip().rpartition(b"data: ")
        said = {**orjson.loads(end), "event": "message", "answer": f"{asked['user']}: {asked['query']}"}
        return status, headers, b"data: %b\n\ndata: %b\n\n" % (orjson.dumps(said), end)

    answers: dict[str, str] = {}

    def talk(user_id: str) -> None:
        answers[user_id] = ask(app.test_client(), f"?{user_id}", user_id=user_id).json["data"]["answer"]

    without_variables(any_dify)
    any_dify.mock.assert_all_requests_are_fired = False
    without_variables(any_dify)
    any_dify.call_back("POST", CHAT, meet)
    threads = [threading.Thread(target=talk, args=(user,)) for user in ("alice", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE_S)
    assert answers == {"alice": "alice: ?alice", "bob": "bob: ?bob"}
    assert counts(app) == (2, 2, 2)


def test_a_dify_that_is_down_before_the_turn_loses_no_question(app: Flask, client: FlaskClient) -> None:
    answer = client.post("/chat/chat", json={"user_id": "alice", "query": "还在吗？"})
    assert answer.json["error"] == "dify_unreachable"
    (stored,) = messages(app)
    assert (stored.query, stored.claimed_until) == ("还在吗？", None)
    assert (stored.meta_data["status"], stored.meta_data["reason"]) == ("failed", "dify_unreachable")


def test_an_answer_in_no_known_shape_ends_the_turn(app: Flask, client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    any_dify.answer("POST", "/v1/chat-messages", {"result": "success"})
    answer = client.post("/chat/chat", json={"user_id": "alice", "query": "?", "temperature": None})
    assert (answer.status_code, answer.json["error"]) == (502, "dify_unreachable")
    (stored,) = messages(app)
    assert (stored.meta_data["status"], stored.meta_data["reason"]) == ("failed", "dify_unreachable")
    assert stored.claimed_until is None


def test_a_conversation_brought_over_from_another_system_goes_on(
    app: Flask, client: FlaskClient, any_dify: FakeDify
) -> None:
    """docs/migration.md: rows that another program inserts need no data of Dify."""
    conversation_id = "0123456789abcdef0123456789abcdef"
    with app.app_context():
        db.session.add(User(id="alice"))
        db.session.add(Conversation(id=conversation_id, user_id="alice", name="old", chat_type="chat"))
        for position, (query, response) in enumerate(
            [("你是谁？", "我是甄士隐。"), ("你住在哪里？", "十里街。")], start=1
        ):
            row = {"query": query, "response": response, "meta_data": {"status": "done"}, "chat_type": "chat"}
            db.session.add(Message(conversation_id=conversation_id, position=position, **row))
        db.session.commit()
    without_variables(any_dify)
    asks_for_the_mode(any_dify)
    any_dify.play("chat/streaming-first-turn")
    assert ask(client, conversation_id=conversation_id).json["data"]["answer"]
    sent = any_dify.sent()
    assert "conversation_id" not in sent
    assert all(
        text in sent["query"] for text in ("你是谁？", "我是甄士隐。", "你住在哪里？", "十里街。", "葫芦庙在哪里？")
    )
    page = {"user_id": "alice", "conversation_id": conversation_id}
    shown = client.get("/conversation/messages", query_string=page).json["data"]["messages"]
    assert [row["position"] for row in shown] == [1, 2, 3]
