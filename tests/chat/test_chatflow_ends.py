"""How a chatflow of Dify 1.16.1 ends without `message_end` (tests/contract/DIFFERENCES-1.16.md, A 1 to 3 and 10)."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from ..support.fake_dify import FakeDify
from ..support.talk import ask, messages, stream, without_variables


@pytest.fixture
def chatflow(any_dify: FakeDify) -> FakeDify:
    any_dify.version = "1.16.1"
    without_variables(any_dify)
    return any_dify


FAILURES = [
    ("error-streaming", "injected failure: rate", ""),
    ("error-mid-stream", "injected mid-stream failure: unavail", "<think>"),
    ("required-missing-streaming", "city is required in input form", ""),
    ("human-input-streaming", "until a person fills in a form", ""),
    ("human-input-after-text-streaming", "until a person fills in a form", "先说一句。"),
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
