"""The stream mode `events`: the passages come first, ids at both ends alone, no tag in two pieces, no empty event."""

from typing import Any

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient
from requests import exceptions as network
from werkzeug.test import TestResponse

from route_api.prompts.thinking import TagKeeper

from ..support.fake_dify import FakeDify
from ..support.talk import CHAT, NOBODY, ask, asks_for_the_mode, messages, named, recorded_text, without_variables

IDS = {"conversation_id": NOBODY, "message_id": NOBODY, "task_id": NOBODY}
END = {"event": "message_end", "metadata": {"usage": {"total_tokens": 3}}}
KEYS_OF_IDS = {"conversation_id", "is_new_conversation", "message_id"}


def play(dify: FakeDify, *events: str | dict[str, Any]) -> None:
    """Let Dify stream these events. A text is a piece of the answer."""
    wanted = [event if isinstance(event, dict) else {"event": "message", "answer": event} for event in events]
    body = b"".join(b"data: %b\n\n" % orjson.dumps({**IDS, **event}) for event in wanted)
    dify.call_back("POST", CHAT, lambda _: (200, {}, body))


def ask_for_events(client: FlaskClient, **more: Any) -> TestResponse:
    answer: TestResponse = ask(client, streaming=True, stream_mode="events", **more)
    assert (answer.status_code, answer.mimetype) == (200, "text/event-stream"), answer.text
    return answer


def joined(events: list[tuple[str, Any]], name: str, key: str) -> str:
    return "".join(data[key] for kind, data in events if kind == name)


def test_the_first_event_has_ids_and_passages_and_the_last_one_everything(client: FlaskClient, dify: FakeDify) -> None:
    dify.play("chat/parameters-with-variables")
    (kb_id,) = dify.play("retrieve/semantic")
    dify.play("chat/streaming-second-turn")
    (first, sources), *events, (last, end) = named(ask_for_events(client, path="completion_db", kb_id=kb_id).data)
    assert (first, last) == ("sources", "end")
    assert sources.keys() == {*KEYS_OF_IDS, "references"}
    assert sources["references"] == end["rag_info"]["references"] != []
    assert {key: end["data"][key] for key in KEYS_OF_IDS} == {key: sources[key] for key in KEYS_OF_IDS}
    thinking, content = recorded_text(dify.version, "chat/streaming-second-turn").split("</think>\n\n")
    assert joined(events, "thinking", "thinking") == end["data"]["thinking"] == thinking.split("<think>\n")[1].strip()
    assert joined(events, "delta", "answer") == end["data"]["answer"] == content
    assert {(name, *data) for name, data in events} == {("thinking", "thinking"), ("delta", "answer")}
    assert all(text for _, data in events for text in data.values())


def test_the_passages_are_sent_before_dify_is_asked(client: FlaskClient, any_dify: FakeDify) -> None:
    any_dify.play("chat/parameters-with-variables")
    (kb_id,) = any_dify.play("retrieve/semantic")
    any_dify.play("chat/streaming-first-turn")
    answer = ask_for_events(client, path="completion_db", kb_id=kb_id)
    begun = b""
    while not begun:
        begun = next(answer.response)
    ((name, sources),) = named(begun)
    assert (name, len(sources["references"]) > 0) == ("sources", True)
    assert not any(call.startswith(f"POST {CHAT}") for call in any_dify.calls)
    assert named(answer.data)[-1][0] == "end"


@pytest.mark.parametrize(
    ("think", "names", "answer"),
    [
        (None, {"thinking", "delta"}, "庙在巷内。"),
        ("separate", {"thinking", "delta"}, "庙在巷内。"),
        ("drop", {"delta"}, "庙在巷内。"),
        ("keep", {"delta"}, "<think>\n嗯\n</think>\n\n庙在巷内。"),
    ],
)
def test_a_tag_that_dify_cuts_in_two_is_in_one_event_or_none(
    client: FlaskClient, any_dify: FakeDify, think: str | None, names: set[str], answer: str
) -> None:
    without_variables(any_dify)
    play(any_dify, "<th", "ink>", "\n嗯", "\n", "</thi", "nk>\n", "\n庙在", "", "巷内。", END)
    _, *events, (_, end) = named(ask_for_events(client, think=think).data)
    assert {name for name, _ in events} == names
    pieces = [data["answer"] for name, data in events if name == "delta"]
    assert "".join(pieces) == end["data"]["answer"] == answer
    assert all(piece and piece.count("<") == piece.count(">") for piece in pieces)
    assert end["data"]["thinking"] == ("" if think == "drop" else "嗯")


@pytest.mark.parametrize("text", ["<think>a</think>b", "a < b <", "<details open> <summary> Thinking...", "<<think>"])
def test_the_keeper_of_tags_loses_nothing_wherever_an_answer_is_cut(text: str) -> None:
    for size in range(1, len(text) + 1):
        keeper = TagKeeper()
        pieces = [keeper.feed(text[start : start + size])[1] for start in range(0, len(text), size)]
        assert "".join([*pieces, keeper.finish()[1]]) == text
        assert not any(piece.endswith(("<th", "</thi", "<think", "<deta")) for piece in pieces)


@pytest.mark.parametrize("think", ["separate", "drop", "keep"])
def test_moderation_that_takes_an_answer_back_is_an_event(client: FlaskClient, any_dify: FakeDify, think: str) -> None:
    without_variables(any_dify)
    play(any_dify, "秘密", {"event": "message_replace", "answer": "这不能说。"}, "请", "换一个问题。", END)
    (_, _), *events, (_, end) = named(ask_for_events(client, think=think).data)
    replacement = {"answer": "这不能说。", **({"thinking": ""} if think == "separate" else {})}
    assert events == [
        ("delta", {"answer": "秘密"}),
        ("replacement", replacement),
        ("delta", {"answer": "请"}),
        ("delta", {"answer": "换一个问题。"}),
    ]
    assert end["data"]["answer"] == "这不能说。请换一个问题。"


def test_a_failure_in_the_middle_is_the_event_error_with_the_ids(
    app: Flask, client: FlaskClient, dify: FakeDify
) -> None:
    without_variables(dify)
    dify.play("chat/error-mid-stream")
    (_, sources), *events, (name, failure) = named(ask_for_events(client).data)
    assert (name, failure["code"], failure["error"]) == ("error", -1, "model_failed")
    assert failure["data"] == {key: sources[key] for key in KEYS_OF_IDS}
    (stored,) = messages(app)
    assert stored.meta_data["status"] == "failed" and joined(events, "thinking", "thinking") in stored.response


def test_a_dify_that_cannot_be_reached_after_the_passages_is_the_event_error(
    app: Flask, client: FlaskClient, any_dify: FakeDify
) -> None:
    without_variables(any_dify)
    any_dify.fail("POST", CHAT, network.ConnectionError())
    (first, _), (last, failure) = named(ask_for_events(client).data)
    assert (first, last, failure["error"]) == ("sources", "error", "dify_unreachable")
    (stored,) = messages(app)
    assert (stored.meta_data["status"], stored.meta_data["reason"]) == ("failed", "dify_unreachable")
    assert stored.claimed_until is None


def test_the_event_error_says_when_to_come_again_as_the_header_does(client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    busy = {"code": "too_many_requests", "message": "Too many requests.", "status": 429}
    any_dify.call_back("POST", CHAT, lambda _: (429, {"Retry-After": "7"}, orjson.dumps(busy)))
    *_, (name, failure) = named(ask_for_events(client).data)
    assert (name, failure["error"], failure["retry_after"]) == ("error", "dify_too_busy", 7)
    assert ask(client).headers["Retry-After"] == "7"


def test_what_fails_before_the_passages_are_found_has_its_http_status(
    app: Flask, client: FlaskClient, any_dify: FakeDify
) -> None:
    any_dify.fail("GET", "/v1/parameters", network.ConnectionError())
    answer = ask(client, streaming=True, stream_mode="events")
    assert (answer.status_code, answer.json["error"]) == (502, "dify_unreachable")
    assert [row.meta_data["status"] for row in messages(app)] == ["failed"]


def test_a_caller_who_leaves_at_the_passages_asks_no_model(app: Flask, client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    answer = ask_for_events(client)
    while not next(answer.response):
        continue
    answer.close()
    (stored,) = messages(app)
    assert (stored.meta_data["status"], stored.meta_data["reason"]) == ("stopped", "caller_left")
    assert stored.claimed_until is None and not any(call.startswith("POST") for call in any_dify.calls)


def test_a_caller_who_leaves_in_the_middle_stops_the_model(app: Flask, client: FlaskClient, dify: FakeDify) -> None:
    without_variables(dify)
    (task_id,) = dify.play("chat/stop")
    dify.play("chat/streaming-stopped")
    answer = ask_for_events(client)
    begun = b""
    while b"event: thinking" not in begun and b"event: delta" not in begun:
        begun += next(answer.response)
    answer.close()
    assert dify.calls[-1] == f"POST {CHAT}/{task_id}/stop"
    (stored,) = messages(app)
    assert stored.response and (stored.meta_data["status"], stored.claimed_until) == ("stopped", None)


def test_a_stop_before_dify_is_asked_ends_the_stream_with_an_empty_answer(
    app: Flask, client: FlaskClient, any_dify: FakeDify
) -> None:
    without_variables(any_dify)
    answer = ask_for_events(client)
    begun = b""
    while not begun:
        begun = next(answer.response)
    ((_, sources),) = named(begun)
    client.post("/conversation/stop", json={"user_id": "alice", "message_id": sources["message_id"]})
    app.extensions["route_api"].turn_monitor.flush()
    ((name, end),) = named(answer.data)
    assert (name, end["data"]["status"], end["data"]["answer"]) == ("end", "stopped", "")
    assert [row.meta_data["status"] for row in messages(app)] == ["stopped"]


def test_a_paused_answer_ends_with_its_forms(client: FlaskClient, any_dify: FakeDify) -> None:
    any_dify.version = "1.16.1"
    without_variables(any_dify)
    any_dify.play("chat/advanced-chat-human-input-after-text-streaming")
    *_, (name, end) = named(ask_for_events(client).data)
    assert (name, end["data"]["status"]) == ("end", "paused")
    assert end["data"]["forms"][0]["form_id"]


def test_warnings_come_with_the_end(client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    play(any_dify, "好。", END)
    _, _, (_, end) = named(ask_for_events(client, messages=1).data)
    assert len(end["warnings"]) == 1 and "messages" in end["warnings"][0]


def test_a_ping_of_difys_is_a_comment(client: FlaskClient, dify: FakeDify) -> None:
    without_variables(dify)
    dify.play("chat/streaming-ping")
    assert b"\n\n: ping\n\n" in ask_for_events(client).data


@pytest.mark.parametrize("think", ["separate", "keep", "drop"])
def test_a_repeated_request_gets_the_same_events_with_the_text_in_one_piece(
    client: FlaskClient, any_dify: FakeDify, think: str
) -> None:
    any_dify.play("chat/parameters-with-variables")
    (kb_id,) = any_dify.play("retrieve/semantic")
    any_dify.play("chat/streaming-second-turn")
    body = {"user_id": "alice", "message": "?", "kb_id": kb_id, "streaming": True, "stream_mode": "events"}
    send = {"json": {**body, "think": think}, "headers": {"Idempotency-Key": "once"}}
    with client.post("/conversation/completion_db?unknown0=1", **send) as first:
        first.get_data()
    repeat = client.post("/conversation/completion_db?unknown1=1", **send)
    assert repeat.headers["Idempotent-Replayed"] == "true"
    (_, sources), *events, (name, end) = named(first.data)
    (_, sources_again), *events_again, (name_again, end_again) = named(repeat.data)
    assert (sources_again, name_again, end_again["data"]) == (sources, name, end["data"])
    for kind, key in (("thinking", "thinking"), ("delta", "answer")):
        assert joined(events_again, kind, key) == joined(events, kind, key)
    assert len(events_again) == (2 if think == "separate" else 1)
    assert [len(end["warnings"]), len(end_again["warnings"])] == [1, 2]


@pytest.mark.parametrize("think", ["separate", "keep", "drop"])
def test_a_repeated_request_gets_reasoning_without_an_opening_tag_once(
    client: FlaskClient, any_dify: FakeDify, think: str
) -> None:
    """The stream has had it in the answer, because its tag came too late."""
    without_variables(any_dify)
    play(any_dify, "嗯。", "\n</think>\n\n", "庙在巷内。", END)
    body = {"user_id": "alice", "message": "?", "streaming": True, "stream_mode": "events", "think": think}
    send = {"json": body, "headers": {"Idempotency-Key": "once"}}
    with client.post("/chat/chat", **send) as first:
        events = named(first.data)
    repeated = named(client.post("/chat/chat", **send).data)
    assert joined(events, "delta", "answer") == "嗯。\n</think>\n\n庙在巷内。"
    assert repeated[1:-1] == [("delta", {"answer": joined(events, "delta", "answer")})]


def test_after_a_failure_a_repeated_request_is_carried_out(client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    any_dify.fail("POST", CHAT, network.ConnectionError())
    body = {"user_id": "alice", "message": "?", "streaming": True, "stream_mode": "events"}
    send = {"json": body, "headers": {"Idempotency-Key": "once"}}
    with client.post("/chat/chat", **send) as failed:
        assert named(failed.data)[-1][0] == "error"
    play(any_dify, "好。", END)
    assert [name for name, _ in named(client.post("/chat/chat", **send).data)] == ["sources", "delta", "end"]


def test_a_gateway_that_stops_says_so_in_the_event_error(app: Flask, client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    answer = ask_for_events(client)
    begun = b""
    while not begun:
        begun = next(answer.response)
    app.extensions["route_api"].turn_monitor.end_turns()
    ((name, failure),) = named(answer.data)
    assert (name, failure["error"]) == ("error", "gateway_stopped")
    assert [row.meta_data["reason"] for row in messages(app)] == ["gateway_stopped"]


def test_an_app_that_answers_with_a_lost_conversation_is_asked_again(client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    play(any_dify, "一。", END)
    conversation_id = ask(client).json["data"]["conversation_id"]
    any_dify.answer("POST", CHAT, {"code": "not_found", "message": "Conversation Not Exists."}, 404)
    asks_for_the_mode(any_dify)
    play(any_dify, "二。", END)
    events = named(ask_for_events(client, conversation_id=conversation_id).data)
    assert [name for name, _ in events] == ["sources", "delta", "end"]
