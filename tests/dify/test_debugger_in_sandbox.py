"""What a turn asks for reaches the model: proved by the sandbox, which shows what its model received."""

from typing import Any, Iterator

import pytest

from route_api.dify import ChatApi, DebuggerApi, Dify, override_model
from route_api.errors import DifyNotFound, DifyRejected

from ..support.dify_client import dify_client
from ..support.event_streams import last_event
from ..support.running_sandbox import running_sandbox

PROVIDER = "route-api/sandbox/sandbox"
EXTRACTIVE, BRIEF = "sandbox-extractive", "sandbox-extractive-brief"
INPUTS = {"instructions": "", "context": "", "history": ""}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dify]:
    """A client of a sandbox that runs on loopback."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as access:
        key = access["DIFY_APP_API_KEY"]
        yield dify_client(
            access["DIFY_BASE_URL"],
            dataset_api_key=access["DIFY_DATASET_API_KEY"],
            app_api_key=key,
            apps={"own": key},
            console_email=access["DIFY_CONSOLE_EMAIL"],
            console_password=access["DIFY_CONSOLE_PASSWORD"],
        )


@pytest.fixture(scope="module")
def app_id(sandbox: Dify) -> str:
    return sandbox.find_app()


@pytest.fixture
def debugger(sandbox: Dify, app_id: str) -> DebuggerApi:
    return sandbox.debugger(app_id)


@pytest.fixture
def overridden(sandbox: Dify, app_id: str) -> dict[str, Any]:
    """The published configuration with another model, temperature 0.11 and max_tokens 77."""
    return override_model(
        sandbox.console.app_model_config(app_id),
        model=(PROVIDER, BRIEF),
        temperature=0.11,
        max_tokens=77,
        rules=sandbox.console.parameter_rules(PROVIDER, BRIEF),
    )


def question(query: str, **more: Any) -> dict[str, Any]:
    return {"query": query, "user": "alice", "inputs": INPUTS, **more}


def received(sandbox: Dify, app_id: str, message_id: str) -> dict[str, Any]:
    """What the model received for a message: `model`, `params`, `messages`."""
    path = f"/console/api/apps/{app_id}/chat-messages/{message_id}/model-request"
    shown: dict[str, Any] = sandbox.console._console.request("GET", path)
    return shown


def said(request: dict[str, Any]) -> list[str]:
    """The questions that the model got, the earlier ones first."""
    return [message["content"] for message in request["messages"] if message["role"] == "user"]


def test_every_name_of_the_app_leads_to_its_id(sandbox: Dify, app_id: str) -> None:
    assert sandbox.find_app("own") == app_id


def test_model_and_parameters_reach_the_model_in_the_turn_that_asks_and_not_in_the_next(
    sandbox: Dify, app_id: str, debugger: DebuggerApi, overridden: dict[str, Any]
) -> None:
    before = sandbox.console.app_model_config(app_id)
    first = last_event(debugger.stream(question("第一问", model_config=overridden)))
    asked = received(sandbox, app_id, first["message_id"])
    assert (asked["model"], asked["params"]) == (BRIEF, {"temperature": 0.11, "num_predict": 77})
    thread = {"conversation_id": first["conversation_id"], "parent_message_id": first["message_id"]}
    second = last_event(debugger.stream(question("第二问", **thread)))
    published = received(sandbox, app_id, second["message_id"])
    assert (published["model"], published["params"]) == (EXTRACTIVE, {})
    assert sandbox.console.app_model_config(app_id) == before


def test_parent_message_id_carries_the_memory(
    sandbox: Dify, app_id: str, debugger: DebuggerApi, overridden: dict[str, Any]
) -> None:
    first = last_event(debugger.stream(question("第一问", model_config=overridden)))
    conversation_id = first["conversation_id"]
    with_parent = last_event(
        debugger.stream(question("第二问", conversation_id=conversation_id, parent_message_id=first["message_id"]))
    )
    without = last_event(debugger.stream(question("第三问", conversation_id=conversation_id)))
    assert said(received(sandbox, app_id, with_parent["message_id"])) == ["第一问", "第二问"]
    assert said(received(sandbox, app_id, without["message_id"])) == ["第三问"]


def test_a_stream_takes_the_same_parameters(
    sandbox: Dify, app_id: str, debugger: DebuggerApi, overridden: dict[str, Any]
) -> None:
    events = list(debugger.stream(question("你好", model_config=overridden)))
    assert events[-1]["event"] == "message_end"
    asked = received(sandbox, app_id, events[0]["message_id"])
    assert (asked["model"], asked["params"]) == (BRIEF, {"temperature": 0.11, "num_predict": 77})


def test_an_answer_of_the_debugger_can_be_stopped(debugger: DebuggerApi) -> None:
    stream = debugger.stream(question("长[[len:5000]][[delay:20]]"))
    events = iter(stream)
    debugger.stop(next(events)["task_id"], "alice")
    rest = list(events)
    assert rest[-1]["event"] == "message_end" and len(rest) < 100


def test_a_message_of_either_way_has_suggested_questions(sandbox: Dify, app_id: str, debugger: DebuggerApi) -> None:
    config = {**sandbox.console.app_model_config(app_id), "suggested_questions_after_answer": {"enabled": True}}
    answer = last_event(debugger.stream(question("葫芦庙在哪里？", model_config=config)))
    suggested = debugger.suggested(answer["message_id"], "alice")
    assert suggested and all(isinstance(each, str) for each in suggested)


@pytest.mark.parametrize("way", ["chat", "debugger"])
def test_a_deleted_conversation_cannot_be_continued(sandbox: Dify, app_id: str, way: str) -> None:
    api: ChatApi | DebuggerApi = sandbox.chat() if way == "chat" else sandbox.debugger(app_id)
    conversation_id = last_event(api.stream(question("你好")))["conversation_id"]
    for _ in range(2):
        api.delete_conversation(conversation_id, "alice")
    with pytest.raises(DifyNotFound):
        api.stream(question("还在吗", conversation_id=conversation_id))


def test_a_rating_is_given_changed_and_withdrawn_more_than_once(sandbox: Dify, app_id: str) -> None:
    chat = sandbox.chat()
    answer = last_event(chat.stream(question("你好")))
    path = f"/console/api/apps/{app_id}/chat-messages?conversation_id={answer['conversation_id']}"

    def rating() -> list[tuple[str, str | None]]:
        [message] = sandbox.console._console.request("GET", path)["data"]
        return [(each["rating"], each["content"]) for each in message["feedbacks"]]

    chat.feedback(answer["message_id"], "alice", "like", "很好")
    assert rating() == [("like", "很好")]
    chat.feedback(answer["message_id"], "alice", "dislike")
    assert rating() == [("dislike", None)]
    for _ in range(2):
        chat.feedback(answer["message_id"], "alice", None)
        assert rating() == []


def test_a_model_that_the_console_does_not_know_is_refused(debugger: DebuggerApi, overridden: dict[str, Any]) -> None:
    unknown = {**overridden, "model": {**overridden["model"], "name": "nope"}}
    with pytest.raises(DifyRejected, match="model.name must be in the specified model list"):
        debugger.stream(question("你好", model_config=unknown))
