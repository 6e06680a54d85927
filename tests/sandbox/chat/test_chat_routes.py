"""The sandbox's chat: memory, stopping, a client that goes away, what the model received, restarts."""

import threading
import time

import pytest

from ...support.patience import PATIENCE_S
from ...support.sandbox_chat import MODEL, PROMPT, Sandbox, events_of, form, stop_after_first_event

LONG = "长[[len:800]][[delay:20]][[nothink]]"


def messages_of(sandbox: Sandbox, conversation_id: str, user: str = "alice") -> list[dict[str, object]]:
    """The stored messages of a conversation."""
    query = {"conversation_id": conversation_id, "user": user}
    return sandbox.service("GET", "/messages", query_string=query).json["data"]


def stream(sandbox: Sandbox, query: str = LONG):
    """A streaming question of alice."""
    body = {"inputs": {}, "query": query, "user": "alice", "response_mode": "streaming"}
    return sandbox.service("POST", "/chat-messages", json=body)


def model_request(sandbox: Sandbox, app_id: str, message_id: str) -> dict[str, object]:
    """What the model received for a message."""
    answer = sandbox.console("GET", f"/apps/{app_id}/chat-messages/{message_id}/model-request")
    return answer.json


def test_a_stopped_answer_ends_at_once_and_its_part_is_stored(sandbox: Sandbox) -> None:
    started = time.monotonic()
    text = stop_after_first_event(
        stream(sandbox, "长[[len:800]][[delay:300]][[nothink]]"),
        lambda task_id: sandbox.service("POST", f"/chat-messages/{task_id}/stop", json={"user": "alice"}),
    )
    assert time.monotonic() - started < 60, "the whole answer would take four minutes"
    events = events_of(text)
    said = "".join(event.get("answer", "") for event in events)
    (stored,) = messages_of(sandbox, events[0]["conversation_id"])
    assert stored["answer"] == said != ""
    assert (events[-1]["event"], stored["status"]) == ("message_end", "normal")


def test_only_the_same_user_can_stop_an_answer(sandbox: Sandbox) -> None:
    text = stop_after_first_event(
        stream(sandbox, "长[[len:100]][[nothink]]"),
        lambda task_id: sandbox.service("POST", f"/chat-messages/{task_id}/stop", json={"user": "mallory"}),
    )
    said = "".join(event.get("answer", "") for event in events_of(text))
    assert len(said) >= 100


def test_a_client_that_goes_away_leaves_the_part_that_came(sandbox: Sandbox) -> None:
    answer = stream(sandbox)
    chunks = answer.iter_encoded()
    first = events_of(next(chunks).decode())[0]
    answer.close()
    (stored,) = messages_of(sandbox, first["conversation_id"])
    assert stored["answer"] == first["answer"]


def test_a_failure_in_mid_answer_is_stored_with_its_text(sandbox: Sandbox) -> None:
    events = events_of(stream(sandbox, "讲一讲[[midfail]]").text)
    (stored,) = messages_of(sandbox, events[0]["conversation_id"])
    assert (stored["status"], stored["error"]) == ("error", "injected mid-stream failure: unavail")
    assert stored["answer"]


def test_the_first_event_leaves_with_the_first_word(sandbox: Sandbox) -> None:
    started = time.monotonic()
    next(stream(sandbox, "长[[len:800]][[delay:200]]").iter_encoded())
    assert time.monotonic() - started < 60, "the whole answer would take minutes"


def test_the_model_receives_every_earlier_turn_in_order(sandbox: Sandbox) -> None:
    app_id, key = sandbox.make_app(pre_prompt=PROMPT, user_input_form=form(instructions={}, context={}, history={}))
    conversation_id, answers = "", []
    for number in range(3):
        turn = sandbox.ask(f"第{number}问[[nothink]]", key, conversation_id=conversation_id, inputs={"context": "甲"})
        conversation_id = turn["conversation_id"]
        answers.append(turn["answer"])
    request = model_request(sandbox, app_id, turn["message_id"])
    assert request["model"] == "sandbox-extractive"
    assert [message["content"] for message in request["messages"]] == [
        "None\n\n已知资料：\n甲\n\n历史对话：\nNone\n",
        "第0问[[nothink]]",
        answers[0],
        "第1问[[nothink]]",
        answers[1],
        "第2问[[nothink]]",
    ]


@pytest.mark.parametrize(
    "inputs, system",
    [
        (
            {
                "instructions": "说{{context}}和{{query}}和{single}",
                "context": "密",
                "history": "{{#histories#}}",
            },
            "说{context}和{query}和{single}\n\n已知资料：\n密\n\n历史对话：\n{#histories#}\n",
        ),
        ({"instructions": None, "context": "c"}, "None\n\n已知资料：\nc\n\n历史对话：\nNone\n"),
        ({"instructions": "", "context": "", "history": ""}, "\n\n已知资料：\n\n\n历史对话：\n\n"),
    ],
    ids=["inputs/value-with-braces", "inputs/value-null", "all empty"],
)
def test_the_prompt_is_filled_as_dify_fills_it(sandbox: Sandbox, inputs: dict[str, str], system: str) -> None:
    app_id, key = sandbox.make_app(pre_prompt=PROMPT, user_input_form=form(instructions={}, context={}, history={}))
    turn = sandbox.ask(key=key, inputs=inputs)
    request = model_request(sandbox, app_id, turn["message_id"])
    assert request["messages"][0] == {"role": "system", "content": system}


def test_the_debugger_s_overrides_reach_the_model_and_leave_the_app_alone(sandbox: Sandbox) -> None:
    app_id, _ = sandbox.make_app()
    before = sandbox.console("GET", f"/apps/{app_id}").json
    model = MODEL | {
        "name": "sandbox-extractive-brief",
        "completion_params": {"temperature": 0.11, "num_predict": 77, "stop": ["END"]},
    }
    override = {"model": model, "pre_prompt": "你是{{role}}。", "user_input_form": form(role={})}
    turn = sandbox.debug(app_id, "介绍自己", model_config=override, inputs={"role": "水务专家"})
    assert model_request(sandbox, app_id, turn["message_id"]) == {
        "model": "sandbox-extractive-brief",
        "params": {"temperature": 0.11, "num_predict": 77},
        "messages": [
            {"role": "system", "content": "你是水务专家。\n"},
            {"role": "user", "content": "介绍自己"},
        ],
    }
    assert sandbox.console("GET", f"/apps/{app_id}").json == before


def test_num_predict_makes_the_answer_shorter(sandbox: Sandbox) -> None:
    app_id, _ = sandbox.make_app()
    short = MODEL | {"completion_params": {"num_predict": 10}}
    answers = [
        sandbox.debug(app_id, model_config={"model": model})["answer"].partition("</think>\n\n")[2]
        for model in (MODEL, short)
    ]
    assert answers[1] == answers[0][:10]


def test_the_debugger_remembers_the_thread_of_the_parent_only(sandbox: Sandbox) -> None:
    app_id, _ = sandbox.make_app()
    first = sandbox.debug(app_id, "一")
    conversation = {"conversation_id": first["conversation_id"]}
    branch = sandbox.debug(app_id, "二", parent_message_id=first["message_id"], **conversation)
    other_branch = sandbox.debug(app_id, "乙", parent_message_id=first["message_id"], **conversation)
    without = sandbox.debug(app_id, "三", **conversation)
    asked = {
        turn["message_id"]: [
            message["content"]
            for message in model_request(sandbox, app_id, turn["message_id"])["messages"]
            if message["role"] == "user"
        ]
        for turn in (branch, other_branch, without)
    }
    assert list(asked.values()) == [["一", "二"], ["一", "乙"], ["三"]]


def test_a_dataset_of_the_app_gives_the_model_its_passages(sandbox: Sandbox) -> None:
    dataset_id = sandbox.make_dataset()
    bound = {"datasets": {"datasets": [{"dataset": {"enabled": True, "id": dataset_id}}]}}
    _, key = sandbox.make_app(dataset_configs={"retrieval_model": "multiple", "top_k": 2, **bound})
    turn = sandbox.ask("葫芦庙里寄居着谁？", key)
    resource, *_ = turn["metadata"]["retriever_resources"]
    assert "穷儒" in resource["content"] and resource["document_name"] == "葫芦庙.txt"
    assert "「葫芦庙内寄居着一个穷儒，姓贾名化。」" in turn["answer"]


def test_a_deleted_conversation_is_gone_whoever_deletes_it(sandbox: Sandbox) -> None:
    turn = sandbox.ask()
    path = f"/conversations/{turn['conversation_id']}"
    assert sandbox.service("DELETE", path, json={"user": "mallory"}).status_code == 204
    assert sandbox.service("GET", "/conversations?user=alice").json["data"] == []


def test_pages_of_conversations_hold_each_once(sandbox: Sandbox) -> None:
    made = [sandbox.ask(f"{number}")["conversation_id"] for number in range(5)]
    seen: list[str] = []
    while True:
        query = {"user": "alice", "limit": 2, **({"last_id": seen[-1]} if seen else {})}
        page = sandbox.service("GET", "/conversations", query_string=query).json
        seen += [row["id"] for row in page["data"]]
        if not page["has_more"]:
            break
    assert seen == made[::-1]


def test_pages_of_messages_go_back_in_time(sandbox: Sandbox) -> None:
    conversation_id, made = "", []
    for number in range(5):
        turn = sandbox.ask(f"{number}", conversation_id=conversation_id)
        conversation_id = turn["conversation_id"]
        made.append(turn["message_id"])
    seen: list[str] = []
    while True:
        query = {"user": "alice", "conversation_id": conversation_id, "limit": 2}
        page = sandbox.service("GET", "/messages", query_string=query | ({"first_id": seen[0]} if seen else {})).json
        seen = [row["id"] for row in page["data"]] + seen
        if not page["has_more"]:
            break
    assert seen == made


def test_everything_is_there_after_a_restart(sandbox: Sandbox) -> None:
    turn = sandbox.ask("第一问")
    restarted = Sandbox(sandbox.data_dir, sandbox.credentials)
    assert messages_of(restarted, turn["conversation_id"]) == messages_of(sandbox, turn["conversation_id"])
    again = restarted.ask("我刚才问了什么？", conversation_id=turn["conversation_id"])
    assert "「第一问」" in again["answer"]


def test_sixteen_streams_at_once_are_all_whole(sandbox: Sandbox) -> None:
    texts: list[str] = []

    def read() -> None:
        texts.append(stream(sandbox, "长[[len:200]][[delay:1]][[nothink]]").text)

    threads = [threading.Thread(target=read) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE_S)
    assert [events_of(text)[-1]["event"] for text in texts] == ["message_end"] * 16
    assert all(len("".join(event.get("answer", "") for event in events_of(text))) >= 200 for text in texts)


def test_the_gateway_s_own_app_suggests_questions(sandbox: Sandbox) -> None:
    turn = sandbox.ask()
    answer = sandbox.service("GET", f"/messages/{turn['message_id']}/suggested", query_string={"user": "alice"})
    assert (answer.status_code, len(answer.json["data"])) == (200, 3)
    assert sandbox.service("GET", "/parameters").json["suggested_questions_after_answer"] == {"enabled": True}


def test_the_ratings_of_all_users_are_listed_page_by_page_newest_first(sandbox: Sandbox) -> None:
    rated = {}
    for user, rating in (("alice", "like"), ("bob", "dislike"), ("carol", "like")):
        body = {"inputs": {}, "query": "你好", "user": user}
        message_id = sandbox.service("POST", "/chat-messages", json=body).json["message_id"]
        path = f"/messages/{message_id}/feedbacks"
        for sent in ("like", rating):
            body = {"rating": sent, "user": user, "content": user}
            assert sandbox.service("POST", path, json=body).status_code == 200
        rated[message_id] = (rating, user)

    def page(**query: int) -> dict[str, tuple[str, str]]:
        data = sandbox.service("GET", "/app/feedbacks", query_string=query).json["data"]
        return {each["message_id"]: (each["rating"], each["content"]) for each in data}

    assert page() == rated
    assert page(limit=2) | page(limit=2, page=2) == rated
    assert (len(page(limit=2)), len(page(limit=2, page=2)), page(page=2)) == (2, 1, {})
    last = list(rated)[-1]
    sandbox.service("POST", f"/messages/{last}/feedbacks", json={"rating": None, "user": "carol"})
    assert last not in page()
    assert sandbox.service("GET", "/app/feedbacks", query_string={"limit": 102}).status_code == 400
