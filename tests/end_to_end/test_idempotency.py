"""The header Idempotency-Key over real connections, on each database: resets, crashes, and two requests at once."""

import json
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import orjson
import pytest
import requests
from sqlalchemy import create_engine, text

from config import Config
from route_api.storage.models import utc_now

from ..support.event_streams import CHUNKED_HEAD, chunk
from ..support.loopback import Loopback, answer, loopback, reset
from ..support.patience import PATIENCE_S
from ..support.recordings import load
from ..support.running_gateway import Gateway, wait_for
from ..support.settings import KEYS

VERSION = "1.12.1"
KB_ID = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"
FILE = "第一回 甄士隐梦幻识通灵".encode()


class Dify:
    """A Dify on loopback that carries out a request and then, at the first time, fails as the question or name says.

    `reset` breaks the connection before it answers; `hang` stops in the middle of a stream; `slow` takes a second.

    :ivar questions: how often each question was asked
    """

    def __init__(self) -> None:
        self.questions: Counter[str] = Counter()
        self.documents: list[dict[str, Any]] = []
        self.uploads = 0

    def __call__(self, connection: socket.socket, request: bytes) -> None:
        head, _, body = request.partition(b"\r\n\r\n")
        method, path = head.decode().split(" ")[:2]
        if path.endswith("/stop"):
            connection.sendall(answer(b'{"result":"success"}'))
        elif path == "/v1/chat-messages":
            self._chat(connection, orjson.loads(body))
        elif path.endswith("create-by-file"):
            self._upload(connection, body)
        elif "/documents?" in path:
            connection.sendall(answer(orjson.dumps({"data": self.documents[::-1], "total": len(self.documents)})))
        elif path == "/v1/parameters":
            connection.sendall(recorded("chat/parameters-without-variables"))
        elif path == "/v1/info":
            connection.sendall(recorded("chat/info"))
        else:
            connection.sendall(answer(b'{"code":"not_found","message":"none","status":404}', "404 Not Found"))

    def _chat(self, connection: socket.socket, body: dict[str, Any]) -> None:
        question = body["query"]
        self.questions[question] += 1
        is_first = self.questions[question] == 1
        if "slow" in question:
            time.sleep(1)
        if is_first and "reset" in question:
            reset(connection)
        else:
            stream = load(VERSION, "chat/streaming-second-turn")["response"]["body"].encode()
            if is_first and "hang" in question:
                connection.sendall(CHUNKED_HEAD + chunk(stream[: stream.index(b"\n\n", 600) + 2]))
                connection.recv(1)
            else:
                connection.sendall(CHUNKED_HEAD + chunk(stream) + chunk(b""))

    def _upload(self, connection: socket.socket, form: bytes) -> None:
        self.uploads += 1
        created = load(VERSION, "documents/create-by-file-txt-chinese-name")["response"]["body"]
        found = re.search(rb'filename="([^"]*)"', form)
        assert found
        document = {
            **created["document"],
            "id": str(uuid4()),
            "name": found[1].decode(),
            "indexing_status": "completed",
            "created_at": int(time.time()),
        }
        document["data_source_detail_dict"]["upload_file"]["size"] = len(FILE)
        is_first = document["name"] not in [other["name"] for other in self.documents]
        self.documents.append(document)
        if is_first and "reset" in document["name"]:
            reset(connection)
        else:
            connection.sendall(answer(orjson.dumps({**created, "document": document})))


def recorded(case: str) -> bytes:
    return answer(orjson.dumps(load(VERSION, case)["response"]["body"]), headers=f"X-Version: {VERSION}\r\n")


@pytest.fixture(scope="module")
def dify() -> Dify:
    return Dify()


@pytest.fixture(scope="module")
def address(dify: Dify) -> Iterator[Loopback]:
    with loopback(dify) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(
    class_and_database: tuple[str, str], address: Loopback, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A gateway with each class of worker and on each database."""
    worker_class, database_url = class_and_database
    settings = {**KEYS, "DIFY_BASE_URL": address.url, "AUTH": "open", "WORKER_CLASS": worker_class}
    gateway = Gateway(tmp_path_factory.mktemp("gateway"), database_url, **settings)
    gateway.start()
    yield gateway
    assert gateway.stop() == 0


def ask(gateway: Gateway, key: str, message: str, **more: Any) -> requests.Response:
    body = {"user_id": "alice", "message": message, **more}
    headers = {"Idempotency-Key": key}
    return requests.post(
        f"{gateway.base}/conversation/completion", json=body, headers=headers, stream=True, timeout=PATIENCE_S
    )


def events(response: requests.Response) -> list[Any]:
    with response:
        return [json.loads(line[6:]) for line in response.iter_lines() if line.startswith(b"data: ")]


def key_and_question(word: str) -> tuple[str, str]:
    key = str(uuid4())
    return key, f"{word} {key}"


def execute(gateway: Gateway, statement: str, **parameters: Any) -> None:
    engine = create_engine(Config.load(DATABASE_URL=gateway.database_url).database_uri)
    with engine.begin() as connection:
        connection.execute(text(statement), parameters)
    engine.dispose()


def lease_of_last_key(gateway: Gateway) -> Any:
    engine = create_engine(Config.load(DATABASE_URL=gateway.database_url).database_uri)
    with engine.begin() as connection:
        row = connection.execute(text("SELECT leased_until FROM idempotent_request ORDER BY create_time DESC")).first()
    engine.dispose()
    assert row is not None
    return row[0]


def test_of_two_requests_at_once_one_asks_the_model(gateway: Gateway, dify: Dify) -> None:
    key, question = key_and_question("slow")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(gateway, key, question), range(4)))
    assert sorted(each.status_code for each in answers) == [200, 409, 409, 409]
    assert {each.json().get("error") for each in answers} == {None, "request_in_progress"}
    (success,) = [each for each in answers if each.ok]
    repeat = ask(gateway, key, question)
    assert (repeat.headers["Idempotent-Replayed"], repeat.json()["data"]) == ("true", success.json()["data"])
    assert dify.questions[question] == 1


def test_after_a_reset_the_repeat_asks_once_more_and_the_next_repeat_no_more(gateway: Gateway, dify: Dify) -> None:
    key, question = key_and_question("reset")
    assert ask(gateway, key, question).status_code == 502
    second, third = ask(gateway, key, question), ask(gateway, key, question)
    assert (second.status_code, third.json()["data"]) == (200, second.json()["data"])
    assert dify.questions[question] == 2
    conversation_id = second.json()["data"]["conversation_id"]
    rows = gateway.get("conversation/messages", user_id="alice", conversation_id=conversation_id)["data"]["messages"]
    assert [(row["query"], row["status"]) for row in rows] == [(question, "failed"), (question, "done")]
    gateway.post("conversation/rm", user_id="alice", conversation_id=conversation_id)
    assert "Idempotent-Replayed" not in ask(gateway, key, question).headers


def test_a_repeated_stream_is_a_stream(gateway: Gateway, dify: Dify) -> None:
    key, question = key_and_question("stream")
    *_, last, end = events(ask(gateway, key, question, streaming=True))
    piece, *last_again = events(ask(gateway, key, question, streaming=True))
    assert piece["data"]["answer"] == last["data"]["answer"]
    assert [event["data"] for event in last_again] == [last["data"], end["data"]]
    assert dify.questions[question] == 1


def test_after_a_crash_in_the_middle_the_repeat_waits_for_the_lease_and_then_asks_again(
    gateway: Gateway, dify: Dify
) -> None:
    key, question = key_and_question("hang")
    broken = ask(gateway, key, question, streaming=True)
    lines = broken.iter_lines()
    ids = json.loads(next(lines)[6:])["data"]
    gateway.kill_worker_of(broken)
    waiting = ask(gateway, key, question, streaming=True)
    assert (waiting.status_code, waiting.json()["error"]) == (409, "request_in_progress")
    past = utc_now() - timedelta(seconds=1)
    execute(gateway, "UPDATE idempotent_request SET leased_until = :past WHERE leased_until IS NOT NULL", past=past)
    execute(gateway, "UPDATE message SET claimed_until = :past WHERE claimed_until IS NOT NULL", past=past)
    *_, last, end = events(ask(gateway, key, question, streaming=True))
    assert end["data"] is True and last["data"]["conversation_id"] == ids["conversation_id"]
    assert events(ask(gateway, key, question, streaming=True))[1]["data"] == last["data"]
    assert dify.questions[question] == 2


def test_the_lease_of_a_running_request_is_renewed(gateway: Gateway, dify: Dify) -> None:
    key, question = key_and_question("hang")
    running = ask(gateway, key, question, streaming=True)
    lines = running.iter_lines()
    assert next(lines)
    before = lease_of_last_key(gateway)
    wait_for(lambda: lease_of_last_key(gateway) not in (None, before))
    assert ask(gateway, key, question, streaming=True).status_code == 409
    running.close()
    wait_for(lambda: lease_of_last_key(gateway) is None)


def test_an_upload_that_met_a_reset_is_found_and_not_uploaded_again(gateway: Gateway, dify: Dify) -> None:
    name, key = f"reset {uuid4()}.txt", str(uuid4())

    def upload() -> requests.Response:
        headers = {"Idempotency-Key": key}
        url = f"{gateway.base}/document/upload"
        return requests.post(url, {"kb_id": KB_ID}, files={"file": (name, FILE)}, headers=headers, timeout=PATIENCE_S)

    uploads = dify.uploads
    assert upload().status_code == 502
    second, third = upload(), upload()
    assert second.json()["data"][0]["name"] == name, second.text
    assert (third.content, third.headers["Idempotent-Replayed"]) == (second.content, "true")
    assert dify.uploads - uploads == 1


def test_a_repeated_raw_upload_of_some_size_gets_its_answer(gateway: Gateway, dify: Dify) -> None:
    key, content = str(uuid4()), b"x" * 5_000_000

    def upload() -> requests.Response:
        url, headers = f"{gateway.base}/datasets/{KB_ID}/document/create_by_file", {"Idempotency-Key": key}
        return requests.post(url, files={"file": ("raw.txt", content)}, headers=headers, timeout=PATIENCE_S)

    uploads = dify.uploads
    first, repeat = upload(), upload()
    assert (first.status_code, repeat.content) == (200, first.content)
    assert dify.uploads - uploads == 1
