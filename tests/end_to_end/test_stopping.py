"""SIGTERM: running requests get time to finish. Requests that take longer are ended and stored."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any

import pytest
import requests

from ..support.patience import PATIENCE_S
from ..support.running_gateway import Gateway, wait_for

GRACE_S = 8

QUESTIONS = {
    "short": ("[[len:60]][[delay:100]]短", True),
    "long": ("[[len:3000]][[delay:50]]长", True),
    "between": ("[[len:800]][[delay:60000]]词与词之间", True),
    "silent": ("[[slow:60]]还没开口", True),
    "blocking": ("[[len:3000]][[delay:50]]整个", False),
}


@dataclass
class Stop:
    """The observations of a gateway that was stopped while it answered."""

    bodies: dict[str, bytes] = field(default_factory=dict)
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    readiness: tuple[int, dict[str, Any]] = (0, {})
    was_writing_short: bool = False
    exit_status: int | None = None

    def events(self, user_id: str) -> list[dict[str, Any]]:
        blocks = self.bodies[user_id].split(b"\n\n")
        return [json.loads(block[6:]) for block in blocks if block.startswith(b"data: ")]


@pytest.fixture(scope="module")
def stop(worker_class: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stop]:
    """Six callers ask, of whom one does not read. Then SIGTERM is sent twice, and the gateway is started again."""
    gateway = Gateway(tmp_path_factory.mktemp("stopping"), WORKER_CLASS=worker_class, STOP_GRACE=str(GRACE_S))
    gateway.start()
    seen = Stop()
    callers = {user_id: threading.Thread(target=ask, args=(gateway, seen, user_id)) for user_id in QUESTIONS}
    with ask_and_never_read(gateway), closing(
        HTTPConnection("127.0.0.1", gateway.port, timeout=PATIENCE_S)
    ) as connection:
        connection.connect()
        for user_id in QUESTIONS.keys() - {"short"}:
            callers[user_id].start()
        for user_id in (*QUESTIONS.keys() - {"short"}, "deaf"):
            wait_for(lambda: last_message(gateway, user_id) is not None)
        wait_for(lambda: has_words(gateway, "long") and has_words(gateway, "deaf"))
        time.sleep(2)  # By now the answer to the caller who does not read has filled the buffers.
        callers["short"].start()
        wait_for(lambda: has_words(gateway, "short"))
        seen.was_writing_short = (last_message(gateway, "short") or {})["status"] == "pending"
        gateway.terminate()
        seen.readiness = readiness_while_stopping(connection)
        gateway.terminate()
        seen.exit_status = gateway.wait()
    for caller in callers.values():
        caller.join(PATIENCE_S)
    gateway.start()
    seen.messages = {user_id: last_message(gateway, user_id) or {} for user_id in (*QUESTIONS, "deaf")}
    yield seen
    assert gateway.stop() == 0


def ask(gateway: Gateway, seen: Stop, user_id: str) -> None:
    query, streaming = QUESTIONS[user_id]
    body = {"user_id": user_id, "query": query, "stream": streaming}
    seen.bodies[user_id] = requests.post(f"{gateway.base}/chat/chat", json=body, timeout=PATIENCE_S).content


def ask_and_never_read(gateway: Gateway) -> socket.socket:
    """Ask, and read nothing. The connection's buffers are full before the answer is complete, so the gateway waits."""
    body = json.dumps(
        {"user_id": "deaf", "query": "[[len:200000]]听而不闻", "stream": True, "stream_mode": "cumulative"}
    )
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    connection.connect(("127.0.0.1", gateway.port))
    head = "POST /v1/chat/chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(body.encode())}\r\n\r\n{body}".encode())
    return connection


def readiness_while_stopping(connection: HTTPConnection) -> tuple[int, dict[str, Any]]:
    """Ask `/readyz` repeatedly, so that the connection is never closed as idle."""
    for _ in range(200):
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = json.loads(answer.read())
        if answer.status != 200:
            return answer.status, body
        time.sleep(0.02)
    raise AssertionError("the gateway was ready all the time")


def last_message(gateway: Gateway, user_id: str) -> dict[str, Any] | None:
    conversations = gateway.get("conversation/list", user_id=user_id)["data"]["conversations"]
    if not conversations:
        return None
    ids = {"user_id": user_id, "conversation_id": conversations[0]["conversation_id"]}
    return gateway.get("conversation/messages", **ids)["data"]["messages"][-1]


def has_words(gateway: Gateway, user_id: str) -> bool:
    message = last_message(gateway, user_id)
    return bool(message and message["response"])


def test_a_second_sigterm_does_no_harm_and_the_process_ends_by_itself(stop: Stop) -> None:
    assert stop.exit_status == 0


def test_a_stream_that_is_shorter_than_the_grace_time_ends_as_ever(stop: Stop) -> None:
    assert stop.was_writing_short
    *_, last, end = stop.events("short")
    assert end["data"] is True and last["data"]["status"] == "done"
    assert stop.messages["short"]["status"] == "done"
    assert stop.messages["short"]["response"] == last["data"]["answer"]


@pytest.mark.parametrize("user_id", ["long", "between"])
def test_a_longer_stream_ends_with_a_failure_and_what_came_is_stored(stop: Stop, user_id: str) -> None:
    *deltas, failure = stop.events(user_id)
    assert (failure["code"], failure["error"]) == (-1, "gateway_stopped")
    message = stop.messages[user_id]
    assert (message["status"], message["reason"]) == ("stopped", "gateway_stopped")
    assert message["response"] == "".join(event["data"]["answer"] for event in deltas) != ""
    assert failure["data"]["message_id"] == message["message_id"]


@pytest.mark.parametrize("user_id, status", [("silent", "failed"), ("blocking", "stopped")])
def test_an_answer_in_one_piece_fails_in_the_envelope_and_what_came_is_stored(
    stop: Stop, user_id: str, status: str
) -> None:
    body = json.loads(stop.bodies[user_id])
    assert (body["code"], body["error"]) == (-1, "gateway_stopped")
    message = stop.messages[user_id]
    assert (message["status"], message["reason"]) == (status, "gateway_stopped")
    assert bool(message["response"]) is (user_id == "blocking")
    assert message["query"] == QUESTIONS[user_id][0]


def test_a_caller_who_does_not_read_holds_nothing_up(stop: Stop) -> None:
    message = stop.messages["deaf"]
    assert (message["status"], message["reason"]) == ("stopped", "gateway_stopped")
    assert message["response"]


def test_a_stopping_gateway_wants_no_more_requests(stop: Stop) -> None:
    status, body = stop.readiness
    assert (status, body["error"], body["message"]) == (503, "not_ready", "The gateway is stopping.")
