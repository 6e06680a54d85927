"""Every wait of a turn has an end: callers who leave or read nothing in each phase, and a Dify that falls silent."""

import json
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import create_engine, select

from config import Config
from route_api.storage.models import Message

from ..support import databases
from ..support.patience import PATIENCE_S
from ..support.running_gateway import Gateway, wait_for
from ..support.silent_dify import MUTE_KB, SILENCE_S, SilentDify, silent_dify

EVENT_TIMEOUT_S, CHAT_TIMEOUT_S, WRITE_TIMEOUT_S = 11, 13, 3
CALLERS = 20
PHASES = {
    "parameters": {"message": "word", "model_name": "mute"},
    "retrieval": {"message": "word", "kb_id": MUTE_KB},
    "late": {"message": "late"},
    "pings": {"message": "pings"},
    "word": {"message": "word"},
}


@pytest.fixture(scope="module")
def dify() -> Iterator[SilentDify]:
    with silent_dify() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(worker_class: str, dify: SilentDify, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = {
        "WORKER_CLASS": worker_class,
        "DIFY_EVENT_TIMEOUT": str(EVENT_TIMEOUT_S),
        "DIFY_CHAT_TIMEOUT": str(CHAT_TIMEOUT_S),
        "WRITE_TIMEOUT": str(WRITE_TIMEOUT_S),
    }
    running = start(dify, tmp_path_factory.mktemp("waits"), **settings)
    yield running
    assert running.stop() == 0


def start(dify: SilentDify, folder: Path, database_url: str | None = None, **settings: str) -> Gateway:
    keys = {"DIFY_DATASET_API_KEY": "dataset-x", "DIFY_APP_API_KEY": "app-x", "DIFY_APPS": "mute=app-mute"}
    limits = {"AUTH": "open", "RATE_LIMIT": "0", "TURNS_PER_USER": "0"}
    gateway = Gateway(folder, database_url, DIFY_BASE_URL=dify.url, **keys, **limits, **settings)
    gateway.start()
    return gateway


def ask_without_reading(
    gateway: Gateway, buffer_size: int | None = None, path: str = "conversation/completion_db", **body: Any
) -> socket.socket:
    """Send a request on a new connection, which the caller can close at any time."""
    content = json.dumps(body).encode()
    connection = socket.socket()
    if buffer_size:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_size)
    connection.connect(("127.0.0.1", gateway.port))
    head = f"POST /v1/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
    return connection


def ask(gateway: Gateway, **body: Any) -> requests.Response:
    return requests.post(f"{gateway.base}/conversation/completion_db", json=body, timeout=PATIENCE_S)


def rows(gateway: Gateway, user_id: str | None = None) -> list[Any]:
    """The rows of all turns, or those of one user's conversations, read without the gateway."""
    engine = create_engine(Config.load(DATABASE_URL=gateway.database_url).database_uri)
    try:
        with engine.connect() as connection:
            found = connection.execute(select(Message.__table__).order_by(Message.create_time)).all()
    finally:
        engine.dispose()
    return [row for row in found if user_id is None or row.query.endswith(user_id)]


def ends(gateway: Gateway, mark: str) -> Counter[tuple[str, str | None, bool]]:
    """How often the turns whose question ends with `mark` have each status and reason, and whether they have ended."""
    return Counter(
        (row.meta_data["status"], row.meta_data.get("reason"), row.claimed_until is None) for row in rows(gateway, mark)
    )


@pytest.mark.parametrize("streaming", [True, False])
def test_callers_who_leave_in_any_phase_leave_no_call_open_and_each_named_model_stops(
    gateway: Gateway, dify: SilentDify, streaming: bool
) -> None:
    mark = f"leaving-{streaming}"
    callers = []
    for phase, body in PHASES.items():
        given = {**body, "message": f"{body['message']} {phase} {mark}", "streaming": streaming}
        callers += [ask_without_reading(gateway, user_id=f"{phase}{n}", **given) for n in range(CALLERS)]
    total = len(callers)
    wait_for(lambda: len(rows(gateway, mark)) == total)
    time.sleep(0.5)
    for caller in callers:
        caller.close()
    expected = Counter({("stopped", "caller_left", True): total})
    wait_for(lambda: ends(gateway, mark) == expected, SILENCE_S + 15)
    wait_for(lambda: dify.count_open() == 0)
    wait_for(lambda: dify.named == dify.stopped)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("phase", ["late", "pings", "word", "retrieval"])
def test_a_stop_in_any_phase_ends_the_turn_with_what_had_come(
    gateway: Gateway, dify: SilentDify, phase: str, streaming: bool
) -> None:
    mark = f"stop-{phase}-{streaming}"
    given = {**PHASES[phase], "message": f"{PHASES[phase]['message']} {mark}", "streaming": streaming}
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(ask, gateway, user_id=mark, **given)
        wait_for(lambda: len(rows(gateway, mark)) == 1)
        time.sleep(0.5)
        stopped = gateway.post("conversation/stop", user_id=mark, message_id=rows(gateway, mark)[0].id)
        assert stopped["data"]["stopped"] is True
        wait_for(lambda: rows(gateway, mark)[0].meta_data["status"] == "stopped")
        answer = asking.result(SILENCE_S + 10)
    last = json.loads(answer.text.strip().split("\n\n")[-2][6:]) if streaming else answer.json()
    assert (answer.status_code, last["code"], last["data"]["status"]) == (200, 0, "stopped")
    assert ends(gateway, mark) == {("stopped", "stop_requested", True): 1}
    assert rows(gateway, mark)[0].response == last["data"]["answer"] == ("知" if phase == "word" else "")
    assert dify.named == dify.stopped


def test_a_caller_who_reads_nothing_is_dropped_and_the_model_stops(gateway: Gateway, dify: SilentDify) -> None:
    with ask_without_reading(gateway, 2048, user_id="deaf", message="endless deaf", streaming=True):
        wait_for(lambda: ends(gateway, "deaf") == {("stopped", "caller_left", True): 1}, WRITE_TIMEOUT_S + 25)
        assert dify.named == dify.stopped
    assert rows(gateway, "deaf")[0].response


def test_a_download_ends_if_its_caller_reads_nothing(gateway: Gateway, dify: SilentDify) -> None:
    def is_downloading() -> bool:
        return any("/files/" in line for line in list(dify.open.values()))

    document = {"kb_id": MUTE_KB, "doc_id": MUTE_KB}
    with ask_without_reading(gateway, 2048, "document/download", **document) as caller:
        wait_for(is_downloading)
        assert caller.recv(12) == b"HTTP/1.1 200"
        wait_for(lambda: not is_downloading(), WRITE_TIMEOUT_S + 10)


def test_a_caller_who_leaves_before_dify_names_the_task_is_in_the_database_at_once(
    gateway: Gateway, dify: SilentDify
) -> None:
    """Dify never names the task here. The conversation is free all the same."""
    caller = ask_without_reading(gateway, user_id="u", message="never at-once", streaming=True)
    wait_for(lambda: any("chat-messages" in line for line in list(dify.open.values())))
    caller.close()
    wait_for(lambda: ends(gateway, "at-once") == {("stopped", "caller_left", True): 1}, EVENT_TIMEOUT_S - 2)
    again = {"user_id": "u", "message": "word at-once", "conversation_id": rows(gateway, "at-once")[0].conversation_id}
    with ask_without_reading(gateway, **again, streaming=True) as next_caller:
        assert next_caller.recv(100).startswith(b"HTTP/1.1 200")
    wait_for(lambda: ends(gateway, "at-once") == {("stopped", "caller_left", True): 2}, EVENT_TIMEOUT_S - 2)


SILENT = [
    (message, streaming) for message in ("never", "word", "comments", "only pings") for streaming in (True, False)
]
ENDLESS = ("drip", False)
"""An answer without an end. Only a caller who waits for the whole answer has a limit for it."""

Results = dict[tuple[str, bool], tuple[requests.Response, float]]


@pytest.fixture(scope="module")
def results(gateway: Gateway) -> Results:
    """The answers to all silent and endless cases, which are asked at the same time, and their times in seconds."""

    def ask_and_wait(case: tuple[str, bool]) -> tuple[requests.Response, float]:
        began, (message, streaming) = time.monotonic(), case
        body = {"message": f"{message} silence-{streaming}", "streaming": streaming}
        return ask(gateway, user_id=f"{message}{streaming}", **body), time.monotonic() - began

    cases = [*SILENT, ENDLESS]
    with ThreadPoolExecutor(len(cases)) as pool:
        return dict(zip(cases, pool.map(ask_and_wait, cases)))


@pytest.mark.parametrize("message, streaming", [*SILENT, ENDLESS])
def test_a_silent_dify_ends_the_turn_after_the_settings_time_and_the_part_is_kept(
    gateway: Gateway, results: Results, message: str, streaming: bool
) -> None:
    answer, seconds = results[message, streaming]
    if streaming and message != "never":
        failure = json.loads(answer.text.strip().split("\n\n")[-1][6:])
    else:
        failure = answer.json()
        assert answer.status_code == 504
    assert (failure["code"], failure["error"]) == (-1, "dify_timeout")
    limit = CHAT_TIMEOUT_S if message in ("only pings", "drip") else EVENT_TIMEOUT_S
    assert limit - 1 < seconds < limit + 40
    (row,) = rows(gateway, f"{message} silence-{streaming}")
    assert (row.meta_data["status"], row.meta_data["reason"]) == ("failed", "dify_timeout")
    assert row.claimed_until is None
    assert set(row.response) == ({"知"} if message in ("word", "comments", "drip") else set())


def test_after_all_that_no_call_is_open_and_each_named_model_was_stopped(
    gateway: Gateway, dify: SilentDify, results: Results
) -> None:
    wait_for(lambda: dify.count_open() == 0)
    assert dify.named == dify.stopped
    assert not [row for row in rows(gateway) if row.claimed_until or row.meta_data["status"] == "pending"]


@pytest.mark.server
def test_a_gateway_that_is_killed_while_dify_is_silent_about_its_app_loses_no_question(tmp_path: Path) -> None:
    name = f"route_api_waits_{os.getpid()}"
    with silent_dify() as dify, databases.fresh_database("postgresql", name) as database_url:
        gateway = start(dify, tmp_path, database_url)
        callers = [
            ask_without_reading(gateway, user_id=f"u{n}", message=f"问题{n}", model_name="mute") for n in range(5)
        ]
        wait_for(lambda: any("/parameters" in line for line in list(dify.open.values())))
        time.sleep(0.5)
        assert gateway._process is not None
        os.killpg(gateway._process.pid, signal.SIGKILL)
        gateway._process.wait(PATIENCE_S)
        assert sorted(row.query for row in rows(gateway)) == [f"问题{n}" for n in range(5)]
        for caller in callers:
            caller.close()
