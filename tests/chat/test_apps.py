"""What the apps of Dify send beside the pieces of an answer: sources, replacements, whole answers without a model."""

from typing import Any

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from route_api.extensions import db
from route_api.storage.stop_requests import request_stop

from ..support.fake_dify import FakeDify
from ..support.recordings import VERSIONS
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

IDS = {"conversation_id": NOBODY, "message_id": NOBODY, "task_id": NOBODY}
NO_USAGE = {"usage": {"total_tokens": 0}}
ANNOTATION = {"annotation_reply": {"id": NOBODY, "account": {"id": NOBODY, "name": "Admin"}}, **NO_USAGE}
RECORDED_SOURCES = [
    *((version, f"chat/streaming-{app}") for version in VERSIONS for app in ("app-with-dataset", "advanced-chat")),
    ("1.16.1", "chat/advanced-chat-separated-streaming"),
]


def body_of(*events: dict[str, Any]) -> bytes:
    return b"".join(b"data: %b\n\n" % orjson.dumps({**event, **IDS}) for event in events)


def play(dify: FakeDify, *events: dict[str, Any]) -> None:
    dify.call_back("POST", CHAT, lambda request: (200, {}, body_of(*events)))


def end_of(version: str, case: str) -> Any:
    """The recorded `message_end`."""
    (end,) = [event for event in recorded_events(version, case) if event["event"] == "message_end"]
    return end


# ------------------------------------------------------------------ sources of the app's own knowledge


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(("version", "case"), RECORDED_SOURCES)
def test_what_the_app_itself_has_found_is_listed(
    app: Flask, client: FlaskClient, any_dify: FakeDify, version: str, case: str, streaming: bool
) -> None:
    any_dify.version = version
    without_variables(any_dify)
    any_dify.play(case)
    answer = stream(client)[-2] if streaming else ask(client).json
    sources = end_of(version, case)["metadata"]["retriever_resources"]
    assert len(sources) == 3
    references = answer["rag_info"]["references"]
    assert references == [
        {
            "chunk_id": source["segment_id"],
            "content": source["content"],
            "doc_id": source["document_id"],
            "doc_name": source["document_name"],
            "kb_id": source["dataset_id"],
            "score": source["score"],
            "source": "app",
        }
        for source in sources
    ]
    assert (answer["rag_info"]["context_used"], answer["rag_info"]["context_length"]) == (True, 0)
    chunks = answer["data"]["reference"]["chunks"]
    assert [(chunk["id"], chunk["source"]) for chunk in chunks] == [(source["segment_id"], "app") for source in sources]
    assert sum(document["count"] for document in answer["data"]["reference"]["doc_aggs"]) == 3
    (stored,) = messages(app)
    assert stored.meta_data["references"] == references
    row = client.post("/message/get", json={"user_id": "alice", "message_id": answer["data"]["message_id"]}).json
    assert row["data"]["meta_data"]["references"] == references


def test_a_passage_that_we_and_the_app_have_found_is_listed_once(client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    (kb_id,) = any_dify.play("retrieve/semantic")
    ours = [record["segment"] for record in any_dify.body("retrieve/semantic")["records"]]
    theirs = [
        {"segment_id": ours[0]["id"], "content": ours[0]["content"], "dataset_id": kb_id},
        {"segment_id": NOBODY, "content": "别的", "dataset_id": NOBODY, "document_id": NOBODY, "score": 0.5},
        {"segment_id": NOBODY, "content": "别的", "dataset_id": NOBODY, "document_id": NOBODY, "score": 0.5},
    ]
    play(any_dify, {"event": "message_end", "metadata": {"retriever_resources": theirs}})
    answer = ask(client, path="completion_db", kb_id=kb_id).json
    listed = [(each["chunk_id"], each["source"]) for each in answer["rag_info"]["references"]]
    assert listed == [*((segment["id"], "kb") for segment in ours), (NOBODY, "app")]
    assert [(each["id"], each["source"]) for each in answer["data"]["reference"]["chunks"]] == listed


def test_sources_without_ids_are_all_listed(client: FlaskClient, any_dify: FakeDify) -> None:
    """Not recorded: what comes from outside Dify's knowledge has no segment. Dify 1.16.1 leaves out what is null."""
    without_variables(any_dify)
    sources = [{"content": "甲", "document_name": "网页"}, {"content": "乙", "segment_id": None, "score": None}]
    play(any_dify, {"event": "message_end", "metadata": {"retriever_resources": sources}})
    references = ask(client).json["rag_info"]["references"]
    assert [(each["content"], each["doc_name"], each["chunk_id"]) for each in references] == [
        ("甲", "网页", ""),
        ("乙", "", ""),
    ]


def test_without_sources_the_plain_endpoint_lists_nothing(client: FlaskClient, dify: FakeDify) -> None:
    without_variables(dify)
    dify.play("chat/streaming-first-turn")
    answer = ask(client).json
    assert "rag_info" not in answer and "reference" not in answer["data"]


# ------------------------------------------------------------------ moderation


@pytest.mark.parametrize("think", ["keep", "separate"])
@pytest.mark.parametrize("stream_mode", ["delta", "cumulative"])
def test_an_answer_that_moderation_takes_back_is_taken_back_at_once(
    app: Flask, client: FlaskClient, any_dify: FakeDify, stream_mode: str, think: str
) -> None:
    without_variables(any_dify)
    play(
        any_dify,
        {"event": "message", "answer": "geheim。"},
        {"event": "message_replace", "answer": "不便", "reason": "output_moderation"},
        {"event": "message", "answer": "回答。"},
        {"event": "message_end", "metadata": NO_USAGE},
    )
    _, replaced, more, last, _ = stream(client, stream_mode=stream_mode, think=think)
    if stream_mode == "cumulative":
        assert (replaced["data"]["answer"], more["data"]["answer"]) == ("不便", "不便回答。")
    else:
        new = {"answer": "不便", **({"thinking": ""} if think == "separate" else {})}
        assert (replaced["data"]["answer"], replaced["data"]["replacement"]) == ("", new)
        assert more["data"]["answer"] == "回答。" and "replacement" not in more["data"]
    assert (last["data"]["answer"], last["data"]["status"]) == ("不便回答。", "done")
    (stored,) = messages(app)
    assert (stored.response, stored.meta_data["status"]) == ("不便回答。", "done")


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(
    "last", [[], [{"event": "message_end", "metadata": NO_USAGE}]], ids=["1.14.2, without message_end", "1.12.1"]
)
def test_a_chatflow_that_moderation_stops_is_done(
    app: Flask, client: FlaskClient, any_dify: FakeDify, last: list[Any], streaming: bool
) -> None:
    """The events of a live 1.14.2 and 1.12.1 whose moderation of the answer found a word while the model wrote."""
    without_variables(any_dify)
    play(
        any_dify,
        {"event": "message", "answer": "geheim。"},
        {"event": "message_replace", "answer": "回答已撤回。", "reason": "output_moderation"},
        {"event": "workflow_finished", "data": {"status": "stopped", "error": "Stopped by output moderation."}},
        *last,
    )
    data = (stream(client)[-2] if streaming else ask(client).json)["data"]
    assert (data["status"], data["answer"]) == ("done", "回答已撤回。")
    (stored,) = messages(app)
    assert (stored.response, stored.meta_data["status"]) == ("回答已撤回。", "done")
    assert "reason" not in stored.meta_data


# ------------------------------------------------------------------ apps without a model, agents, stops


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "events",
    [
        # An annotation, and moderation of the question: neither has been recorded. They have no usage in Dify's code.
        [{"event": "message", "answer": "答"}, {"event": "message_end", "metadata": ANNOTATION}],
        [{"event": "agent_message", "answer": "答"}, {"event": "message_end", "metadata": NO_USAGE}],
        [{"event": "message", "answer": "答"}, {"event": "message_end", "metadata": NO_USAGE}],
        [
            {"event": "workflow_started", "data": {}},
            {"event": "message", "answer": "答"},
            {"event": "workflow_finished", "data": {"status": "succeeded", "error": None}},
            {"event": "message_end", "metadata": NO_USAGE},
        ],
    ],
    ids=["annotation", "agent-chat", "chat", "advanced-chat"],
)
def test_an_answer_that_no_model_has_written_is_done(
    app: Flask, client: FlaskClient, any_dify: FakeDify, version: str, events: list[Any], streaming: bool
) -> None:
    any_dify.version = version
    without_variables(any_dify)
    play(any_dify, *events)
    data = (stream(client)[-2] if streaming else ask(client).json)["data"]
    assert (data["status"], data["answer"]) == ("done", "答")
    assert messages(app)[0].meta_data.items() >= {"status": "done"}.items()
    assert "reason" not in messages(app)[0].meta_data


def test_a_chatflow_that_is_stopped_in_dify_is_stopped_although_it_has_used_tokens(
    app: Flask, client: FlaskClient, any_dify: FakeDify
) -> None:
    """Not recorded: up to 1.12.1 `message_end` follows, with the tokens of the nodes that were finished."""
    without_variables(any_dify)
    play(
        any_dify,
        {"event": "message", "answer": "答"},
        {"event": "workflow_finished", "data": {"status": "stopped"}},
        {"event": "message_end", "metadata": {"usage": {"total_tokens": 40}}},
    )
    assert stream(client)[-2]["data"]["status"] == "stopped"
    assert messages(app)[0].meta_data["reason"] == "stop_requested"


@pytest.mark.parametrize("is_agent", [True, False])
def test_the_model_of_an_agent_sees_the_part_of_its_stopped_answer(
    app: Flask, client: FlaskClient, any_dify: FakeDify, is_agent: bool
) -> None:
    """Seen on a live 1.14.2: after a stop Dify keeps the part of a chat app's answer, and an empty answer of an
    agent's, although its stream ends the same way."""
    without_variables(any_dify)
    asks_for_the_mode(any_dify)
    kind = "agent_message" if is_agent else "message"
    body = body_of({"event": kind, "answer": "葫芦庙在"}, {"event": "message_end", "metadata": NO_USAGE})

    def answer_and_stop(_: Any) -> Any:
        with app.app_context():
            request_stop(db.engine, messages(app)[-1].id)
        return 200, {"Content-Type": "text/event-stream"}, body

    any_dify.call_back("POST", CHAT, answer_and_stop)
    any_dify.mock.assert_all_requests_are_fired = False
    first = ask(client).json["data"]
    assert (first["status"], first["answer"]) == ("stopped", "葫芦庙在")
    ask(client, "接着说", conversation_id=first["conversation_id"])
    assert ("葫芦庙在" in any_dify.sent()["query"]) == is_agent == ("conversation_id" not in any_dify.sent())


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(
    ("case", "kind"),
    [
        ("agent-chat-function-call-streaming", "agent_message"),
        ("agent-chat-react-streaming", "agent_message"),
        ("agent-streaming", "message"),
    ],
)
def test_agents_answer_as_a_stream_and_in_one_piece(
    app: Flask, client: FlaskClient, any_dify: FakeDify, case: str, kind: str, streaming: bool
) -> None:
    any_dify.version = "1.16.1"
    without_variables(any_dify)
    any_dify.play(f"chat/{case}")
    data = (stream(client)[-2] if streaming else ask(client).json)["data"]
    events = recorded_events("1.16.1", f"chat/{case}")
    text = "".join(event["answer"] for event in events if event["event"] == kind)
    assert (data["status"], data["answer"]) == ("done", text) and text
    assert any_dify.sent()["response_mode"] == "streaming"
    assert messages(app)[0].response == text


@pytest.mark.parametrize("stream_mode", ["delta", "cumulative"])
@pytest.mark.parametrize(("pieces", "whole"), [("你好", "你好！"), ("你好", "你好"), ("查一下", "有三台")])
def test_the_whole_answer_that_ends_the_pieces_of_an_agent_is_not_added_to_them(
    app: Flask, client: FlaskClient, any_dify: FakeDify, pieces: str, whole: str, stream_mode: str
) -> None:
    """Read in Dify's own description (tests/contract/openapi): an app of the mode agent sends pieces as
    `agent_message`, and then one `message` with the complete answer."""
    without_variables(any_dify)
    parts = [{"event": "agent_message", "answer": letter} for letter in pieces]
    play(any_dify, *parts, {"event": "message", "answer": whole}, {"event": "message_end", "metadata": NO_USAGE})
    *deltas, last, _ = stream(client, stream_mode=stream_mode)
    shown = ""
    for delta in deltas:
        new = delta["data"].get("replacement", {}).get("answer")
        shown = new if new is not None else (shown if stream_mode == "delta" else "") + delta["data"]["answer"]
    assert shown == last["data"]["answer"] == whole == messages(app)[0].response


@pytest.mark.parametrize("version", VERSIONS)
def test_a_stream_that_nobody_has_asked_to_stop_is_done_while_the_database_is_away(
    app: Flask, client: FlaskClient, any_dify: FakeDify, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    def be_away(_: object) -> set[str]:
        raise OperationalError("SELECT", {}, Exception("away"))

    monkeypatch.setattr("route_api.chat.monitor.stop_requests", be_away)
    any_dify.version = version
    without_variables(any_dify)
    play(any_dify, {"event": "message", "answer": "答"}, {"event": "message_end", "metadata": NO_USAGE})
    assert ask(client).json["data"]["status"] == "done"


def test_the_recorded_stop_of_each_version_has_no_tokens() -> None:
    """So the tokens alone do not tell a stop from an answer that no model has written."""
    for version in VERSIONS:
        assert end_of(version, "chat/streaming-stopped")["metadata"]["usage"]["total_tokens"] == 0
        assert recorded_text(version, "chat/streaming-stopped")
