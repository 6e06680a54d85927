"""Where the earlier turns of a conversation go if the app is a chatflow: never into `sys.query`.

Its knowledge nodes search with that. This is read in Dify's code; the fake says only which kind of app it is.
"""

from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient

from ..support.fake_dify import FakeDify, recorded
from ..support.talk import CHAT, ask, recorded_events, without_variables

EARLIER = "上一个问题"
STREAM = "chat/streaming-advanced-chat"
LIST = [{"role": "user", "content": EARLIER}, {"role": "assistant", "content": "答"}]


def is_of_mode(dify: FakeDify, mode: str) -> None:
    dify.answer("GET", "/v1/info", {**dify.body("chat/info"), "mode": mode})


def ask_twice(client: FlaskClient, dify: FakeDify, **second: Any) -> Any:
    """:returns: the answer to the second question"""
    dify.play(STREAM)
    dify.play(STREAM)
    conversation_id = ask(client, EARLIER).json["data"]["conversation_id"]
    return ask(client, "下一个问题", **{"conversation_id": conversation_id, **second}).json


@pytest.mark.parametrize("history", [5, LIST], ids=["number", "list"])
def test_a_history_that_has_no_variable_leaves_the_question_as_it_is(
    client: FlaskClient, dify: FakeDify, history: Any
) -> None:
    without_variables(dify)
    is_of_mode(dify, "advanced-chat")
    answer = ask_twice(client, dify, history=history)
    sent = dify.sent()
    assert (sent["query"], sent["inputs"]) == ("下一个问题", {})
    assert sent["conversation_id"] == recorded_events(dify.version, STREAM)[-1]["conversation_id"], "Dify's memory"
    assert len(answer["warnings"]) == 1 and "Dify itself remembers" in answer["warnings"][0]


@pytest.mark.parametrize("given", [{}, {"history": -1}, {"history_len": -1}], ids=str)
def test_without_a_history_dify_remembers_and_nothing_is_told_or_asked(
    client: FlaskClient, dify: FakeDify, given: dict[str, int]
) -> None:
    without_variables(dify)
    answer = ask_twice(client, dify, **given)
    assert dify.sent()["query"] == "下一个问题" and "conversation_id" in dify.sent()
    assert "warnings" not in answer and "GET /v1/info" not in dify.calls


@pytest.mark.parametrize("history", [0, []])
def test_no_history_is_a_new_conversation_on_dify(client: FlaskClient, any_dify: FakeDify, history: Any) -> None:
    without_variables(any_dify)
    answer = ask_twice(client, any_dify, history=history)
    assert "conversation_id" not in any_dify.sent() and "warnings" not in answer


def test_a_chatflow_that_dify_has_lost_the_conversation_of_is_told_to_the_caller(
    client: FlaskClient, any_dify: FakeDify
) -> None:
    without_variables(any_dify)
    is_of_mode(any_dify, "advanced-chat")
    any_dify.play(STREAM)
    any_dify.play("chat/conversation-deleted")
    any_dify.play(STREAM)
    conversation_id = ask(client, EARLIER).json["data"]["conversation_id"]
    answer = ask(client, "下一个问题", conversation_id=conversation_id).json
    assert any_dify.sent()["query"] == "下一个问题" and "conversation_id" not in any_dify.sent()
    assert len(answer["warnings"]) == 1 and "did not get the earlier turns" in answer["warnings"][0]


@pytest.mark.parametrize("history", [5, LIST], ids=["number", "list"])
def test_a_chatflow_with_the_variable_gets_the_history_there(
    client: FlaskClient, any_dify: FakeDify, history: Any
) -> None:
    any_dify.play("chat/parameters-with-variables")
    answer = ask_twice(client, any_dify, history=history)
    sent = any_dify.sent()
    assert sent["query"] == "下一个问题" and EARLIER in sent["inputs"]["history"]
    assert "conversation_id" not in sent and "warnings" not in answer
    assert "GET /v1/info" not in any_dify.calls


@pytest.mark.parametrize("mode", ["chat", "agent-chat"])
def test_any_other_app_gets_the_history_in_the_query(client: FlaskClient, any_dify: FakeDify, mode: str) -> None:
    without_variables(any_dify)
    is_of_mode(any_dify, mode)
    answer = ask_twice(client, any_dify, history=5)
    assert EARLIER in any_dify.sent()["query"] and "warnings" not in answer


def test_the_stream_of_such_a_turn_tells_it_in_its_last_event(client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    is_of_mode(any_dify, "advanced-chat")
    any_dify.play(STREAM)
    answer = ask(client, history=LIST, streaming=True)
    assert "Dify itself remembers" in answer.text


@pytest.mark.parametrize("has_variable", [True, False])
def test_after_an_answer_that_broke_off_only_dify_can_remind_a_chatflow_without_the_variable(
    client: FlaskClient, dify: FakeDify, has_variable: bool
) -> None:
    """A new conversation on Dify would forget all earlier turns. Seen on live 1.12.1 and 1.14.2: after a stop Dify's
    own memory has them, with the last question, and in most cases with the part of its answer."""
    if has_variable:
        dify.play("chat/parameters-with-variables")
    else:
        without_variables(dify)
    ids = {
        name: recorded_events(dify.version, STREAM)[0][name] for name in ("conversation_id", "message_id", "task_id")
    }
    events = [{"event": "workflow_started", "data": {}, **ids}, {"event": "message", "answer": "一半", **ids}]
    cut = b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events)
    _, headers, whole = recorded(dify.version, STREAM)
    bodies = [whole, cut, whole]
    dify.call_back("POST", CHAT, lambda _: (200, headers, bodies.pop(0)))
    conversation_id = ask(client, EARLIER).json["data"]["conversation_id"]
    assert ask(client, "?", conversation_id=conversation_id).json["error"] == "dify_unreachable"
    answer = ask(client, "下一个问题", conversation_id=conversation_id).json
    assert answer["data"]["status"] == "done" and "warnings" not in answer
    assert ("conversation_id" in dify.sent()) == (not has_variable)
    assert ("一半" in str(dify.sent()["inputs"])) == has_variable
