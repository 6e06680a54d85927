"""Where the thinking of a turn's answer goes: in streams, in one piece, in the stored message, and in the history."""

from typing import Any

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient

from ..support.fake_dify import FakeDify
from ..support.talk import CHAT, NOBODY, ask, asks_for_the_mode, decoded, messages, stream, without_variables

IDS = {"conversation_id": NOBODY, "message_id": NOBODY, "task_id": NOBODY}
PIECE = 7
"""Characters in an event. So most tags are cut in two."""

ANSWERS = {
    "twice": (
        "<think>\n先查工具SECRET\n</think>\n\n我来查一下库存。\n\n<think>\n工具说有三台SECRET\n</think>\n\n库存有三台。",
        "先查工具SECRET\n\n工具说有三台SECRET",
        "我来查一下库存。\n\n库存有三台。",
    ),
    "after a sentence": ("好的。<think>\n想SECRET\n</think>\n\n答案是四十二。", "想SECRET", "好的。\n\n答案是四十二。"),
    "upper case": ("<THINK>\n想SECRET\n</THINK>\n\n答案。", "想SECRET", "答案。"),
    "details": (
        '<details style="color:gray;" open> <summary> Thinking... </summary>\n想SECRET\n</details>\n\n答案。',
        "想SECRET",
        "答案。",
    ),
    "unclosed": ("<think>\n一直在想SECRET，没有说完", "一直在想SECRET，没有说完", ""),
    "text": (text := "推理以 `<think>` 开始，以 `</think>` 结束；“</think>”后面是正文。", "", text),
    "an odd end": (text := "小于号是 <", "", text),
}
UNOPENED = "想SECRET\n</think>\n\n答案是四十二。"


def events_of(text: str) -> list[dict[str, Any]]:
    """Dify's events for an answer."""
    pieces = [text[begin : begin + PIECE] for begin in range(0, len(text), PIECE)]
    return [*({"event": "message", "answer": piece, **IDS} for piece in pieces), {"event": "message_end", **IDS}]


def play(dify: FakeDify, *events: dict[str, Any]) -> None:
    """Let the next answers of Dify have these events."""
    body = b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events)
    dify.call_back("POST", CHAT, lambda request: (200, {}, body))


def joined(deltas: list[Any], name: str) -> str:
    return "".join(event["data"].get(name, "") for event in deltas)


@pytest.mark.parametrize("think", ["keep", "drop", "separate"])
@pytest.mark.parametrize("name", ANSWERS)
def test_the_last_event_has_what_was_streamed_and_an_answer_in_one_piece_is_the_same(
    client: FlaskClient, any_dify: FakeDify, name: str, think: str
) -> None:
    text, thinking, content = ANSWERS[name]
    without_variables(any_dify)
    play(any_dify, *events_of(text))
    *deltas, last, _ = stream(client, think=think)
    assert joined(deltas, "answer") == last["data"]["answer"] == (text if think == "keep" else content)
    assert joined(deltas, "thinking") == (thinking if think == "separate" else "")
    assert (last["data"]["thinking"], last["data"]["content"]) == ("" if think == "drop" else thinking, content)
    whole = ask(client, think=think).json["data"]
    for key in ("answer", "thinking", "content"):
        assert whole[key] == last["data"][key]
    *cumulative, last, _ = stream(client, think=think, stream_mode="cumulative")
    assert cumulative[-1]["data"]["answer"] == last["data"]["answer"] == whole["answer"]
    assert think != "separate" or cumulative[-1]["data"]["thinking"] == thinking


@pytest.mark.parametrize("name", ANSWERS)
def test_a_stored_message_is_split_like_its_answer(client: FlaskClient, any_dify: FakeDify, name: str) -> None:
    text, thinking, content = ANSWERS[name]
    without_variables(any_dify)
    play(any_dify, *events_of(text))
    ids = ask(client, think="drop").json["data"]
    given = {"user_id": "alice", "conversation_id": ids["conversation_id"], "message_id": ids["message_id"]}
    got = client.post("/message/get", json=given).json["data"]
    (listed,) = client.post("/conversation/messages", json=given).json["data"]["messages"]
    for row in (got, listed):
        assert (row["response"], row["thinking"], row["content"]) == (text, thinking, content)


@pytest.mark.parametrize("stream_mode", ["delta", "cumulative"])
@pytest.mark.parametrize("think", ["keep", "drop", "separate"])
def test_thinking_without_an_opening_tag_stays_in_a_stream_and_moves_in_one_piece(
    client: FlaskClient, any_dify: FakeDify, think: str, stream_mode: str
) -> None:
    without_variables(any_dify)
    play(any_dify, *events_of(UNOPENED))
    *deltas, last, _ = stream(client, think=think, stream_mode=stream_mode)
    shown = deltas[-1]["data"]["answer"] if stream_mode == "cumulative" else joined(deltas, "answer")
    assert shown == last["data"]["answer"] == UNOPENED
    whole = ask(client, think=think).json["data"]
    assert whole["answer"] == (UNOPENED if think == "keep" else "答案是四十二。")
    for data in (whole, last["data"]):
        assert (data["thinking"], data["content"]) == ("" if think == "drop" else "想SECRET", "答案是四十二。")


@pytest.mark.parametrize("think", ["drop", "separate"])
def test_a_repeated_stream_has_the_answer_of_the_first(client: FlaskClient, any_dify: FakeDify, think: str) -> None:
    without_variables(any_dify)
    for text in (ANSWERS["twice"][0], UNOPENED):
        play(any_dify, *events_of(text))
        body = {"user_id": "alice", "message": "?", "streaming": True, "think": think}
        key = {"Idempotency-Key": f"{think}-{len(text)}"}
        *deltas, last, _ = decoded(client.post("/chat/chat", json=body, headers=key).data)
        repeat = client.post("/chat/chat", json=body, headers=key)
        delta, last_again, _ = decoded(repeat.data)
        assert repeat.headers["Idempotent-Replayed"] == "true"
        assert delta["data"]["answer"] == last_again["data"]["answer"] == joined(deltas, "answer")
        assert last_again["data"] == last["data"]


@pytest.mark.parametrize("name", [*ANSWERS, "unopened"])
def test_the_history_that_the_model_gets_has_no_thinking(client: FlaskClient, any_dify: FakeDify, name: str) -> None:
    without_variables(any_dify)
    asks_for_the_mode(any_dify)
    play(any_dify, *events_of(UNOPENED if name == "unopened" else ANSWERS[name][0]))
    conversation_id = ask(client, "问题一").json["data"]["conversation_id"]
    ask(client, "问题二", conversation_id=conversation_id, history=5)
    reminder = any_dify.sent()["query"]
    assert "问题一" in reminder and "SECRET" not in reminder
    assert name != "text" or ANSWERS["text"][0] in reminder
    given = [{"role": "user", "content": "?"}, {"role": "assistant", "content": ANSWERS["twice"][0]}]
    ask(client, "问题三", history=given)
    assert "库存有三台" in any_dify.sent()["query"] and "SECRET" not in any_dify.sent()["query"]


@pytest.mark.parametrize("think", ["keep", "drop", "separate"])
@pytest.mark.parametrize("stream_mode", ["delta", "cumulative"])
def test_an_answer_that_dify_replaces_is_split_anew(
    app: Flask, client: FlaskClient, any_dify: FakeDify, think: str, stream_mode: str
) -> None:
    without_variables(any_dify)
    *old, end = events_of("<think>\n想SECRET“<thi")
    replacement = {"event": "message_replace", "answer": "<think>查</think>说：", **IDS}
    play(any_dify, *old, replacement, {"event": "message", "answer": "不便回答。", **IDS}, end)
    *deltas, last, _ = stream(client, think=think, stream_mode=stream_mode)
    content = "说：不便回答。"
    answer = f"<think>查</think>{content}" if think == "keep" else content
    assert (last["data"]["answer"], last["data"]["content"]) == (answer, content)
    assert deltas[-1]["data"]["answer"] == (answer if stream_mode == "cumulative" else "不便回答。")
    if stream_mode == "cumulative":
        assert deltas[-2]["data"]["answer"] == answer.removesuffix("不便回答。")
        assert deltas[-1]["data"].get("thinking", "") == ("查" if think == "separate" else "")
    assert [row.response for row in messages(app)] == [f"<think>查</think>{content}"]


def test_a_stream_that_fails_has_sent_all_of_its_text(app: Flask, client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    failure = {"event": "error", "message": "out of memory", "status": 400, "code": "x", **IDS}
    play(any_dify, {"event": "message", "answer": "小于号是 <", **IDS}, failure)
    *deltas, last = stream(client, think="drop")
    assert last["error"] == "model_failed"
    assert joined(deltas, "answer") == "小于号是 <" == messages(app)[0].response
