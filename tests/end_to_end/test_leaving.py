"""Callers who leave, and callers who stop an answer: the model stops, and the part that arrived is kept."""

import json
import time
from http.client import HTTPConnection
from typing import Any

import requests

from ..support.patience import PATIENCE_S
from ..support.running_gateway import Gateway, wait_for

BETWEEN_TOKENS_S = 20
"""Seconds between two tokens of the model. A caller's leaving is detected before the next token, not by it."""


def ask(gateway: Gateway, user_id: str, query: str, **options: Any) -> requests.Response:
    body = {"user_id": user_id, "query": query, "stream": True}
    return requests.post(f"{gateway.base}/chat/chat", json=body, stream=True, timeout=PATIENCE_S, **options)


def last_message(gateway: Gateway, user_id: str) -> dict[str, Any]:
    conversations = gateway.get("conversation/list", user_id=user_id)["data"]["conversations"]
    ids = {"user_id": user_id, "conversation_id": conversations[0]["conversation_id"]}
    return gateway.get("conversation/messages", **ids)["data"]["messages"][-1]


def first_data(answer: requests.Response) -> dict[str, Any]:
    return json.loads(next(line for line in answer.iter_lines() if line)[6:])["data"]


def test_a_caller_who_leaves_is_noticed_before_the_next_token(gateway: Gateway) -> None:
    answer = ask(gateway, "u-between", f"[[len:800]][[delay:{BETWEEN_TOKENS_S * 1000}]]慢")
    piece = first_data(answer)["answer"]
    answer.close()
    wait_for(lambda: last_message(gateway, "u-between")["status"] != "pending", BETWEEN_TOKENS_S / 2)
    message = last_message(gateway, "u-between")
    assert (message["status"], message["reason"], message["response"]) == ("stopped", "caller_left", piece)


def test_a_caller_who_leaves_a_silent_model_stops_it_at_its_first_event(gateway: Gateway) -> None:
    query = "[[slow:3]][[len:3000]][[delay:50]]想一想再说"
    body = json.dumps({"user_id": "u-silent", "query": query, "stream": True})
    connection = HTTPConnection("127.0.0.1", gateway.port, timeout=PATIENCE_S)
    connection.request("POST", "/v1/chat/chat", body, {"Content-Type": "application/json"})
    time.sleep(0.5)
    connection.close()
    wait_for(lambda: last_message(gateway, "u-silent")["status"] != "pending", BETWEEN_TOKENS_S)
    message = last_message(gateway, "u-silent")
    assert (message["status"], message["reason"]) == ("stopped", "caller_left")
    assert len(message["response"]) < 100


def test_stop_ends_the_stream_with_what_had_come(gateway: Gateway) -> None:
    answer = ask(gateway, "u-stop", "[[len:3000]][[delay:50]]长")
    lines = (line for line in answer.iter_lines() if line)
    ids = json.loads(next(lines)[6:])["data"]
    stopped = gateway.post("conversation/stop", user_id="u-stop", conversation_id=ids["conversation_id"])
    assert stopped["data"]["stopped"] is True
    *_, last, end = [json.loads(line[6:]) for line in lines]
    assert end["data"] is True and last["data"]["status"] == "stopped"
    message = last_message(gateway, "u-stop")
    assert (message["status"], message["reason"]) == ("stopped", "stop_requested")
    assert message["response"] == last["data"]["answer"]
    again = gateway.post("conversation/stop", user_id="u-stop", conversation_id=ids["conversation_id"])
    assert again["data"]["stopped"] is False
