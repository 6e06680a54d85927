"""Going on with a paused turn. These answers of Dify have the form of those of a live 1.14.2, whose events are the same
as those that 1.16.1 was recorded with."""

from typing import Any
from uuid import UUID

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient

from route_api.chat.monitor import turn_monitor
from route_api.extensions import db
from route_api.monitoring import tracing
from route_api.storage.stop_requests import request_stop

from ..support.fake_dify import DIFY, FakeDify
from ..support.talk import CHAT, NOBODY, ask, decoded, messages, named, recorded_events, without_variables

TOKEN = "form-token-1"
CASE = "chat/advanced-chat-human-input-after-text-streaming"
(PAUSE,) = [event for event in recorded_events("1.16.1", CASE) if event["event"] == "workflow_paused"]
IDS = {name: PAUSE[name] for name in ("conversation_id", "message_id", "task_id", "workflow_run_id")}
EVENTS = f"/v1/workflow/{PAUSE['workflow_run_id']}/events"
FORM = f"/v1/form/human_input/{TOKEN}"
REST = [
    {"event": "workflow_started", "data": {"reason": "resumption"}},
    {"event": "node_started", "data": {"node_id": "hi1"}},
    {"event": "human_input_form_filled", "data": {"node_id": "hi1", "action_id": "ok", "action_text": "同意"}},
    {"event": "message", "answer": "好的，"},
    {"event": "message", "answer": "继续。"},
    {"event": "message_end", "metadata": {"usage": {"total_tokens": 7}}},
    {"event": "workflow_finished", "data": {"status": "succeeded", "outputs": {"answer": "好的，继续。"}}},
]


@pytest.fixture
def chatflow(any_dify: FakeDify) -> FakeDify:
    any_dify.version = "1.16.1"
    without_variables(any_dify)
    return any_dify


def body_of(*events: dict[str, Any]) -> bytes:
    return b"event: ping\n\n" + b"".join(b"data: %b\n\n" % orjson.dumps({**IDS, **event}) for event in events)


def pause(client: FlaskClient, chatflow: FakeDify, **reason: Any) -> dict[str, Any]:
    """Ask a question whose answer waits for a form. The recordings have no tokens of forms, so this sets one."""
    given = {**PAUSE["data"]["reasons"][0], "form_token": TOKEN, **reason}
    paused = {**PAUSE, "data": {**PAUSE["data"], "reasons": [given]}}
    chatflow.call_back("POST", CHAT, lambda _: (200, {}, body_of({"event": "message", "answer": "先说一句。"}, paused)))
    answer: dict[str, Any] = ask(client).json["data"]
    assert answer["status"] == "paused" and TOKEN not in str(answer)
    return answer


def submit(client: FlaskClient, message_id: str, **more: Any) -> Any:
    body = {"user_id": "alice", "message_id": message_id, "action": "ok", **more}
    return client.post("/v1/conversation/submit_form", json=body)


def go_on(chatflow: FakeDify, *events: dict[str, Any]) -> None:
    chatflow.call_back("GET", EVENTS, lambda _: (200, {}, body_of(*(events or REST))))
    chatflow.answer("POST", FORM, {})


@pytest.mark.parametrize("stream_mode", ["delta", "cumulative", "events", None])
def test_a_form_that_is_filled_in_gives_the_rest_of_the_answer_in_the_same_message(
    app: Flask, client: FlaskClient, chatflow: FakeDify, stream_mode: str | None
) -> None:
    paused = pause(client, chatflow)
    go_on(chatflow)
    form = {"form_id": paused["forms"][0]["form_id"], "inputs": {"remark": "没问题"}}
    answer = submit(client, paused["message_id"], **form, streaming=bool(stream_mode), stream_mode=stream_mode)
    whole = "先说一句。好的，继续。"
    if stream_mode == "events":
        (first, sources), *events, (_, last) = named(answer.data)
        assert (first, sources["message_id"]) == ("sources", paused["message_id"])
        assert "".join(event["answer"] for _, event in events) == whole
        data = last["data"]
    elif stream_mode:
        *deltas, last, _ = decoded(answer.data)
        texts = [delta["data"]["answer"] for delta in deltas]
        assert (texts[-1] if stream_mode == "cumulative" else "".join(texts)) == whole
        data = last["data"]
    else:
        data = answer.json["data"]
    assert (data["status"], data["answer"], data["forms"]) == ("done", whole, [])
    assert (data["message_id"], data["conversation_id"]) == (paused["message_id"], paused["conversation_id"])
    assert chatflow.calls[-2:] == [f"GET {EVENTS}?user=alice", f"POST {FORM}"]
    assert chatflow.sent() == {"action": "ok", "inputs": {"remark": "没问题"}, "user": "alice"}
    (stored,) = messages(app)
    assert (stored.response, stored.claimed_until, stored.query) == (whole, None, "葫芦庙在哪里？")
    assert stored.meta_data["status"] == "done" and stored.meta_data["usage"]
    assert not stored.meta_data.keys() & {"forms", "pause"}
    # The next question continues the same conversation on Dify.
    chatflow.play("chat/advanced-chat-no-model-streaming")
    ask(client, conversation_id=data["conversation_id"])
    assert chatflow.sent()["conversation_id"] == IDS["conversation_id"]


def test_a_field_that_is_left_out_has_its_default(client: FlaskClient, chatflow: FakeDify) -> None:
    paused = pause(client, chatflow, resolved_default_values={"remark": "照旧"})
    assert paused["forms"][0]["inputs"][0]["default"] == "照旧"
    go_on(chatflow)
    submit(client, paused["message_id"])
    assert chatflow.sent()["inputs"] == {"remark": "照旧"}


def test_an_answer_may_wait_for_a_second_form(app: Flask, client: FlaskClient, chatflow: FakeDify) -> None:
    paused = pause(client, chatflow)
    second = {**PAUSE["data"]["reasons"][0], "form_id": "second", "form_token": "form-token-2"}
    go_on(
        chatflow,
        {"event": "message", "answer": "还有一事。"},
        {"event": "workflow_paused", "data": {"reasons": [second]}},
    )
    data = submit(client, paused["message_id"]).json["data"]
    assert (data["status"], data["answer"]) == ("paused", "先说一句。还有一事。")
    assert [form["form_id"] for form in data["forms"]] == ["second"]
    (stored,) = messages(app)
    assert stored.meta_data["pause"]["tokens"] == {"second": "form-token-2"}


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"action": "maybe"}, "action 'maybe' is none of: ok, no"),
        ({"inputs": {"comment": "?"}}, "inputs.comment is no field of the form; it has: remark"),
        ({"inputs": {"remark": 5}}, "inputs.remark must be a text"),
        ({"inputs": [1]}, "inputs"),
        ({"action": None}, "action"),
    ],
)
def test_what_the_form_does_not_have_is_refused_before_dify_is_asked(
    app: Flask, client: FlaskClient, chatflow: FakeDify, given: dict[str, Any], names: str
) -> None:
    paused = pause(client, chatflow)
    before, calls = messages(app), chatflow.calls
    answer = submit(client, paused["message_id"], **given)
    assert (answer.status_code, answer.json["error"]) == (400, "validation_failed")
    assert names in answer.json["message"]
    assert (messages(app), chatflow.calls) == (before, calls)


def test_a_choice_must_be_one_of_its_options(client: FlaskClient, chatflow: FakeDify) -> None:
    field = {"type": "select", "output_variable_name": "how", "option_source": {"type": "constant", "value": ["快"]}}
    paused = pause(client, chatflow, inputs=[field])
    assert paused["forms"][0]["inputs"] == [{"default": "", "name": "how", "options": ["快"], "type": "select"}]
    for inputs in ({}, {"how": "慢"}):
        answer = submit(client, paused["message_id"], inputs=inputs)
        assert answer.status_code == 400 and "is none of: 快" in answer.json["message"]
    go_on(chatflow)
    assert submit(client, paused["message_id"], inputs={"how": "快"}).json["data"]["status"] == "done"


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ({"form_token": None}, "console or through an e-mail"),
        ({"inputs": [{"type": "file", "output_variable_name": "paper"}]}, "'paper' of the form wants a file"),
    ],
)
def test_a_form_that_cannot_be_sent_to_dify_is_refused_in_words(
    app: Flask, client: FlaskClient, chatflow: FakeDify, reason: dict[str, Any], words: str
) -> None:
    paused = pause(client, chatflow, **reason)
    answer = submit(client, paused["message_id"])
    assert (answer.status_code, answer.json["error"]) == (400, "not_supported")
    assert words in answer.json["message"]
    assert messages(app)[0].meta_data["status"] == "paused"


REFUSALS = [
    (412, "human_input_form_expired", 409, "form_closed", "not filled in in time"),
    (412, "human_input_form_submitted", 409, "form_closed", "filled in before"),
    (400, "invalid_form_data", 400, "dify_rejected", "Missing required inputs"),
    (500, "internal_server_error", 502, "dify_failed", "500"),
]


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(("dify_status", "dify_code", "status", "error", "words"), REFUSALS)
def test_a_form_that_dify_does_not_take_leaves_the_answer_paused(
    app: Flask,
    client: FlaskClient,
    chatflow: FakeDify,
    dify_status: int,
    dify_code: str,
    status: int,
    error: str,
    words: str,
    streaming: bool,
) -> None:
    paused = pause(client, chatflow)
    before = messages(app)
    chatflow.call_back("GET", EVENTS, lambda _: (200, {}, body_of()))
    refusal = {"status": dify_status, "code": dify_code, "message": "Missing required inputs: remark"}
    chatflow.answer("POST", FORM, refusal, dify_status)
    answer = submit(client, paused["message_id"], streaming=streaming)
    assert (answer.status_code, answer.json["error"]) == (status, error)
    assert words in answer.json["message"]
    assert messages(app) == before
    go_on(chatflow)
    assert submit(client, paused["message_id"]).json["data"]["status"] == "done"


def test_only_the_user_of_a_paused_answer_can_fill_in_its_form_and_only_once(
    client: FlaskClient, chatflow: FakeDify
) -> None:
    paused = pause(client, chatflow)
    stranger = client.post("/conversation/submit_form", json={**paused, "user_id": "bob", "action": "ok"})
    assert (stranger.status_code, stranger.json["error"]) == (404, "message_not_found")
    other = submit(client, paused["message_id"], form_id=IDS["task_id"])
    assert (other.status_code, other.json["error"]) == (409, "form_closed")
    go_on(chatflow)
    assert submit(client, paused["message_id"]).status_code == 200
    again = submit(client, paused["message_id"])
    assert (again.status_code, again.json["error"]) == (409, "form_closed")


def test_a_form_is_not_submitted_while_its_conversation_is_busy(client: FlaskClient, chatflow: FakeDify) -> None:
    paused = pause(client, chatflow)
    codes = []

    def submit_meanwhile(_: Any) -> Any:
        codes.append(submit(client, paused["message_id"]).json["error"])
        return 200, {}, body_of(*REST)

    chatflow.call_back("POST", CHAT, submit_meanwhile)
    ask(client, conversation_id=paused["conversation_id"])
    chatflow.call_back("GET", EVENTS, submit_meanwhile)
    chatflow.answer("POST", FORM, {})
    submit(client, paused["message_id"])
    assert codes == ["conversation_busy", "form_closed"]


def test_references_of_the_part_before_the_pause_stay(app: Flask, client: FlaskClient, chatflow: FakeDify) -> None:
    (kb_id,) = chatflow.play("retrieve/semantic")
    chatflow.call_back("POST", CHAT, lambda _: (200, {}, body_of({**PAUSE, "data": with_token()})))
    paused = ask(client, path="completion_db", kb_id=kb_id).json
    go_on(chatflow)
    answer = submit(client, paused["data"]["message_id"]).json
    assert answer["rag_info"]["references"] == paused["rag_info"]["references"] != []
    assert messages(app)[0].meta_data["references"] == paused["rag_info"]["references"]


def with_token() -> dict[str, Any]:
    return {**PAUSE["data"], "reasons": [{**PAUSE["data"]["reasons"][0], "form_token": TOKEN}]}


@pytest.mark.parametrize("streaming", [True, False])
def test_a_stop_while_dify_pauses_ends_the_turn_because_its_form_leads_nowhere(
    app: Flask, client: FlaskClient, chatflow: FakeDify, streaming: bool
) -> None:
    """Dify 1.14.2 keeps the stop for ten minutes, and ends the chatflow when the form is filled in. Its stream stays
    open for a second after the pause (both seen there)."""

    def pause_and_stop(_: Any) -> Any:
        (running,) = messages(app)
        assert client.post("/conversation/stop", json={"user_id": "alice", "message_id": running.id}).json["data"]
        return 200, {}, body_of({"event": "message", "answer": "先说一句。"}, {**PAUSE, "data": with_token()})

    chatflow.call_back("POST", CHAT, pause_and_stop)
    chatflow.answer("POST", f"{CHAT}/{IDS['task_id']}/stop", {"result": "success"})
    answer = ask(client, streaming=streaming)
    data = (decoded(answer.data)[-2] if streaming else answer.json)["data"]
    assert (data["status"], data["answer"], data["forms"]) == ("stopped", "先说一句。", [])
    (stored,) = messages(app)
    assert (stored.meta_data["status"], stored.meta_data["reason"]) == ("stopped", "stop_requested")
    assert not stored.meta_data.keys() & {"forms", "pause"}
    assert submit(client, data["message_id"]).json["error"] == "form_closed"


def test_a_stop_that_came_too_late_for_the_pause_does_not_stop_the_rest(
    app: Flask, client: FlaskClient, chatflow: FakeDify
) -> None:
    paused = pause(client, chatflow)
    with app.app_context():
        request_stop(db.engine, UUID(paused["message_id"]).hex)

    def watch(_: Any) -> Any:
        with app.app_context():
            turn_monitor.flush()
        return 200, {}, body_of(*REST)

    chatflow.call_back("GET", EVENTS, watch)
    chatflow.answer("POST", FORM, {})
    assert submit(client, paused["message_id"]).json["data"]["status"] == "done"


WITHOUT_US = [
    (412, "human_input_form_submitted", "This form has already been submitted by another user, form_id=…"),
    (412, "human_input_form_expired", "This form has expired, form_id=…"),
    (404, "not_found", "Form not found. You have requested this URI […] but did you mean …?"),
]


@pytest.mark.parametrize(("dify_status", "dify_code", "words"), WITHOUT_US)
@pytest.mark.parametrize(
    ("status", "text", "ours", "reason"),
    [
        ("normal", "先说一句。没有人回应，已超时。", "done", None),
        ("error", "", "failed", "model_failed"),
        ("paused", "先说一句。", "paused", None),
    ],
)
def test_an_answer_that_went_on_without_us_is_fetched_when_its_form_is_sent(
    app: Flask,
    client: FlaskClient,
    chatflow: FakeDify,
    dify_status: int,
    dify_code: str,
    words: str,
    status: str,
    text: str,
    ours: str,
    reason: str | None,
) -> None:
    """Somebody else has filled in the form, its time is over, or Dify asks in its console alone: a live 1.14.2."""
    paused = pause(client, chatflow)
    before = messages(app)
    chatflow.call_back("GET", EVENTS, lambda _: (200, {}, body_of()))
    chatflow.answer("POST", FORM, {"status": dify_status, "code": dify_code, "message": words}, dify_status)
    others = {"id": NOBODY, "answer": "?", "status": "normal"}
    chatflow.answer(
        "GET", "/v1/messages", {"data": [others, {"id": IDS["message_id"], "answer": text, "status": status}]}
    )
    answer = submit(client, paused["message_id"])
    (stored,) = messages(app)
    assert (stored.meta_data["status"], stored.meta_data.get("reason")) == (ours, reason)
    if ours == "paused":
        assert answer.json["error"] == ("form_closed" if dify_status == 412 else "not_supported")
        assert messages(app) == before
        return
    assert (answer.status_code, answer.json["error"]) == (409, "form_closed")
    assert "gone on without this form" in answer.json["message"]
    assert stored.response == (text or "先说一句。") and stored.claimed_until is None
    assert not stored.meta_data.keys() & {"forms", "pause"}


def test_a_chatflow_that_dify_no_longer_has_takes_no_form(client: FlaskClient, chatflow: FakeDify) -> None:
    paused = pause(client, chatflow)
    gone = {"code": "not_found", "message": "Workflow run not found", "status": 404}
    chatflow.answer("GET", EVENTS, gone, 404)
    chatflow.answer("GET", "/v1/messages", gone, 404)
    answer = submit(client, paused["message_id"])
    assert (answer.status_code, answer.json["error"]) == (409, "form_closed")
    assert "no longer has" in answer.json["message"]


@pytest.mark.parametrize("streaming", [True, False])
def test_a_caller_who_leaves_does_not_cut_off_the_call_that_submits_the_form(
    app: Flask, client: FlaskClient, chatflow: FakeDify, streaming: bool
) -> None:
    """On a live 1.14.2 a page was reloaded at this moment: Dify had taken the form, and we still asked for it."""
    paused = pause(client, chatflow)
    go_on(chatflow)

    def leave(_: Any) -> Any:
        trace = tracing.current()
        with app.app_context():
            request_stop(db.engine, UUID(paused["message_id"]).hex)
            turn_monitor.flush()
        with trace.interruptible(lambda: None):  # As each call to Dify does on a real connection.
            return 200, {}, b"{}"

    chatflow.mock.remove("POST", f"{DIFY}{FORM}")
    chatflow.call_back("POST", FORM, leave)
    chatflow.answer("POST", f"{CHAT}/{IDS['task_id']}/stop", {"result": "success"})
    submit(client, paused["message_id"], streaming=streaming)
    (stored,) = messages(app)
    assert (stored.meta_data["status"], stored.meta_data["reason"]) == ("stopped", "stop_requested")
    assert chatflow.calls[-1] == f"POST {CHAT}/{IDS['task_id']}/stop"


@pytest.mark.parametrize("status", ["paused", None])
def test_one_of_two_forms_that_was_filled_in_elsewhere_is_no_longer_asked_for(
    app: Flask, client: FlaskClient, chatflow: FakeDify, status: str | None
) -> None:
    """The answer has gone on after the first form, and still waits for the second: as seen on a live 1.14.2."""
    reason = {**PAUSE["data"]["reasons"][0], "form_token": TOKEN}
    second = {**reason, "form_id": "second", "form_token": "form-token-2"}
    event = {**PAUSE, "data": {**PAUSE["data"], "reasons": [reason, second]}}
    chatflow.call_back("POST", CHAT, lambda _: (200, {}, body_of({"event": "message", "answer": "先说一句。"}, event)))
    paused = ask(client).json["data"]
    chatflow.call_back("GET", EVENTS, lambda _: (200, {}, body_of()))
    refusal = {"status": 412, "code": "human_input_form_submitted", "message": "This form has already been submitted"}
    chatflow.answer("POST", FORM, refusal, 412)
    message = {"id": IDS["message_id"], "answer": "先说一句。左边好了。", "status": status}
    chatflow.answer("GET", "/v1/messages", {"data": [message]})
    answer = submit(client, paused["message_id"], form_id=paused["forms"][0]["form_id"])
    assert answer.json["error"] == "form_closed"
    (stored,) = messages(app)
    assert [form["form_id"] for form in stored.meta_data["forms"]] == ["second"]
    assert (stored.meta_data["status"], stored.response) == ("paused", message["answer"] if status else "先说一句。")
    # The second form still works, and the rest comes after what Dify had then.
    chatflow.mock.remove("GET", f"{DIFY}{EVENTS}")
    chatflow.call_back("GET", EVENTS, lambda _: (200, {}, body_of(*REST)))
    chatflow.answer("POST", FORM.replace(TOKEN, "form-token-2"), {})
    data = submit(client, paused["message_id"]).json["data"]
    assert (data["status"], data["answer"]) == ("done", f"{stored.response}好的，继续。")
