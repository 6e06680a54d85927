"""Turns whose answer from Dify cannot be used: the caller gets 502, the question is kept, the conversation goes on."""

import errno
from typing import Any

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient

from route_api.chat import turn_in_progress
from route_api.chat.storing import turn_monitor

from ..support.fake_dify import FakeDify
from ..support.talk import CHAT, ask, asks_for_the_mode, messages, recorded_text, stream, without_variables

GOOD = {
    "answer": "好",
    "message_id": "11111111-1111-4111-8111-111111111111",
    "conversation_id": "22222222-2222-4222-8222-222222222222",
    "metadata": {"usage": {"total_tokens": 3}},
}
WRONG: dict[str, Any] = {
    "a list for an object": [GOOD],
    "null": None,
    "answer null": {**GOOD, "answer": None},
    "answer a number": {**GOOD, "answer": 1},
    "no answer": {"message_id": GOOD["message_id"]},
    "a long message id": {**GOOD, "message_id": "x" * 37},
    "a long conversation id": {**GOOD, "conversation_id": "x" * 200},
    "a task id that is a number": {**GOOD, "task_id": 12},
    "metadata a list": {**GOOD, "metadata": []},
}


def assert_the_conversation_goes_on(app: Flask, client: FlaskClient, dify: FakeDify, case: str = "dify_failed") -> None:
    """The question is stored with an end and without a lease, and the next turn works."""
    stored = messages(app)[-1]
    assert (stored.query, stored.meta_data["status"], stored.meta_data["reason"]) == ("葫芦庙在哪里？", "failed", case)
    assert stored.claimed_until is None
    if stored.response:  # The model is reminded of this part.
        asks_for_the_mode(dify)
    dify.play("chat/streaming-auto-generate-name-false")
    events = stream(client, "再问", conversation_id=stored.conversation_id)
    assert events[-2]["data"]["status"] == "done"


def test_an_answer_with_a_field_of_another_type_is_502(
    app: Flask, client: FlaskClient, any_dify: FakeDify, log: pytest.LogCaptureFixture
) -> None:
    without_variables(any_dify)
    for name, body in WRONG.items():
        if isinstance(body, dict):
            body = {"event": "message_end" if name == "metadata a list" else "message", **body}
        event = b"data: %b\n\n" % orjson.dumps(body)
        any_dify.call_back("POST", CHAT, lambda _, event=event: (200, {}, event))
        answer = ask(client)
        assert (answer.status_code, answer.json["error"]) == (502, "dify_failed"), answer.text
        assert not isinstance(body, dict) or "cannot be used" in log.text
        log.clear()
    assert_the_conversation_goes_on(app, client, any_dify)


def test_an_empty_200_is_502(app: Flask, client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    any_dify.call_back("POST", CHAT, lambda _: (200, {}, b""))
    assert ask(client).status_code == 502
    assert_the_conversation_goes_on(app, client, any_dify, "dify_unreachable")


@pytest.mark.parametrize(
    "event",
    [
        {"event": "message", "answer": None},
        {"event": "message", "answer": ["x"]},
        {"event": "message", "answer": "x", "message_id": "y" * 37},
        {"event": "message_replace"},
        {"event": "message_end", "message_id": GOOD["message_id"], "metadata": []},
        {"event": "workflow_started", "message_id": 7},
    ],
    ids=str,
)
def test_an_event_with_a_field_of_another_type_ends_the_stream_with_502s_error(
    app: Flask, client: FlaskClient, any_dify: FakeDify, event: dict[str, Any]
) -> None:
    without_variables(any_dify)
    first = {"event": "message", "answer": "前", **{name: GOOD[name] for name in ("message_id", "conversation_id")}}
    body = b"".join(b"data: %b\n\n" % orjson.dumps(each) for each in (first, event))
    any_dify.call_back("POST", CHAT, lambda _: (200, {"Content-Type": "text/event-stream"}, body))
    last = stream(client)[-1]
    assert (last["code"], last["error"]) == (-1, "dify_failed")
    assert messages(app)[-1].response == "前"
    assert_the_conversation_goes_on(app, client, any_dify)


def test_a_passage_without_a_segment_is_502(app: Flask, client: FlaskClient, dify: FakeDify) -> None:
    without_variables(dify)
    (kb_id,) = dify.ids("retrieve/semantic")
    dify.answer("POST", f"/v1/datasets/{kb_id}/retrieve", {"records": [{"score": 0.5}]})
    answer = ask(client, path="completion_db", kb_id=kb_id)
    assert (answer.status_code, answer.json["error"]) == (502, "dify_failed")
    assert_the_conversation_goes_on(app, client, dify)


@pytest.mark.parametrize("character", ["\\u0000", "\\ud800", "\\udfff"])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_character_that_no_database_can_hold_is_replaced_in_answers(
    app: Flask, client: FlaskClient, any_dify: FakeDify, character: str, streaming: bool
) -> None:
    without_variables(any_dify)
    ids = f'"message_id": "{GOOD["message_id"]}", "task_id": "t"'
    body = f'data: {{"event": "message", "answer": "前{character}后", {ids}}}\n\n'
    body += f'data: {{"event": "message_end", {ids}}}\n\n'
    any_dify.call_back("POST", CHAT, lambda _: (200, {"Content-Type": "text/event-stream"}, body.encode()))
    data = stream(client)[-2]["data"] if streaming else ask(client).json["data"]
    assert (data["answer"], data["status"], messages(app)[-1].response) == ("前\ufffd后", "done", "前\ufffd后")


class Unexpected(BaseException):
    """No Exception: as GreenletExit, which ends a greenlet."""


@pytest.mark.parametrize("error", [KeyError("x"), TypeError("x"), Unexpected("x")], ids=repr)
@pytest.mark.parametrize("place", ["storing.reference", "relay.status_and_reason", "turn.prepare_turn"])
@pytest.mark.parametrize("streaming", [False, True])
def test_every_error_in_a_turn_ends_it(
    app: Flask,
    client: FlaskClient,
    dify: FakeDify,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    place: str,
    streaming: bool,
) -> None:
    """Before the question is sent, while the answer comes, and when the end of the turn is put together."""
    without_variables(dify)
    case = "chat/streaming-auto-generate-name-false"
    dify.mock.assert_all_requests_are_fired = False
    (kb_id,) = dify.play("retrieve/semantic")
    dify.play(case)
    with monkeypatch.context() as broken:
        broken.setattr(f"route_api.chat.{place}", lambda *_, **__: (_ for _ in ()).throw(error))
        try:
            answer = ask(client, path="completion_db", kb_id=kb_id, streaming=streaming)
            assert answer.status_code == 500 or answer.data
        except (KeyError, TypeError, Unexpected):
            pass  # In production the server closes the connection.
    (stored,) = messages(app)
    assert stored.meta_data["status"] == "failed" and stored.claimed_until is None
    with app.app_context():
        assert not turn_monitor._turns
    if place == "relay.status_and_reason":
        assert stored.response == recorded_text(dify.version, case)


def test_a_turn_that_finds_no_file_descriptor_ends(
    app: Flask, client: FlaskClient, any_dify: FakeDify, monkeypatch: pytest.MonkeyPatch
) -> None:
    def duplicate(_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    without_variables(any_dify)
    with monkeypatch.context() as broken:
        broken.setattr(turn_in_progress, "duplicate", duplicate)
        environ = {"gunicorn.socket": object()}
        body = {"user_id": "alice", "message": "葫芦庙在哪里？", "streaming": True}
        assert client.post("/chat/chat", json=body, environ_base=environ).status_code == 500
    assert_the_conversation_goes_on(app, client, any_dify, "internal_error")
