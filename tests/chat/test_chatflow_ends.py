"""How a chatflow of Dify 1.16.1 ends without `message_end` (tests/contract/DIFFERENCES-1.16.md, A 1 to 3, 6 and 10)."""

import io
from typing import Any

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient

from route_api.chat.monitor import turn_monitor
from route_api.storage.models import dashed

from ..support.fake_dify import FakeDify, recorded
from ..support.talk import CHAT, ask, asks_for_the_mode, decoded, messages, recorded_events, stream, without_variables


@pytest.fixture
def chatflow(any_dify: FakeDify) -> FakeDify:
    any_dify.version = "1.16.1"
    without_variables(any_dify)
    return any_dify


HUMAN_INPUT = "chat/advanced-chat-human-input-streaming"
FAILURES = [
    ("error-streaming", "injected failure: rate", ""),
    ("error-mid-stream", "injected mid-stream failure: unavail", "<think>"),
    ("query-empty-streaming", "query", ""),
    ("required-missing-streaming", "city is required in input form", ""),
]


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(("case", "reason", "part"), FAILURES)
def test_a_chatflow_that_gives_no_answer_says_why_and_its_part_is_kept(
    app: Flask, client: FlaskClient, chatflow: FakeDify, case: str, reason: str, part: str, streaming: bool
) -> None:
    chatflow.play(f"chat/advanced-chat-{case}")
    failure = stream(client)[-1] if streaming else ask(client).json
    assert (failure["code"], failure["error"]) == (-1, "model_failed")
    assert reason in failure["message"]
    (stored,) = messages(app)
    assert (stored.meta_data["status"], stored.meta_data["reason"]) == ("failed", "model_failed")
    assert stored.response.startswith(part) and bool(stored.response) == bool(part)
    assert stored.claimed_until is None


@pytest.mark.parametrize("think", ["keep", "separate"])
@pytest.mark.parametrize("stream_mode", ["delta", "cumulative"])
@pytest.mark.parametrize(
    "case",
    [
        *(f"advanced-chat-{case}" for case, _, _ in FAILURES),
        "advanced-chat-conversation-unknown-streaming",
        "advanced-chat-too-many-requests",
        *(f"error-before-streaming-{kind}" for kind in ("auth", "bad", "conn", "rate", "unavail")),
        "agent-chat-model-fails-streaming",
    ],
)
def test_a_refusal_is_plain_json_or_a_well_formed_last_event(
    app: Flask, client: FlaskClient, chatflow: FakeDify, case: str, stream_mode: str, think: str
) -> None:
    chatflow.play(f"chat/{case}")
    answer = ask(client, streaming=True, stream_mode=stream_mode, think=think)
    if answer.mimetype == "application/json":
        assert case.endswith(("unknown-streaming", "too-many-requests")) and answer.status_code >= 400
        failure = answer.json
    else:
        *deltas, failure = decoded(answer.data)
        (stored,) = messages(app)
        assert answer.status_code == 200 and all(delta["code"] == 0 for delta in deltas)
        assert failure["data"] == {
            "conversation_id": dashed(stored.conversation_id),
            "is_new_conversation": True,
            "message_id": dashed(stored.id),
        }
    assert failure["code"] == -1 and failure["error"]
    assert failure["message"] not in ("", "The model could not answer: ")


FORM = {
    "actions": [{"id": "ok", "title": "同意"}, {"id": "no", "title": "拒绝"}],
    "inputs": [{"default": "", "name": "remark", "options": [], "type": "paragraph"}],
    "title": "hi1",
}


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(("case", "text"), [("human-input", ""), ("human-input-after-text", "先说一句。")])
def test_a_chatflow_that_waits_for_a_person_is_paused_and_shows_the_form(
    app: Flask, client: FlaskClient, chatflow: FakeDify, case: str, text: str, streaming: bool
) -> None:
    case = f"chat/advanced-chat-{case}-streaming"
    chatflow.play(case)
    answer = stream(client)[-2] if streaming else ask(client).json
    assert (answer["code"], answer["data"]["status"], answer["data"]["answer"]) == (0, "paused", text)
    (paused,) = [event for event in recorded_events("1.16.1", case) if event["event"] == "workflow_paused"]
    (reason,) = paused["data"]["reasons"]
    (form,) = answer["data"]["forms"]
    assert form == {
        **FORM,
        "content": reason["form_content"],
        "expires_at": reason["expiration_time"],
        "form_id": reason["form_id"],
    }
    assert "{{#$output.remark#}}" in form["content"]
    (stored,) = messages(app)
    assert (stored.response, stored.meta_data["status"], stored.claimed_until) == (text, "paused", None)
    ids = {"user_id": "alice", "message_id": answer["data"]["message_id"]}
    row = client.post("/message/get", json=ids).json["data"]
    assert (row["status"], row["reason"], row["meta_data"]["forms"]) == ("paused", None, [form])
    listed = client.post("/conversation/list", json=ids).json["data"]["conversations"]
    assert listed[0]["last_message"]["status"] == "paused"


def test_a_paused_conversation_takes_the_next_question_and_goes_on_in_dify(
    client: FlaskClient, chatflow: FakeDify
) -> None:
    case = "chat/advanced-chat-human-input-after-text-streaming"
    chatflow.play(case)
    conversation_id = ask(client).json["data"]["conversation_id"]
    chatflow.play("chat/advanced-chat-no-model-streaming")
    answer = ask(client, conversation_id=conversation_id).json["data"]
    assert (answer["status"], answer["conversation_id"]) == ("done", conversation_id)
    assert chatflow.sent()["conversation_id"] == recorded_events("1.16.1", case)[0]["conversation_id"]


def test_a_repeated_question_that_was_paused_is_not_asked_again(client: FlaskClient, chatflow: FakeDify) -> None:
    chatflow.play("chat/advanced-chat-human-input-streaming")
    answers = [
        client.post("/chat/chat", json={"user_id": "alice", "query": "?"}, headers={"Idempotency-Key": "once"})
        for _ in range(2)
    ]
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    assert answers[0].json["data"] == answers[1].json["data"]


def test_a_pause_that_is_followed_by_the_end_of_the_message_is_a_pause(
    app: Flask, client: FlaskClient, chatflow: FakeDify
) -> None:
    """Not recorded: Dify 1.16.1 ends its stream at the pause."""
    _, headers, body = recorded("1.16.1", "chat/advanced-chat-human-input-streaming")
    _, _, other = recorded("1.16.1", "chat/advanced-chat-no-model-streaming")
    end = next(block for block in other.split(b"\n\n") if b'"message_end"' in block)
    chatflow.call_back("POST", CHAT, lambda _: (200, headers, body.rstrip() + b"\n\n" + end + b"\n\n"))
    assert stream(client)[-2]["data"]["status"] == "paused"
    assert messages(app)[0].meta_data["status"] == "paused"


@pytest.mark.parametrize("streaming", [True, False])
def test_a_chatflow_that_is_stopped_in_dify_is_a_stopped_turn(
    app: Flask, client: FlaskClient, chatflow: FakeDify, streaming: bool
) -> None:
    chatflow.play("chat/advanced-chat-stopped-streaming")
    answer = stream(client)[-2] if streaming else ask(client).json
    assert (answer["code"], answer["data"]["status"]) == (0, "stopped")
    (stored,) = messages(app)
    assert (stored.meta_data["status"], stored.meta_data["reason"]) == ("stopped", "stop_requested")
    assert stored.response == answer["data"]["answer"] != ""


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("case", ["advanced-chat-no-model-streaming", "agent-streaming", "streaming-advanced-chat"])
def test_a_whole_answer_is_done_whether_a_model_wrote_it_or_not(
    app: Flask, client: FlaskClient, chatflow: FakeDify, case: str, streaming: bool
) -> None:
    chatflow.play(f"chat/{case}")
    answer = stream(client)[-2] if streaming else ask(client).json
    assert (answer["code"], answer["data"]["status"]) == (0, "done")
    assert messages(app)[0].response == answer["data"]["answer"] != ""


@pytest.mark.parametrize("streaming", [True, False])
def test_an_app_at_its_limit_of_questions_is_a_429_that_does_not_name_the_app(
    client: FlaskClient, chatflow: FakeDify, streaming: bool
) -> None:
    chatflow.play("chat/advanced-chat-too-many-requests")
    answer = ask(client, streaming=streaming)
    assert (answer.status_code, answer.json["error"]) == (429, "dify_too_busy")
    assert "its limit" in answer.json["message"] and "750afc07" not in answer.text


@pytest.mark.parametrize("streaming", [True, False])
def test_an_agent_whose_model_gets_too_many_requests_says_so(
    app: Flask, client: FlaskClient, chatflow: FakeDify, streaming: bool
) -> None:
    chatflow.play("chat/agent-chat-model-fails-streaming")
    failure = stream(client)[-1] if streaming else ask(client).json
    assert (failure["code"], failure["error"]) == (-1, "dify_too_busy")
    assert "injected failure: rate" in failure["message"]
    assert messages(app)[0].meta_data["reason"] == "dify_too_busy"


@pytest.mark.parametrize("reasons", [None, "x", [5], [{"TYPE": "scheduled"}], [{"form_id": 7, "inputs": "x"}]])
def test_a_pause_without_a_form_that_can_be_read_is_a_pause_without_forms(
    client: FlaskClient, chatflow: FakeDify, reasons: object
) -> None:
    """Not recorded: Dify may pause for other reasons one day."""
    (paused,) = [event for event in recorded_events("1.16.1", HUMAN_INPUT) if event["event"] == "workflow_paused"]
    body = b"data: %b\n\n" % orjson.dumps({**paused, "data": {"reasons": reasons}})
    chatflow.call_back("POST", CHAT, lambda _: (200, {}, body))
    data = ask(client).json["data"]
    assert (data["status"], data["forms"]) == ("paused", [])
    refused = client.post("/conversation/submit_form", json={**data, "user_id": "alice", "action": "ok"})
    assert (refused.status_code, refused.json["error"]) == (409, "form_closed")


class Silence(io.RawIOBase):
    """A stream that has one ping, and then nothing until the time is over."""

    def __init__(self) -> None:
        self._pieces = [b"event: ping\n\n"]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._pieces:
            raise TimeoutError
        piece = self._pieces.pop()
        buffer[: len(piece)] = piece
        return len(piece)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("is_lost", [True, False])
def test_a_conversation_that_dify_1_14_has_lost_in_silence_begins_anew_with_the_next_turn(
    client: FlaskClient, chatflow: FakeDify, is_lost: bool, streaming: bool
) -> None:
    """Seen on a live 1.14.2: its worker refuses the question in its log alone. The stream has one ping, and then
    nothing, as it has if the worker is away. Only `/v1/messages` tells one from the other."""
    _, headers, complete = recorded("1.16.1", "chat/advanced-chat-no-model-streaming")
    bodies: list[Any] = [complete, io.BufferedReader(Silence()), complete]
    chatflow.call_back("POST", CHAT, lambda _: (200, headers, bodies.pop(0)))
    conversation_id = ask(client).json["data"]["conversation_id"]
    lost = {"code": "not_found", "message": "Conversation Not Exists.", "status": 404}
    chatflow.answer("GET", "/v1/messages", lost if is_lost else {"data": []}, 404 if is_lost else 200)
    if is_lost:
        asks_for_the_mode(chatflow)  # The new conversation on Dify must be told of the earlier turn.
    silent = ask(client, conversation_id=conversation_id, streaming=streaming)
    failure = decoded(silent.data)[-1] if streaming else silent.json
    assert failure["error"] == "dify_timeout" and "or has refused the question" in failure["message"]
    on_dify = recorded_events("1.16.1", "chat/advanced-chat-no-model-streaming")[0]["conversation_id"]
    assert chatflow.sent(-2)["conversation_id"] == on_dify
    query = f"conversation_id={on_dify}&user=alice&limit=1"
    assert chatflow.calls[-1] == f"GET /v1/messages?{query}"
    assert ask(client, conversation_id=conversation_id).json["data"]["status"] == "done"
    assert chatflow.sent().get("conversation_id") == (None if is_lost else on_dify)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(("mode", "waits"), [("advanced-chat", False), ("chat", True)])
def test_a_stop_does_not_wait_for_a_worker_of_dify_that_has_not_begun(
    client: FlaskClient, dify: FakeDify, mode: str, waits: bool, streaming: bool
) -> None:
    """Seen on a live 1.14.2 whose worker stood still: a caller who had stopped the chatflow waited for the end of the
    stream until DIFY_EVENT_TIMEOUT. Only in a chat app a model may run before Dify has named its task."""
    parameters = dify.body("chat/parameters-without-variables")
    dify.version = "1.14.2"
    dify.answer("GET", "/v1/parameters", parameters)
    dify.answer("GET", "/v1/info", {"name": "flow", "mode": mode})
    seen = []

    def stop(_: Any) -> Any:
        (turn,) = turn_monitor._turns.values()
        turn.interrupt("stop_requested")
        seen.append(turn.waits_for_task)
        return 200, {"Content-Type": "text/event-stream"}, b"event: ping\n\n"

    dify.call_back("POST", CHAT, stop)
    answer = ask(client, streaming=streaming)
    data = (decoded(answer.data)[-2] if streaming else answer.json)["data"]
    assert (data["status"], seen) == ("stopped", [waits])
