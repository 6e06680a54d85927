"""The parameters of a turn reach the model, and do not affect the next turn. The sandbox records its model's input."""

import sqlite3
from typing import Any

import pytest

from ..support.running_gateway import Gateway, stream


class Model:
    """The input of the sandbox's model in a turn."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._console = gateway.sandbox_console()
        self._app = f"/apps/{gateway.dify().find_app()}"

    def received(self, conversation_id: str) -> dict[str, Any]:
        """`model`, `params` and `messages` of the latest turn of a conversation of ours."""
        database = sqlite3.connect(self._gateway.data_dir / "gateway.sqlite3")
        rows = database.execute(
            "SELECT dify_message_id FROM message WHERE conversation_id = ? ORDER BY position DESC LIMIT 1",
            [conversation_id.replace("-", "")],
        )
        path = f"{self._app}/chat-messages/{rows.fetchone()[0]}/model-request"
        request: dict[str, Any] = self._console.get(path)
        return request


@pytest.fixture(scope="session")
def worker_class() -> str:
    """The parameters of a turn do not depend on the class of worker."""
    return "gevent"


@pytest.fixture
def model(gateway: Gateway) -> Model:
    return Model(gateway)


def ask(gateway: Gateway, message: str, **given: Any) -> dict[str, Any]:
    return gateway.post("chat/chat", user_id="u-parameters", query=message, **given)["data"]


def texts(received: dict[str, Any], role: str) -> list[str]:
    return [entry["content"] for entry in received["messages"] if entry["role"] == role]


def test_parameters_reach_the_model_in_the_turn_that_asks_and_not_in_the_next(gateway: Gateway, model: Model) -> None:
    first = ask(gateway, "你好")
    ids = {"conversation_id": first["conversation_id"]}
    published = model.received(**ids)
    ask(gateway, "换个模型", temperature=0.11, max_tokens=77, model_name="sandbox-extractive-brief", **ids)
    wished = model.received(**ids)
    assert wished["model"] == "sandbox-extractive-brief"
    assert wished["params"] == {"temperature": 0.11, "num_predict": 77}
    ask(gateway, "换回来", **ids)
    again = model.received(**ids)
    assert (again["model"], again["params"]) == (published["model"], published["params"])


def test_the_memory_survives_every_change_of_the_way(gateway: Gateway, model: Model) -> None:
    first = ask(gateway, "我叫小明")
    ids = {"conversation_id": first["conversation_id"]}
    for number, wish in enumerate([{"temperature": 0.5}, {"temperature": 0.6}, {}, {}], start=2):
        ask(gateway, f"第{number}句", **wish, **ids)
        everything = str(model.received(**ids)["messages"])
        for said in ["我叫小明", *(f"第{earlier}句" for earlier in range(2, number))]:
            assert everything.count(said) >= 1, (number, said)


def test_history_from_the_database_is_the_last_turns_alone(gateway: Gateway, model: Model) -> None:
    first = ask(gateway, "甲问题")
    ids = {"conversation_id": first["conversation_id"]}
    ask(gateway, "乙问题", **ids)
    for wish, heard in (
        ({"history": 1}, {"甲": False, "乙": True}),
        ({"history_len": 0}, {"甲": False, "乙": False}),
        ({"history": [{"role": "user", "content": "丙问题"}]}, {"甲": False, "乙": False, "丙": True}),
    ):
        ask(gateway, "丁问题", **wish, **ids)
        everything = str(model.received(**ids)["messages"])
        assert {name: f"用户：{name}问题" in everything for name in heard} == heard
        assert "<think>" not in everything


def test_a_template_reaches_the_model(gateway: Gateway, model: Model) -> None:
    names = [template["name"] for template in gateway.get("prompt/list")["data"]]
    assert "default" in names and len(names) > 1
    answer = ask(gateway, "今天天气怎样？", prompt_name=names[-1])
    assert "今天天气怎样？" in texts(model.received(answer["conversation_id"]), "user")[-1]


def test_passages_of_several_kbs_reach_the_model_with_their_braces(
    gateway: Gateway, model: Model, tmp_path: Any
) -> None:
    kb_ids = []
    for name, text in (("甲", "甲手册：模板写作 {{context}} 和 {{#query#}}。"), ("乙", "乙手册：模板写作 {single}。")):
        path = tmp_path / f"{name}手册.txt"
        path.write_text(text)
        kb_ids.append(gateway.create_kb(name))
        gateway.wait_until_indexed(kb_ids[-1], gateway.upload(kb_ids[-1], path)["batch"])
    answer = gateway.post("chat/chat", user_id="u-kbs", query="手册里的模板怎么写？", kb_ids=kb_ids)
    assert {reference["kb_id"] for reference in answer["rag_info"]["references"]} == set(kb_ids)
    system = texts(model.received(answer["data"]["conversation_id"]), "system")[0]
    assert "{{context}} 和 {{#query#}}" in system and "{single}" in system


@pytest.mark.parametrize("think", ["drop", "separate"])
@pytest.mark.parametrize("stream_mode", ["delta", "cumulative"])
def test_the_reasoning_stays_out_of_the_answer(gateway: Gateway, think: str, stream_mode: str) -> None:
    asked = {"user_id": "u-think", "message": "你好", "stream": True, "think": think, "stream_mode": stream_mode}
    *pieces, last, end = stream(gateway, asked)
    assert end["data"] is True
    shown = (
        pieces[-1]["data"]["answer"] if stream_mode == "cumulative" else "".join(p["data"]["answer"] for p in pieces)
    )
    assert shown == last["data"]["answer"] == last["data"]["content"]
    assert "think" not in shown
    assert bool(last["data"]["thinking"]) == (think == "separate")
