"""A Dify that falls silent in one phase of a turn. The question says in which."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import orjson

from .event_streams import CHUNKED_HEAD, chunk
from .loopback import Loopback, answer, loopback
from .patience import PATIENCE_S

SILENCE_S = 3.0
"""Seconds after which the Dify of :class:`SilentDify` goes on, if a phase says so."""

MUTE_KB = "00000000-0000-4000-8000-00000000dead"
PING = chunk(b"event: ping\n\n")


class SilentDify:
    """The handler of a :class:`Loopback`.

    A question begins with its phase:

    - `never`: no answer at all
    - `late`: silent for SILENCE_S; then a word, and silent until it is stopped
    - `pings`: at once a head and a ping, after SILENCE_S a word; silent until it is stopped
    - `word`: a word at once; silent until it is stopped
    - `only pings`: a ping twice a second, and nothing else
    - `comments`: a word, and then a comment twice a second
    - `drip`: a word twice a second
    - `endless`: words without a pause until it is stopped

    The app key `app-mute` gets no answer about its parameters. The dataset MUTE_KB gets no answer to a search. The file
    of every document has no end.
    """

    def __init__(self) -> None:
        self.open: dict[str, str] = {}
        """The calls that are open now: the first line of each."""
        self.named: set[str] = set()
        self.stopped: set[str] = set()
        self.chats: list[dict[str, object]] = []
        self.server: Loopback | None = None
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        assert self.server is not None
        return self.server.url

    def count_open(self) -> int:
        return len(self.open)

    def __call__(self, connection: socket.socket, request: bytes) -> None:
        call_id, line = uuid4().hex, request.partition(b"\r\n")[0].decode()
        with self._lock:
            self.open[call_id] = line
        try:
            self._answer(connection, request, line)
        finally:
            with self._lock:
                del self.open[call_id]

    def _answer(self, connection: socket.socket, request: bytes, line: str) -> None:
        if "/stop " in line:
            self.stopped.add(line.split("/")[3])
            connection.sendall(answer(b'{"result":"success"}'))
        elif "/retrieve " in line and MUTE_KB in line or b"Bearer app-mute" in request and "/parameters" in line:
            wait_for_close(connection)
        elif "/parameters " in line:
            connection.sendall(answer(b'{"user_input_form":[]}'))
        elif "/info " in line:
            connection.sendall(answer(b'{"name":"silent","mode":"chat"}'))
        elif "/chat-messages " in line:
            body = orjson.loads(request.partition(b"\r\n\r\n")[2])
            self.chats.append(body)
            self._chat(connection, str(body["query"]))
        elif line.startswith("GET /v1/datasets/"):
            connection.sendall(answer(b'{"url":"/files/endless","download_url":"/files/endless"}'))
        elif line.startswith("GET /files/endless"):
            send_for_ever(connection)
        else:
            connection.sendall(answer(b'{"records":[]}'))

    def _chat(self, connection: socket.socket, query: str) -> None:
        ids = {"task_id": str(uuid4()), "message_id": str(uuid4()), "conversation_id": str(uuid4())}
        word = chunk(b"data: %b\n\n" % orjson.dumps({"event": "message", "answer": "知", **ids}))
        phases: dict[str, Callable[[], None]] = {
            "never": lambda: None,
            "late": lambda: self._pause_and_send(connection, CHUNKED_HEAD + word),
            "pings": lambda: self._send_and_pause(connection, CHUNKED_HEAD + PING, word),
            "word": lambda: connection.sendall(CHUNKED_HEAD + word),
            "only pings": lambda: repeat(connection, CHUNKED_HEAD, PING),
            "comments": lambda: repeat(connection, CHUNKED_HEAD + word, chunk(b": still here\n\n")),
            "drip": lambda: repeat(connection, CHUNKED_HEAD, word),
            "endless": lambda: self._talk(connection, word * 100, ids["task_id"]),
        }
        question = query.rpartition("问题：")[2]  # Earlier turns may stand before it.
        phase = next((name for name in phases if question.startswith(name)), None)
        if phase is None:
            self.named.add(ids["task_id"])
            connection.sendall(CHUNKED_HEAD + word + end_of(ids))
            return
        if phase not in ("never", "only pings"):
            self.named.add(ids["task_id"])
        phases[phase]()
        while not is_closed(connection):
            if ids["task_id"] in self.stopped:
                connection.sendall(end_of(ids))
                return
            time.sleep(0.05)

    @staticmethod
    def _pause_and_send(connection: socket.socket, data: bytes) -> None:
        if not is_closed_within(connection, SILENCE_S):
            connection.sendall(data)

    @staticmethod
    def _send_and_pause(connection: socket.socket, at_once: bytes, later: bytes) -> None:
        connection.sendall(at_once)
        SilentDify._pause_and_send(connection, later)

    def _talk(self, connection: socket.socket, words: bytes, task_id: str) -> None:
        connection.sendall(CHUNKED_HEAD)
        connection.settimeout(PATIENCE_S)
        while task_id not in self.stopped:
            connection.sendall(words)


def end_of(ids: dict[str, str]) -> bytes:
    """The last event of an answer, and the last chunk."""
    usage = {"metadata": {"usage": {"total_tokens": 0}}}
    return chunk(b"data: %b\n\n" % orjson.dumps({"event": "message_end", **ids, **usage})) + b"0\r\n\r\n"


def repeat(connection: socket.socket, head: bytes, data: bytes) -> None:
    """Send something twice a second, until the connection is closed."""
    connection.sendall(head)
    while not is_closed_within(connection, 0.5):
        connection.sendall(data)


def send_for_ever(connection: socket.socket) -> None:
    connection.settimeout(PATIENCE_S)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000000000000\r\n\r\n")
    while True:
        connection.sendall(b"x" * 65536)


def wait_for_close(connection: socket.socket) -> None:
    is_closed_within(connection, 60)


def is_closed_within(connection: socket.socket, seconds: float) -> bool:
    connection.settimeout(seconds)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False


def is_closed(connection: socket.socket) -> bool:
    return is_closed_within(connection, 0.01)


@contextmanager
def silent_dify() -> Iterator[SilentDify]:
    dify = SilentDify()
    with loopback(dify) as server:
        dify.server = server
        yield dify
