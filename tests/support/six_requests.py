"""The six requests of docs/reliability.md, made at the same time, and what came of each, in the words of that page."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any
from uuid import uuid4

import orjson
import requests

from .patience import PATIENCE_S
from .settings import OPEN

KB, DOCUMENT = "b3153b8e-fff3-446e-ad6f-402c173cf997", "c8f00fa5-8a8d-4aa4-975a-12a799fda1b2"
LIMIT_S = 4.0
"""Every time limit in these tests. What the page calls "at once" takes less."""

COLUMNS = ("blocking turn", "stream", "list", "upload", "download", "retrieval")
HEALTHY = ["200 at once; row `done`", "200 at once; row `done`", *["200 at once"] * 4]
"""The answers without a fault."""


def settings_for(dify_url: str, database_url: str) -> dict[str, Any]:
    """The settings of a gateway that waits LIMIT_S seconds for Dify."""
    limits = [f"DIFY_{kind}_TIMEOUT" for kind in ("CONNECT", "READ", "CHAT", "EVENT", "UPLOAD")]
    sizes = {"DIFY_MAX_ANSWER_MB": 20}
    return {**OPEN, "DIFY_BASE_URL": dify_url, "DATABASE_URL": database_url, **dict.fromkeys(limits, LIMIT_S), **sizes}


class Caller:
    """Makes the six requests of the table as a new user, and describes what came of each."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.user_id = uuid4().hex[:12]

    def post(self, path: str, **options: Any) -> requests.Response:
        return requests.post(f"{self.address}/v1/{path}", timeout=PATIENCE_S, **options)

    def turn(self, *, streaming: bool) -> requests.Response:
        # Each kind of turn has a user of its own, whose only conversation is then the one of this turn.
        body = {"user_id": self.user_of(streaming), "message": "葫芦庙在哪里？", "streaming": streaming}
        return self.post("conversation/completion", json=body)

    def user_of(self, streaming: bool) -> str:
        return f"{self.user_id}-{'s' if streaming else 'b'}"

    def blocking_turn(self) -> str:
        return f"{self.blocking_answer()}; {self.stored(streaming=False)}"

    def stream(self) -> str:
        return f"{self.streamed_answer()}; {self.stored(streaming=True)}"

    def blocking_answer(self) -> str:
        return described(lambda: self.turn(streaming=False))

    def streamed_answer(self) -> str:
        return described(lambda: self.turn(streaming=True))

    def stored(self, *, streaming: bool) -> str:
        """The turn in the database."""
        user = {"user_id": self.user_of(streaming)}
        (conversation,) = self.post("conversation/list", json=user).json()["data"]["conversations"]
        of = {**user, "conversation_id": conversation["conversation_id"]}
        (message,) = self.post("conversation/messages", json=of).json()["data"]["messages"]
        assert message["query"] == "葫芦庙在哪里？"
        part = ", part kept" if message["response"] and message["status"] != "done" else ""
        return f"row `{message['status']}`{part}"

    def list_kbs(self) -> str:
        return described(lambda: self.post("kb/list", json={}))

    def upload(self) -> str:
        files = {"file": ("第一回.txt", "甄士隐梦幻识通灵".encode())}
        return described(lambda: self.post("document/upload", data={"kb_id": KB}, files=files))

    def download(self) -> str:
        return described(lambda: self.post("document/download", json={"kb_id": KB, "document_id": DOCUMENT}))

    def retrieval(self) -> str:
        return described(lambda: self.post("chunk/retrieval_test", json={"kb_id": KB, "question": "葫芦庙"}))

    def ask_all(self, *, reads_rows: bool = True) -> list[str]:
        """All six at the same time, in the order of COLUMNS.

        :param reads_rows: whether to read what is stored of the turns; the database may not answer
        """
        turns = (self.blocking_turn, self.stream) if reads_rows else (self.blocking_answer, self.streamed_answer)
        asked = (*turns, self.list_kbs, self.upload, self.download, self.retrieval)
        with ThreadPoolExecutor(len(asked)) as pool:
            return list(pool.map(lambda ask: ask(), asked))


def described(ask: Callable[[], requests.Response]) -> str:
    """What a request got, and when: `502 dify_failed at once`."""
    begun = monotonic()
    try:
        answer = ask()
    except requests.RequestException:
        return "connection closed"
    when = "at once" if monotonic() - begun < LIMIT_S * 0.95 else "at the limit"
    if answer.headers["Content-Type"].startswith("text/event-stream"):
        return f"{last_of(answer)} {when}"
    if not answer.headers["Content-Type"].startswith("application/json"):
        return f"{answer.status_code} {when}"
    body = answer.json()
    return f"{answer.status_code} `{body['error']}` {when}" if body["code"] else f"{answer.status_code} {when}"


def last_of(answer: requests.Response) -> str:
    """How a stream ended: its end event, or its error."""
    events = [orjson.loads(line[5:]) for line in answer.content.split(b"\n") if line.startswith(b"data:")]
    last = events[-1]
    return f"200, event `{last['error']}`" if last["code"] else "200" if last["data"] is True else "200 without an end"
