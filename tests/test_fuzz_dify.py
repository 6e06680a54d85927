"""Fuzzing of Dify's side: recorded answers, changed at random, under every endpoint that asks Dify.

No answer of ours is a 500, no question is lost, no conversation stays busy, and the next request works.

Each case has a number, and its own random generator made of the seed and that number. `make fuzz-dify` runs 20,000
cases; FUZZ_SEED, FUZZ_FIRST and FUZZ_CASES choose others. A failure says how to run its case alone.
"""

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import orjson
import pytest
from flask import Flask
from sqlalchemy import select

from config import Config
from route_api.app import create_app
from route_api.chat.dify_cache import DifyCache
from route_api.dify.breaker import Breaker
from route_api.errors import DifyError
from route_api.extensions import db
from route_api.storage.models import Message

from .support.dify_client import dify_client
from .support.gateway_client import GatewayClient
from .support.mutating_dify import MutatingDify
from .support.recordings import VERSIONS
from .support.settings import OPEN

SEED = os.environ.get("FUZZ_SEED", "12")
FIRST = int(os.environ.get("FUZZ_FIRST", "0"))
CASES = int(os.environ.get("FUZZ_CASES", "400"))

KB = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"
DOC = "c3aa21fc-16a8-45f0-8c52-11f87158c079"
REMEMBERED = re.compile(r"POST /console/api/login -> (400|401|403|429)|/parameter-rules -> 200")
"""What the gateway remembers: a login that Dify has refused, and, for five minutes, that a model lacks a parameter."""

CONSOLE = {"DIFY_CONSOLE_EMAIL": "admin@example.com", "DIFY_CONSOLE_PASSWORD": "Secret123"}


@dataclass(frozen=True)
class Request:
    """A request to the gateway.

    :param calls: how many calls to Dify it makes, at least; one of them gets a changed answer
    """

    method: str
    path: str
    values: dict[str, Any]
    calls: int = 1

    @property
    def is_turn(self) -> bool:
        return self.path in ("/conversation/completion", "/conversation/completion_db", "/chat/chat")


def turn(path: str, calls: int, **values: Any) -> Request:
    return Request("POST", path, {"user_id": "alice", "message": "葫芦庙在哪里？", **values}, calls)


REQUESTS = [
    Request("GET", "/kb/list", {}),
    Request("GET", "/kb/list", {"page_size": 300}, 4),
    Request("GET", "/kb/detail", {"kb_id": KB}),
    Request("POST", "/kb/create", {"name": "红楼梦"}),
    Request("POST", "/kb/update", {"kb_id": KB, "name": "石头记", "top_k": 5}, 2),
    Request("POST", "/kb/rm", {"kb_id": KB}),
    Request("GET", "/document/list", {"kb_id": KB}, 3),
    Request("POST", "/document/upload", {"kb_id": KB, "file": "红楼梦.txt"}, 3),
    Request("POST", "/document/download", {"kb_id": KB, "document_id": DOC}, 5),
    Request("GET", "/document/get", {"kb_id": KB, "document_id": DOC}, 5),
    Request("POST", "/document/rm", {"kb_id": KB, "doc_id": DOC}),
    Request("POST", "/document/change_status", {"kb_id": KB, "doc_id": DOC, "action": "enable"}, 2),
    Request("POST", "/document/status", {"kb_id": KB, "batch": "20260721120000123456"}),
    Request("POST", f"/datasets/{KB}/document/create_by_file", {"file": "a.txt"}),
    Request("GET", "/chunk/list", {"kb_id": KB, "doc_id": DOC}, 2),
    Request("GET", "/chunk/list", {"kb_id": KB, "doc_id": DOC, "size": 150}, 4),
    Request("POST", "/chunk/retrieval_test", {"kb_id": KB, "question": "英莲"}),
    Request("POST", "/chunk/retrieval_test", {"kb_id": KB, "question": "英莲", "search_method": "hybrid_search"}, 2),
    Request("POST", "/chunk/retrieval_test", {"kb_id": KB, "question": "英莲", "doc_ids": [DOC]}, 3),
    Request("POST", "/chunk/switch", {"kb_id": KB, "doc_id": DOC, "chunk_ids": [DOC], "available_int": 1}, 3),
    Request("GET", "/llm/my_llms", {"model_type": "llm"}),
    Request("POST", "/user/set_tenant_info", {"model_type": "llm", "provider": "p", "model": "m"}, 3),
    *(
        turn(path, calls, streaming=is_streaming, **values)
        for is_streaming in (False, True)
        for path, calls, values in (
            ("/conversation/completion", 2, {}),
            ("/conversation/completion", 2, {"think": "separate", "history": 3}),
            ("/conversation/completion_db", 3, {"kb_id": KB}),
            ("/chat/chat", 8, {"kb_id": KB, "temperature": 0.5, "max_tokens": 100}),
            ("/conversation/completion", 8, {"model_name": "qwen3:4b"}),
        )
    ),
]
AFTER_A_TURN = [
    Request("POST", "/message/feedback", {"score": 90}),
    Request("GET", "/message/suggested", {}),
    Request("POST", "/conversation/rm", {}),
]
"""Requests about the turn before."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MutatingDify, dict[bool, Flask]]]:
    """A Dify that changes its answers, and two gateways on it: without and with a console login."""
    folder = tmp_path_factory.mktemp("fuzz")
    with MutatingDify() as dify:
        apps = {
            has_console: make_app(folder / str(has_console), dify.url, has_console) for has_console in (False, True)
        }
        yield dify, apps
        for app in apps.values():
            with app.app_context():
                db.engine.dispose()


def make_app(folder: Path, url: str, has_console: bool) -> Flask:
    settings = {**OPEN, **(CONSOLE if has_console else {}), "DIFY_BASE_URL": url, "DIFY_APP_API_KEY": "<app-key>"}
    folders = {"DOWNLOAD_ROOT": folder / "downloads", "DEAD_LETTERS_DIR": folder / "dead_letters"}
    config = Config.load(**settings, **folders, DATABASE_URL=f"sqlite:///{folder}/db.sqlite3")
    app = create_app(config)
    app.test_client_class = GatewayClient
    app.config["FUZZED"] = config
    with app.app_context():
        db.create_all()
    return app


def test_no_changed_answer_of_dify_breaks_the_gateway(
    gateway: tuple[MutatingDify, dict[bool, Flask]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("route_api.dify.retries.INDEXING_PAUSES", (0.0,))
    monkeypatch.setattr(logging.getLogger("route_api"), "disabled", True)
    dify, apps = gateway
    problems = []
    for number in range(FIRST, FIRST + CASES):
        chance = Random(f"{SEED} {number}")
        case = Case(dify, apps[chance.random() < 0.5], chance, number)
        try:
            case.run()
        except Exception as error:
            how = f"FUZZ_SEED={SEED} FUZZ_FIRST={number} FUZZ_CASES=1 pytest tests/test_fuzz_dify.py"
            changed = "\n".join(case.changed)
            problems.append(f"{how}\n{type(error).__name__}: {error}\n{case.request}\n{changed}\n")
    assert not problems, f"{len(problems)} of {CASES} cases failed:\n" + "\n".join(problems[:5])


class Case:
    """One changed answer of Dify, and what the gateway makes of it."""

    def __init__(self, dify: MutatingDify, app: Flask, chance: Random, number: int) -> None:
        self._dify, self._app, self._chance, self._number = dify, app, chance, number
        self._client = app.test_client()
        self.request = chance.choice(REQUESTS)
        self.changed: list[str] = []
        is_download = self.request.path in ("/document/get", "/document/download")
        # Dify 1.12.1 hands out files to a console login only.
        needs_old_dify = is_download and not app.config["FUZZED"].DIFY_CONSOLE_EMAIL
        dify.version = "1.8.1" if needs_old_dify else chance.choice(VERSIONS)
        self._forget_dify()

    def _forget_dify(self) -> None:
        """Begin with a new client: no console session, no refused login, no cached answers, no open circuit."""
        parts, config = self._app.extensions["route_api"], self._app.config["FUZZED"]
        login = {"console_email": config.DIFY_CONSOLE_EMAIL, "console_password": config.DIFY_CONSOLE_PASSWORD}
        breaker = Breaker(lambda: None, max_calls=100)
        parts.dify_cache = DifyCache()
        parts.dify = dify_client(config.DIFY_BASE_URL, app_api_key="<app-key>", breaker=breaker, pool_size=5, **login)

    def run(self) -> None:
        if self._is_refused_without_console():
            self.request = REQUESTS[0]
        if self.request.is_turn:
            self._run_turn()
        else:
            self._ask_with_changes(self.request)
            self._ask_again(self.request)

    def _is_refused_without_console(self) -> bool:
        """Whether the request is refused, whatever Dify answers, because there is no console login."""
        needs_console = {"temperature", "model_name"} & self.request.values.keys() or "tenant" in self.request.path
        return bool(needs_console) and not self._app.config["FUZZED"].DIFY_CONSOLE_EMAIL

    def _run_turn(self) -> None:
        """A turn, in an old or a new conversation; the next turn; a request about that turn."""
        question = f"question {self._number}"
        values = {**self.request.values, "message": question, "user_id": f"user{self._number}"}
        if self._chance.random() < 0.3:
            before = self._ask_again(Request("POST", self.request.path, {**values, "message": "before"}))
            values["conversation_id"] = before["conversation_id"]
        self._ask_with_changes(Request("POST", self.request.path, values, self.request.calls))
        row = self._row(question)
        if row is None:  # Only a turn that never began may be missing: its options could not be checked.
            assert {"temperature", "model_name"} & values.keys(), "the question is lost"
            return
        assert row.meta_data["status"] in ("done", "stopped", "failed"), row.meta_data
        assert row.claimed_until is None, "the claim is held"
        values["conversation_id"] = str(UUID(row.conversation_id))
        values["message"] = "the next question"
        after = self._ask_again(Request("POST", self.request.path, values))
        assert after["status"] == "done", after
        last = self._chance.choice(AFTER_A_TURN)
        ids = {"message_id": after["message_id"], "conversation_id": after["conversation_id"]}
        about = {"user_id": values["user_id"], **ids, **last.values}
        self._ask_with_changes(Request(last.method, last.path, about))
        if last.path != "/conversation/rm":
            self._ask_again(Request(last.method, last.path, about))
            self._ask_again(Request("GET", "/conversation/messages", about))
            self._ask_again(Request("GET", "/conversation/list", about))

    def _row(self, question: str) -> Any:
        with self._app.app_context(), db.engine.connect() as connection:
            return connection.execute(select(Message.__table__).where(Message.query == question)).first()

    def _ask_with_changes(self, request: Request) -> None:
        some = {self._chance.randrange(request.calls)}
        self._dify.mutate(self._chance, some if self._chance.random() < 0.8 else set(range(50)))
        try:
            self._check(*self._send(request))
        finally:
            self.changed += self._dify.log
            if any(REMEMBERED.search(line) for line in self._dify.log):
                self._forget_dify()
            self._dify.restore()

    def _ask_again(self, request: Request) -> Any:
        """Make a request whose answers of Dify are not changed. It must succeed."""
        status, answer = self._send(request)
        self._check(status, answer)
        assert status == 200, f"the next request failed: {answer[:500]!r}"
        if not answer.startswith(b"data: "):
            return orjson.loads(answer).get("data") if answer.startswith(b"{") else None
        events = events_in(answer)
        assert all(event["code"] == 0 for event in events), events[-1]
        return events[-2]["data"]

    def _send(self, request: Request) -> tuple[int, bytes]:
        values = dict(request.values)
        try:
            if name := values.pop("file", None):
                body = {**values, "data": "{}", "file": (BytesIO(b"text"), name)}
                answer = self._client.post(request.path, data=body)
            elif request.method == "GET":
                answer = self._client.get(request.path, query_string=values)
            else:
                answer = self._client.open(request.path, method=request.method, json=values)
        except DifyError:  # A download that breaks off after its first byte has no other way to say so.
            assert request.path == "/document/download"
            return 200, b""
        return answer.status_code, answer.data

    def _check(self, status: int, answer: bytes) -> None:
        assert status != 500, answer
        assert b"internal_error" not in answer, answer[-500:]
        if answer.startswith(b"data: "):
            assert events_in(answer), answer


def events_in(answer: bytes) -> list[Any]:
    """The events of our stream. Each is JSON in an envelope."""
    blocks = answer.decode().split("\n\n")
    assert blocks.pop() == "", "the stream ends in the middle of an event"
    events = [orjson.loads(block.removeprefix("data: ")) for block in blocks if not block.startswith(":")]
    assert all({"code", "data", "message"} <= event.keys() for event in events), events
    return events
