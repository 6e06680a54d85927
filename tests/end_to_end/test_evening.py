"""A scripted evening: 3 users, 2 kbs, 2 models, and 60 turns, in one piece or streamed.

In some turns the caller leaves, some fail, and one worker is killed. Afterwards the database has every question, and
every answer or the part of it that arrived, with the right user and in the right order. The rows are the same on
SQLite, PostgreSQL and MariaDB.
"""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import create_engine, select

from config import Config
from route_api.storage.models import Conversation, Message

from ..support.patience import PATIENCE_S
from ..support.running_gateway import Gateway, wait_for

USERS = ("anna", "Anna", "小明😀")
TURNS = 20
LEASE_ENDS_S = 60
"""Seconds; much longer than a lease."""
SLOW = "[[len:2000]][[delay:30]]"

KBS = {
    "供水": "水费每季度收取一次，逾期三十天未缴的用户每日加收千分之五的滞纳金。",
    "红楼": "葫芦庙在姑苏城阊门外十里街的仁清巷内，因地方窄狭，人皆呼作葫芦庙。",
}


class Evening:
    """The turns of one user, the same in each run."""

    def __init__(self, gateway: Gateway, user_id: str, kb_ids: dict[str, str]) -> None:
        self.gateway = gateway
        self.user_id = user_id
        self.kb_ids = kb_ids
        self.conversations: dict[str, str] = {}
        self.expected: list[tuple[str, str, str]] = []
        """Conversation, question and status of each turn, in order."""

    def play(self) -> None:
        for number in range(1, TURNS + 1):
            self.turn(number)

    def turn(self, number: int) -> None:
        thread = ("plain", "供水", "红楼")[number % 3]
        question = f"{self.user_id}的第{number}个问题🌊：" + {"供水": "水费多久收一次？", "红楼": "葫芦庙在哪里？"}.get(
            thread, "你好"
        )
        wish: dict[str, Any] = {}
        if number % 5 == 0:
            wish = {"model_name": "sandbox-extractive-brief", "temperature": 0.11}
        if number == 7:
            self.expect(thread, question + "[[fail:rate]]", "failed", streaming=False, **wish)
        elif number in (9, 14) and not (number == 14 and self.user_id == USERS[0]):
            self.leave(thread, f"{question}{SLOW}", **wish)
        else:
            self.expect(thread, question, "done", streaming=number % 2 == 0, **wish)

    def body(self, thread: str, question: str, **given: Any) -> dict[str, Any]:
        body = {"user_id": self.user_id, "query": question, "conversation_id": self.conversations.get(thread), **given}
        return {**body, "kb_id": self.kb_ids.get(thread)}

    def expect(self, thread: str, question: str, status: str, **given: Any) -> None:
        answer = self.ask(self.body(thread, question, **given))
        if status == "done":
            self.conversations[thread] = answer["conversation_id"]
            assert answer["answer"], question
        self.expected.append((thread, question, status))

    def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.gateway.http.post(f"{self.gateway.base}/chat/chat", json=body, timeout=PATIENCE_S)
        if not body["streaming"]:
            return answer.json()["data"] or {}
        events = [json.loads(line[6:]) for line in answer.content.split(b"\n\n") if line.startswith(b"data: ")]
        assert events[-1]["data"] is True, events[-1]
        return events[-2]["data"]

    def leave(self, thread: str, question: str, **given: Any) -> None:
        """Ask, read a little, and close the tab."""
        body = self.body(thread, question, streaming=True, **given)
        with requests.post(f"{self.gateway.base}/chat/chat", json=body, stream=True, timeout=PATIENCE_S) as answer:
            lines = (line for line in answer.iter_lines() if line.startswith(b"data: "))
            first = json.loads(next(lines)[6:])["data"]
            for _ in range(5):
                next(lines)
        self.conversations[thread] = first["conversation_id"]
        self.expected.append((thread, question, "stopped"))
        wait_for(lambda: self.status_of(first["message_id"]) != "pending", 30)

    def status_of(self, message_id: str) -> str:
        return self.gateway.get("message/get", user_id=self.user_id, message_id=message_id)["data"]["status"]

    def lose_a_worker(self) -> str:
        """Ask, kill the worker in the middle of the answer, and return the id of the message."""
        question = f"{self.user_id}在被杀死的进程里问🔪{SLOW}"
        body = {"user_id": self.user_id, "query": question, "stream": True}
        with requests.Session() as session:
            answer = session.post(f"{self.gateway.base}/chat/chat", json=body, stream=True, timeout=PATIENCE_S)
            lines = answer.iter_lines()
            first = json.loads(next(lines)[6:])["data"]
            time.sleep(2.2)
            self.gateway.kill_worker_of(answer)
            with pytest.raises(requests.RequestException):
                list(lines)
        self.conversations["killed"] = first["conversation_id"]
        self.expected.append(("killed", question, "failed"))
        return first["message_id"]


@pytest.fixture(scope="module")
def gateway_on(class_and_database: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway on a new database of each kind."""
    worker_class, database_url = class_and_database
    running = Gateway(tmp_path_factory.mktemp("evening"), database_url, WORKER_CLASS=worker_class)
    running.start()
    yield running
    assert running.stop() == 0


def test_a_scripted_evening_leaves_everything_where_it_belongs(gateway_on: Gateway, tmp_path: Path) -> None:
    gateway = gateway_on
    kb_ids = {}
    for name, text in KBS.items():
        path = tmp_path / f"{name}.txt"
        path.write_text(text)
        kb_ids[name] = gateway.create_kb(name)
        gateway.wait_until_indexed(kb_ids[name], gateway.upload(kb_ids[name], path)["batch"])

    evenings = [Evening(gateway, user_id, kb_ids) for user_id in USERS]
    killed_message = evenings[0].lose_a_worker()
    players = [threading.Thread(target=evening.play) for evening in evenings]
    for player in players:
        player.start()
    for player in players:
        player.join(PATIENCE_S)

    expected = {(evening.user_id, question): status for evening in evenings for _, question, status in evening.expected}
    assert len(expected) == len(USERS) * TURNS + 1
    assert sorted(expected.values()).count("stopped") == 5 and sorted(expected.values()).count("failed") == 3 + 1

    wait_for(lambda: evenings[0].status_of(killed_message) == "failed", LEASE_ENDS_S)
    stored = read_database(gateway)
    assert {(row.user_id, row.query) for row in stored} == set(expected)
    for row in stored:
        status = expected[row.user_id, row.query]
        if "杀死" not in row.query:
            assert row.meta_data["status"] == status, row.query
        assert bool(row.response) == ("[[fail" not in row.query), row.query
        if status == "stopped":
            assert row.response.startswith("<think>") and len(row.response) < 1500
    for evening in evenings:
        check_order(evening, stored)

    again = gateway.post(
        "chat/chat",
        user_id=USERS[0],
        query="还在吗？",
        conversation_id=evenings[0].conversations["killed"],
    )
    assert again["data"]["is_new_conversation"] is False


def check_order(evening: Evening, stored: list[Any]) -> None:
    """Check that each conversation has the questions of its user, in the order in which they were asked."""
    mine = [row for row in stored if row.user_id == evening.user_id]
    asked = [question for _, question, _ in evening.expected]
    by_conversation: dict[str, list[Any]] = {}
    for row in mine:
        by_conversation.setdefault(row.conversation_id, []).append(row)
    for rows in by_conversation.values():
        assert [row.position for row in rows] == list(range(1, len(rows) + 1))
        places = [asked.index(row.query) for row in rows]
        assert places == sorted(places)


def read_database(gateway: Gateway) -> list[Any]:
    """Every message with its owner, by conversation and position."""
    engine = create_engine(Config.load(DATABASE_URL=gateway.database_url).database_uri)
    rows = (
        select(Conversation.user_id, Message.conversation_id, Message.position, Message.query)
        .add_columns(Message.response, Message.meta_data)
        .join(Message)
        .order_by(Message.conversation_id, Message.position)
    )
    with engine.connect() as connection:
        found = list(connection.execute(rows))
    engine.dispose()
    return found


def test_an_answer_of_20000_characters_is_stored_whole(gateway_on: Gateway) -> None:
    answer = gateway_on.post("chat/chat", user_id="long", query="[[len:20000]][[delay:0]]长")["data"]
    assert len(answer["answer"]) > 20_000
    (row,) = (row for row in read_database(gateway_on) if row.user_id == "long")
    assert row.response == answer["answer"]
    message = gateway_on.get("message/get", user_id="long", message_id=answer["message_id"])["data"]
    assert message["response"] == answer["answer"]
