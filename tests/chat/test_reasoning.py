"""Where the reasoning goes that Dify 1.16.1 sends beside an answer: to the place that `think` names."""

from typing import Any

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient

from ..support.fake_dify import FakeDify
from ..support.talk import (
    CHAT,
    NOBODY,
    ask,
    asks_for_the_mode,
    messages,
    recorded_events,
    recorded_text,
    stream,
    without_variables,
)

CASE = "chat/advanced-chat-separated-streaming"
TEXT = recorded_text("1.16.1", CASE)
(REASONING,) = [
    event["metadata"]["reasoning"]["llm1"]
    for event in recorded_events("1.16.1", CASE)
    if event["event"] == "message_end"
]
WHOLE = f"<think>\n{REASONING}\n</think>\n\n{TEXT}"
IDS = {"conversation_id": NOBODY, "message_id": NOBODY, "task_id": NOBODY}


@pytest.fixture
def chatflow(any_dify: FakeDify) -> FakeDify:
    any_dify.version = "1.16.1"
    without_variables(any_dify)
    return any_dify


def play(chatflow: FakeDify, *events: Any) -> None:
    """Let Dify stream these events: a text is a piece of the answer, a pair is a node with its reasoning. These orders
    were not recorded; the events have the form of the recorded ones."""
    body = b""
    for event in events:
        if isinstance(event, str):
            event = {"event": "message", "answer": event}
        elif isinstance(event, tuple):
            event = {"event": "reasoning_chunk", "data": {"node_id": event[0], "reasoning": event[1]}}
        body += b"data: %b\n\n" % orjson.dumps({**event, **IDS})
    chatflow.call_back("POST", CHAT, lambda _: (200, {}, body))


END = {"event": "message_end", "metadata": {"usage": {"total_tokens": 3}}}


@pytest.mark.parametrize("stream_mode", ["delta", "cumulative", None])
@pytest.mark.parametrize(
    ("think", "answer", "thinking"), [("keep", WHOLE, REASONING), ("separate", TEXT, REASONING), ("drop", TEXT, "")]
)
def test_recorded_reasoning_goes_where_think_says(
    app: Flask, client: FlaskClient, chatflow: FakeDify, think: str, answer: str, thinking: str, stream_mode: str | None
) -> None:
    chatflow.play(CASE)
    if stream_mode is None:
        data = ask(client, think=think).json["data"]
    else:
        *deltas, last, _ = stream(client, think=think, stream_mode=stream_mode)
        data = last["data"]
        joined = {
            name: "".join(event["data"].get(name, "") for event in deltas[-1 if stream_mode == "cumulative" else 0 :])
            for name in ("answer", "thinking")
        }
        assert joined == {"answer": answer, "thinking": thinking if think == "separate" else ""}
    assert (data["answer"], data["thinking"], data["content"]) == (answer, thinking, TEXT)
    (stored,) = messages(app)
    assert stored.response == WHOLE
    given = {"user_id": "alice", "message_id": data["message_id"]}
    row = client.post("/message/get", json=given).json["data"]
    assert (row["thinking"], row["content"]) == (REASONING, TEXT)


def test_the_history_that_the_model_gets_has_no_reasoning(client: FlaskClient, chatflow: FakeDify) -> None:
    chatflow.play(CASE)
    conversation_id = ask(client, "问题一").json["data"]["conversation_id"]
    chatflow.play("chat/advanced-chat-no-model-streaming")
    asks_for_the_mode(chatflow)  # It has that of another app, whose question takes the history.
    ask(client, "问题二", conversation_id=conversation_id, history=5)
    reminder = chatflow.sent()["query"]
    assert TEXT in reminder and "我先回顾上下文" not in reminder


@pytest.mark.parametrize(
    ("events", "response", "thinking", "content"),
    [
        # A fixed answer before the node that thinks.
        (["正在检索。", ("a", "想"), ("a", "好"), "答"], "正在检索。<think>\n想好\n</think>答", "想好", "正在检索。答"),
        # Another node thinks in the middle of a sentence: it waits for the end of the sentence.
        (
            ["他在", ("b", "想"), "巷", ("b", "好"), "。", "完"],
            "他在巷。<think>\n想好\n</think>完",
            "想好",
            "他在巷。完",
        ),
        # It waits for the end of code, and for the end of a quotation.
        (
            ["```\n一。", ("b", "想"), "\n```\n", "完"],
            "```\n一。\n```\n<think>\n想\n</think>完",
            "想",
            "```\n一。\n```\n完",
        ),
        (["说“好。", ("b", "想"), "”。", "完"], "说“好。”。<think>\n想\n</think>完", "想", "说“好。”。完"),
        # Two nodes, and one whose sentence never ends.
        (
            [("a", "一\n"), ("b", "\n二"), "答", ("b", "三")],
            "<think>\n一\n\n二\n</think>\n\n答<think>\n三\n</think>",
            "一\n\n二\n\n三",
            "答",
        ),
        # Nothing but reasoning, and nothing but blanks.
        ([("a", "\n想\n")], "<think>\n想\n</think>", "想", ""),
        ([("a", " \n"), "答"], "答", "", "答"),
    ],
)
@pytest.mark.parametrize("think", ["keep", "separate"])
def test_reasoning_between_the_pieces_of_an_answer_leaves_the_answer_whole(
    app: Flask,
    client: FlaskClient,
    chatflow: FakeDify,
    events: list[Any],
    response: str,
    thinking: str,
    content: str,
    think: str,
) -> None:
    play(chatflow, *events, END)
    *deltas, last, _ = stream(client, think=think)
    assert "".join(event["data"]["answer"] for event in deltas) == last["data"]["answer"]
    assert (last["data"]["answer"], last["data"]["thinking"]) == (response if think == "keep" else content, thinking)
    assert last["data"]["content"] == content
    assert [row.response for row in messages(app)] == [response]


def test_reasoning_that_comes_only_with_the_end_is_kept(client: FlaskClient, chatflow: FakeDify) -> None:
    """Not recorded: a Dify that sends no `reasoning_chunk`."""
    play(chatflow, "答", {"event": "message_end", "metadata": {"reasoning": {"llm1": "\n想\n", "llm2": ""}}})
    data = ask(client, think="separate").json["data"]
    assert (data["answer"], data["thinking"]) == ("答", "想")


def test_a_chatflow_that_is_stopped_while_it_thinks_keeps_its_reasoning(
    app: Flask, client: FlaskClient, chatflow: FakeDify
) -> None:
    play(chatflow, ("a", "想到"), {"event": "workflow_finished", "data": {"status": "stopped"}})
    data = ask(client, think="separate").json["data"]
    assert (data["status"], data["answer"], data["thinking"]) == ("stopped", "", "想到")
    assert [row.response for row in messages(app)] == ["<think>\n想到\n</think>"]


def test_moderation_takes_the_reasoning_back_too(app: Flask, client: FlaskClient, chatflow: FakeDify) -> None:
    end = {"event": "message_end", "metadata": {"reasoning": {"a": "geheim"}}}
    play(chatflow, ("a", "geheim"), "geheim", {"event": "message_replace", "answer": "不便回答。"}, end)
    data = ask(client, think="separate").json["data"]
    assert (data["answer"], data["thinking"]) == ("不便回答。", "")
    assert [row.response for row in messages(app)] == ["不便回答。"]
