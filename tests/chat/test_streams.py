"""Turns of a conversation answered as a stream, from the recordings of both versions."""

import re
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient
from requests import exceptions as network
from sqlalchemy import update

from route_api.chat import relay, turn_in_progress
from route_api.extensions import db
from route_api.storage.models import Message, utc_now

from ..support.dify_client import dify_client
from ..support.event_streams import CHUNKED_HEAD, chunk
from ..support.fake_dify import FakeDify, recorded
from ..support.gateway_client import MakeApp
from ..support.loopback import answer, loopback
from ..support.patience import PATIENCE_S
from ..support.talk import (
    CHAT,
    NOBODY,
    ask,
    asks_for_the_mode,
    decoded,
    messages,
    recorded_events,
    recorded_text,
    stream,
    without_variables,
)


def test_a_stream_is_deltas_then_the_whole_then_true(app: Flask, client: FlaskClient, dify: FakeDify) -> None:
    without_variables(dify)
    dify.play("chat/streaming-second-turn")
    *deltas, last, end = stream(client)
    text = recorded_text(dify.version, "chat/streaming-second-turn")
    assert end == {"code": 0, "message": "", "data": True}
    assert "".join(event["data"]["answer"] for event in deltas) == text == last["data"]["answer"]
    assert last["data"].keys() >= {"thinking", "content", "conversation_id", "message_id", "is_new_conversation"}
    assert last["data"]["thinking"] and last["data"]["content"] == text.split("</think>\n\n")[1]
    assert {(e["code"], e["data"]["message_id"], e["data"]["conversation_id"]) for e in [*deltas, last]} == {
        (0, last["data"]["message_id"], last["data"]["conversation_id"])
    }
    (stored,) = messages(app)
    assert (stored.response, stored.meta_data["status"], stored.claimed_until) == (text, "done", None)
    assert stored.dify_message_id and stored.meta_data["usage"]
    assert dify.sent()["response_mode"] == "streaming"


def test_no_proxy_may_hold_a_stream_back(client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    any_dify.play("chat/streaming-auto-generate-name-false")
    answer = ask(client, streaming=True)
    assert (answer.headers["Cache-Control"], answer.headers["X-Accel-Buffering"]) == ("no-cache, no-transform", "no")
    assert "Content-Length" not in answer.headers
    answer.close()
    any_dify.mock.assert_all_requests_are_fired = False


@pytest.mark.parametrize("options", [{}, {"think": "separate"}, {"stream_mode": "cumulative"}, {"streaming": False}])
def test_an_answer_with_odd_ends_of_lines_is_whole_for_a_client_that_splits_at_all_of_them(
    client: FlaskClient, any_dify: FakeDify, options: dict[str, Any]
) -> None:
    text = "一\u2028二\u2029三\u0085四\x0b五\x0c六\x1c七\x1d八\x1e九\r\n十"
    ids = {"conversation_id": NOBODY, "message_id": NOBODY, "task_id": NOBODY}
    events = [{"event": "message", "answer": text, **ids}, {"event": "message_end", **ids}]
    without_variables(any_dify)
    any_dify.call_back("POST", CHAT, lambda _: (200, {}, b"".join(b"data: %b\n\n" % orjson.dumps(e) for e in events)))
    body = {"user_id": "alice", "message": "?", "streaming": True, **options}
    for _ in range(2):  # The second answer is a repeated one.
        answer = client.post("/chat/chat", json=body, headers={"Idempotency-Key": "once"})
        lines = [orjson.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
        assert {line["data"]["answer"] for line in lines if line["data"] is not True} == {text}


def test_a_stream_with_a_kb_ends_with_its_references(client: FlaskClient, dify: FakeDify) -> None:
    dify.play("chat/parameters-with-variables")
    (kb_id,) = dify.play("retrieve/semantic")
    dify.play("chat/streaming-auto-generate-name-false")
    *_, last, _ = stream(client, path="completion_db", kb_id=kb_id)
    records = dify.body("retrieve/semantic")["records"]
    assert len(last["rag_info"]["references"]) == len(last["data"]["reference"]["chunks"]) == len(records)


def test_a_ping_of_difys_keeps_our_connection_alive(client: FlaskClient, dify: FakeDify) -> None:
    without_variables(dify)
    dify.play("chat/streaming-ping")
    assert b"\n\n: ping\n\n" in b"\n\n" + ask(client, streaming=True).data


def test_an_error_in_the_middle_is_an_event_and_the_part_is_kept(
    app: Flask, client: FlaskClient, dify: FakeDify
) -> None:
    without_variables(dify)
    dify.play("chat/error-mid-stream")
    *deltas, failure = stream(client)
    assert (failure["code"], failure["error"]) == (-1, "model_failed")
    assert "injected mid-stream failure: unavail" in failure["message"]
    assert failure["data"]["message_id"] == deltas[0]["data"]["message_id"]
    (stored,) = messages(app)
    part = recorded_text(dify.version, "chat/error-mid-stream")
    assert (stored.response, stored.meta_data["status"], stored.meta_data["reason"]) == (part, "failed", "model_failed")
    assert stored.claimed_until is None


def test_a_stream_that_dify_cuts_off_is_a_failure_and_not_an_end(
    app: Flask, client: FlaskClient, dify: FakeDify
) -> None:
    without_variables(dify)
    play_beginning(dify)
    *deltas, failure = stream(client)
    assert (failure["code"], failure["error"]) == (-1, "dify_unreachable")
    (stored,) = messages(app)
    assert stored.response == "".join(event["data"]["answer"] for event in deltas) != ""
    assert stored.meta_data["status"] == "failed"


def play_beginning(dify: FakeDify) -> str:
    """Prepare a stream that breaks off after five events.

    :returns: the id of its task
    """
    status, headers, body = recorded(dify.version, "chat/streaming-stopped")
    begun = b"\n\n".join(body.split(b"\n\n")[:5]) + b"\n\n"
    dify.call_back("POST", CHAT, lambda request: (status, headers, begun))
    task_id: str = orjson.loads(body.split(b"\n\n")[0].removeprefix(b"data: "))["task_id"]
    return task_id


@pytest.mark.parametrize("streaming", [True, False])
def test_an_event_that_cannot_be_read_stops_the_model_and_the_part_is_kept(
    app: Flask, client: FlaskClient, any_dify: FakeDify, streaming: bool
) -> None:
    without_variables(any_dify)
    (task_id,) = any_dify.play("chat/stop")
    status, headers, body = recorded(any_dify.version, "chat/streaming-stopped")
    broken = b"\n\n".join([*body.split(b"\n\n")[:5], b"data: [1]", b""])
    any_dify.call_back("POST", CHAT, lambda _: (status, headers, broken))
    answer = ask(client, streaming=streaming)
    assert b'"dify_failed"' in answer.data
    assert any_dify.calls[-1] == f"POST {CHAT}/{task_id}/stop"
    (stored,) = messages(app)
    assert stored.response and (stored.meta_data["reason"], stored.claimed_until) == ("dify_failed", None)


def test_a_client_that_leaves_stops_the_model_and_the_part_is_kept(
    app: Flask, client: FlaskClient, dify: FakeDify
) -> None:
    without_variables(dify)
    (task_id,) = dify.play("chat/stop")
    dify.play("chat/streaming-stopped")
    answer = ask(client, streaming=True, user_id="alice")
    pieces = [next(answer.response) for _ in range(4)]
    answer.close()
    assert dify.calls[-1] == f"POST {CHAT}/{task_id}/stop"
    assert dify.sent() == {"user": "alice"}
    (stored,) = messages(app)
    seen = "".join(event["data"]["answer"] for event in decoded(b"".join(pieces)))
    assert stored.response.startswith(seen) and seen
    assert (stored.meta_data["status"], stored.claimed_until) == ("stopped", None)


def test_a_client_that_leaves_at_the_first_word_stops_the_model(
    app: Flask, client: FlaskClient, any_dify: FakeDify
) -> None:
    without_variables(any_dify)
    any_dify.play("chat/stop")
    any_dify.play("chat/streaming-stopped")
    answer = ask(client, streaming=True)
    while not (piece := next(answer.response)):
        pass
    answer.close()
    assert piece.startswith(b"data: ") and any_dify.calls[-1].endswith("/stop")


def test_a_client_that_leaves_before_reading_anything_stops_it_too(
    app: Flask, client: FlaskClient, any_dify: FakeDify
) -> None:
    without_variables(any_dify)
    any_dify.play("chat/streaming-stopped")
    any_dify.mock.assert_all_requests_are_fired = False
    ask(client, streaming=True).close()
    assert [row.meta_data["status"] for row in messages(app)] == ["stopped"]


def test_a_stop_that_dify_refuses_does_not_lose_the_part(app: Flask, client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    (task_id,) = any_dify.ids("chat/stop")
    any_dify.fail("POST", f"{CHAT}/{task_id}/stop", network.ConnectionError())
    any_dify.play("chat/streaming-stopped")
    answer = ask(client, streaming=True)
    for _ in range(3):
        next(answer.response)
    answer.close()
    assert [(row.meta_data["status"], row.response != "") for row in messages(app)] == [("stopped", True)]


def test_no_connection_is_held_while_a_stream_is_open(app: Flask, client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    any_dify.play("chat/streaming-auto-generate-name-false")
    answer = ask(client, streaming=True)
    next(answer.response)
    with app.app_context():
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert [row.meta_data["status"] for row in messages(app)] == ["pending"]
    assert answer.data.endswith(b"true}\n\n")


@pytest.mark.parametrize("case", ["chat/error-before-streaming-rate", "chat/error-before-streaming-auth"])
def test_a_model_that_fails_before_its_first_word_is_a_failed_turn(
    app: Flask, client: FlaskClient, dify: FakeDify, case: str
) -> None:
    without_variables(dify)
    dify.play(case)
    (failure,) = stream(client)
    has_status_429 = dify.version == "1.16.1" and case.endswith("rate")
    assert (failure["code"], failure["error"]) == (-1, "dify_too_busy" if has_status_429 else "model_failed")
    assert [row.meta_data["status"] for row in messages(app)] == ["failed"]


def test_a_workflow_app_streams_its_words_and_its_first_event_leaves_at_once(
    app: Flask, client: FlaskClient, dify: FakeDify
) -> None:
    without_variables(dify)
    dify.play("chat/streaming-advanced-chat")
    first, *deltas, last, _ = stream(client)
    assert first["data"]["answer"] == ""
    text = recorded_text(dify.version, "chat/streaming-advanced-chat")
    assert "".join(event["data"]["answer"] for event in deltas) == last["data"]["answer"] == text != ""
    assert [row.response for row in messages(app)] == [text]


def test_an_answer_that_dify_replaces_is_stored_as_replaced(
    app: Flask, client: FlaskClient, any_dify: FakeDify
) -> None:
    """Dify's moderation replaces answers. The old text was already streamed, but the last event has the new one."""
    ids = {"conversation_id": NOBODY, "message_id": NOBODY, "task_id": NOBODY}
    events = [
        {"event": "message", "answer": "geheim", **ids},
        {"event": "message_replace", "answer": "-", **ids},
        {"event": "message_end", **ids},
    ]
    body = b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events)
    without_variables(any_dify)
    any_dify.call_back("POST", CHAT, lambda request: (200, {}, body))
    *_, last, _ = stream(client)
    assert last["data"]["answer"] == "-"
    assert [row.response for row in messages(app)] == ["-"]


@pytest.mark.parametrize("kind", ["message", "message_replace"])
@pytest.mark.parametrize("streaming", [True, False])
def test_an_answer_beyond_all_measure_ends_and_its_model_is_stopped(
    app: Flask, client: FlaskClient, any_dify: FakeDify, monkeypatch: pytest.MonkeyPatch, kind: str, streaming: bool
) -> None:
    monkeypatch.setattr(turn_in_progress, "MAX_ANSWER_LENGTH", 10)
    ids = {"conversation_id": NOBODY, "message_id": NOBODY, "task_id": NOBODY}
    texts = [("message", "0123456789"), (kind, "0123456789x")]
    body = b"".join(b"data: %b\n\n" % orjson.dumps({"event": event, "answer": text, **ids}) for event, text in texts)
    without_variables(any_dify)
    any_dify.call_back("POST", CHAT, lambda request: (200, {}, body))
    any_dify.answer("POST", f"{CHAT}/{NOBODY}/stop", {"result": "success"})
    answer = client.post("/chat/chat", json={"user_id": "alice", "query": "?", "streaming": streaming})
    assert '"error":"dify_failed"' in answer.text and "longer than" in answer.text
    (row,) = messages(app)
    assert (row.response, row.meta_data["status"], row.claimed_until) == ("0123456789", "failed", None)
    assert any_dify.calls[-1] == f"POST {CHAT}/{NOBODY}/stop"


def test_a_bug_in_the_last_event_is_a_failure_that_the_caller_sees(
    app: Flask, client: FlaskClient, any_dify: FakeDify, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: Any) -> None:
        raise KeyError("a bug of ours")

    monkeypatch.setattr(relay, "complete_answer", break_down)
    without_variables(any_dify)
    any_dify.play("chat/streaming-first-turn")
    assert stream(client)[-1]["error"] == "internal_error"
    assert [row.meta_data["status"] for row in messages(app)] == ["done"]


def test_the_lease_is_renewed_while_the_model_talks(app: Flask, client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    any_dify.play("chat/stop")
    any_dify.play("chat/streaming-stopped")
    answer = ask(client, streaming=True)
    (begun,) = messages(app)
    for _ in range(4):
        next(answer.response)
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(update(Message).values(leased_until=utc_now()))
    app.extensions["route_api"].turn_monitor.flush()
    (renewed,) = messages(app)
    assert renewed.claimed_until > utc_now() + timedelta(seconds=10) and begun.id == renewed.id
    assert renewed.response and renewed.meta_data["status"] == "pending" and renewed.meta_data["task_id"]
    answer.close()


@pytest.mark.parametrize("broken", [b"data: {not json\n\n", b"data: []\n\n"])
def test_a_stream_of_nonsense_is_a_failed_turn(
    app: Flask, client: FlaskClient, any_dify: FakeDify, broken: bytes
) -> None:
    without_variables(any_dify)
    any_dify.call_back("POST", CHAT, lambda request: (200, {}, broken))
    (failure,) = stream(client)
    assert (failure["code"], failure["error"]) == (-1, "dify_failed")
    assert [row.meta_data["status"] for row in messages(app)] == ["failed"]


def test_a_gateway_that_stops_keeps_the_part_stops_the_model_and_tells_the_caller(
    app: Flask, client: FlaskClient, dify: FakeDify
) -> None:
    without_variables(dify)
    (task_id,) = dify.play("chat/stop")
    dify.play("chat/streaming-stopped")
    answer = ask(client, streaming=True)
    pieces = [next(answer.response) for _ in range(3)]
    app.extensions["route_api"].turn_monitor.end_turns()
    *deltas, failure = decoded(b"".join([*pieces, answer.data]))
    assert (failure["code"], failure["error"]) == (-1, "gateway_stopped")
    assert failure["data"]["message_id"] == deltas[0]["data"]["message_id"]
    assert dify.calls[-1] == f"POST {CHAT}/{task_id}/stop"
    (stored,) = messages(app)
    assert stored.response == "".join(event["data"]["answer"] for event in deltas) != ""
    assert (stored.meta_data["status"], stored.meta_data["reason"]) == ("stopped", "gateway_stopped")
    assert stored.claimed_until is None


def test_an_answer_that_is_complete_when_the_gateway_stops_is_complete(
    app: Flask, client: FlaskClient, any_dify: FakeDify
) -> None:
    ids = {"conversation_id": NOBODY, "message_id": NOBODY, "task_id": NOBODY}
    events = [{"event": "message", "answer": "全部", **ids}, {"event": "message_end", **ids}]
    body = b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events)
    without_variables(any_dify)
    any_dify.call_back("POST", CHAT, lambda request: (200, {}, body))
    answer = ask(client, streaming=True)
    next(answer.response)
    app.extensions["route_api"].turn_monitor.end_turns()
    *_, last, end = decoded(answer.data)
    assert (last["data"]["answer"], last["data"]["status"], end["data"]) == ("全部", "done", True)
    assert [row.meta_data["status"] for row in messages(app)] == ["done"]


@pytest.mark.parametrize("streaming", [True, False])
def test_a_question_that_comes_too_late_for_a_stopping_gateway_is_kept(
    app: Flask, client: FlaskClient, any_dify: FakeDify, streaming: bool
) -> None:
    app.extensions["route_api"].turn_monitor.end_turns()
    answer = ask(client, streaming=streaming)
    assert (answer.status_code, answer.json["error"]) == (503, "gateway_stopped")
    (stored,) = messages(app)
    assert (stored.meta_data["status"], stored.meta_data["reason"]) == ("failed", "gateway_stopped")
    assert stored.query and stored.claimed_until is None and any_dify.calls == []


def test_a_dify_that_falls_silent_ends_the_stream_and_the_part_is_kept(make_app: MakeApp) -> None:
    def speak_once(connection: socket.socket, request: bytes) -> None:
        if b"/v1/parameters" in request:
            connection.sendall(answer(b'{"user_input_form":[]}'))
        elif b"/stop " in request:
            connection.sendall(answer(b'{"result":"success"}'))
        else:
            event = {"event": "message", "answer": "知", "task_id": "t", "message_id": "m", "conversation_id": "c"}
            connection.sendall(CHUNKED_HEAD + chunk(b"data: %b\n\n" % orjson.dumps(event)))
            connection.recv(1)

    with loopback(speak_once) as server:
        app = make_app(DIFY_BASE_URL=server.url)
        app.extensions["route_api"].dify = dify_client(server.url, event_timeout=1)
        delta, failure = stream(app.test_client())
        assert (delta["data"]["answer"], failure["error"]) == ("知", "dify_timeout")
        assert b"POST /v1/chat-messages/t/stop " in server.requests[-1]
    (stored,) = messages(app)
    assert (stored.response, stored.meta_data["status"], stored.claimed_until) == ("知", "failed", None)


@pytest.mark.parametrize("pings", [1, 3])
def test_a_caller_who_leaves_before_dify_names_the_task_stops_the_model_then(
    app: Flask, client: FlaskClient, any_dify: FakeDify, pings: int
) -> None:
    """Dify sends pings while a model is silent, and a ping names no task."""
    ids = {"conversation_id": NOBODY, "message_id": NOBODY, "task_id": "the-task"}
    event = {"event": "message", "answer": "unread", **ids}
    without_variables(any_dify)
    any_dify.call_back(
        "POST", CHAT, lambda request: (200, {}, b"event: ping\n\n" * pings + b"data: %b\n\n" % orjson.dumps(event))
    )
    any_dify.call_back("POST", f"{CHAT}/the-task/stop", lambda request: (200, {}, b'{"result":"success"}'))
    answer = ask(client, streaming=True)
    assert next(answer.response) == b": ping\n\n"
    answer.close()
    assert any_dify.calls[-1] == f"POST {CHAT}/the-task/stop"
    (stored,) = messages(app)
    assert (stored.response, stored.meta_data["status"], stored.meta_data["reason"]) == ("", "stopped", "caller_left")


def test_a_caller_who_leaves_while_dify_is_asked_stops_the_model_at_its_first_event(make_app: MakeApp) -> None:
    """The monitor notices it before there is a stream; the first event may still be on its way then."""
    asked, goes_on = threading.Event(), threading.Event()

    def answer_late(connection: socket.socket, request: bytes) -> None:
        if b"/v1/parameters" in request:
            connection.sendall(answer(b'{"user_input_form":[]}'))
        elif b"/stop " in request:
            connection.sendall(answer(b'{"result":"success"}'))
        else:
            asked.set()
            goes_on.wait(PATIENCE_S)
            connection.sendall(CHUNKED_HEAD)
            time.sleep(0.3)
            event = {"event": "message", "answer": "x", "task_id": "t", "message_id": "m", "conversation_id": "c"}
            connection.sendall(chunk(b"data: %b\n\n" % orjson.dumps(event)))
            connection.recv(1)

    ours, callers = socket.socketpair()
    with loopback(answer_late) as server, ours, callers:
        app = make_app(DIFY_BASE_URL=server.url)
        client = app.test_client()
        body = {"user_id": "alice", "message": "?", "streaming": True}
        given = {"json": body, "environ_overrides": {"gunicorn.socket": ours}}
        asking = threading.Thread(target=lambda: client.post("/v1/conversation/completion", **given).close())
        asking.start()
        assert asked.wait(PATIENCE_S)
        callers.close()
        app.extensions["route_api"].turn_monitor.poll()
        goes_on.set()
        asking.join(PATIENCE_S)
        assert b"POST /v1/chat-messages/t/stop " in server.requests[-1]
    (stored,) = messages(app)
    assert (stored.meta_data["status"], stored.meta_data["reason"]) == ("stopped", "caller_left")


# ------------------------------------------------------------------ what Dify has not kept


def cut_off(dify: FakeDify) -> None:
    """Prepare an answer in whose middle Dify dies."""
    event = {"event": "message", "answer": "<think>嗯</think>\n\n庙在仁清巷", "message_id": NOBODY, "task_id": NOBODY}
    begun = b"data: %b\n\n" % orjson.dumps({**event, "conversation_id": NOBODY})
    dify.call_back("POST", CHAT, lambda request: (200, {}, begun))


def stopped_in_vain(dify: FakeDify) -> None:
    """Prepare an answer whose caller leaves, and a Dify that cannot be told to stop."""
    (task_id,) = dify.ids("chat/stop")
    dify.play("chat/streaming-stopped")
    dify.fail("POST", f"{CHAT}/{task_id}/stop", network.ConnectionError())


def model_fails(dify: FakeDify) -> None:
    dify.play("chat/error-mid-stream")


@pytest.mark.parametrize("prepare", [cut_off, stopped_in_vain, model_fails])
@pytest.mark.parametrize("form", ["chat/parameters-without-variables", "chat/parameters-with-variables"])
def test_the_model_is_reminded_of_a_part_that_dify_has_not_kept(
    client: FlaskClient, dify: FakeDify, prepare: Callable[[FakeDify], None], form: str
) -> None:
    """Dify stores an empty answer there. So a new conversation on Dify begins, with our history."""
    dify.play(form)
    if form == "chat/parameters-without-variables":
        asks_for_the_mode(dify)
    dify.play("chat/streaming-first-turn")
    prepare(dify)
    for _ in range(2):
        dify.play("chat/streaming-second-turn")
    conversation_id = ask(client, "问题一").json["data"]["conversation_id"]
    answer = ask(client, "问题二", streaming=True, conversation_id=conversation_id)
    seen = ""
    while not seen:
        seen = "".join(event["data"]["answer"] for event in decoded(next(answer.response)))
    rest = b"" if prepare is stopped_in_vain else answer.data
    answer.close()
    part = seen + "".join(event["data"].get("answer", "") for event in decoded(rest))
    ask(client, "问题三", conversation_id=conversation_id)
    third = dify.sent()
    ask(client, "问题四", conversation_id=conversation_id)
    reminder = third["inputs"].get("history") or third["query"]
    assert "conversation_id" not in third and "问题一" in reminder and "问题二" in reminder
    content = re.sub("(?s)<think>.*?(</think>|$)", "", part).strip()
    assert content in reminder and "<think>" not in reminder
    assert prepare is not cut_off or "助手：庙在仁清巷" in reminder
    fourth = dify.sent()
    begun = recorded_events(dify.version, "chat/streaming-second-turn")[-1]["conversation_id"]
    assert fourth["conversation_id"] == begun, "Dify remembers the third question"
    assert ("问题二" in fourth["inputs"].get("history", "")) is (form == "chat/parameters-with-variables")


def test_the_model_is_reminded_of_a_part_after_a_caller_has_left(client: FlaskClient, dify: FakeDify) -> None:
    """A live Dify stored an empty answer in most of these cases, although it was told to stop."""
    without_variables(dify)
    asks_for_the_mode(dify)
    dify.play("chat/streaming-stopped")
    dify.play("chat/stop")
    dify.play("chat/streaming-second-turn")
    answer = ask(client, "问题一", streaming=True)
    ids = [decoded(next(answer.response)) for _ in range(3)][-1][0]["data"]
    answer.close()
    ask(client, conversation_id=ids["conversation_id"])
    assert "conversation_id" not in dify.sent() and "问题一" in dify.sent()["query"]


def test_a_stopped_answer_that_dify_has_completed_is_continued_there(client: FlaskClient, dify: FakeDify) -> None:
    without_variables(dify)
    dify.play("chat/streaming-stopped")
    dify.play("chat/streaming-second-turn")
    conversation_id = stream(client)[-2]["data"]["conversation_id"]
    ask(client, conversation_id=conversation_id)
    begun = recorded_events(dify.version, "chat/streaming-stopped")[0]["conversation_id"]
    assert dify.sent()["conversation_id"] == begun
