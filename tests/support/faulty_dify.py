"""A Dify on a real socket that can be given each fault of docs/reliability.md, for one kind of call at a time.

Its healthy answers are those of the recordings.
"""

import gzip
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from time import monotonic

import orjson

from .loopback import Loopback
from .recordings import DIFY, body_of, load

VERSION = "1.8.1"
LONGEST_HOLD_S = 20.0
"""After this time a connection that is held open is closed, so that no test leaves threads behind."""


@dataclass(frozen=True)
class Healthy:
    """A healthy answer.

    :param pieces: the body; a stream has a piece for each event
    """

    status: int
    content_type: str
    pieces: tuple[bytes, ...]
    is_stream: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


def healthy(case: str, status: int | None = None) -> Healthy:
    """The answer of a recording."""
    recorded = load(VERSION, case)
    content_type = recorded["response"]["headers"].get("Content-Type", "application/json")
    body, is_stream = body_of(recorded), content_type.startswith("text/event-stream")
    pieces = tuple(event + b"\n\n" for event in body.split(b"\n\n") if event) if is_stream else (body,)
    return Healthy(status or recorded["response"]["status"], content_type, pieces, is_stream)


STREAM, BLOCKING = healthy("chat/streaming-first-turn"), healthy("chat/blocking-first-turn")
ROUTES: tuple[tuple[str, str, Healthy], ...] = (
    ("chat", r"POST /v1/chat-messages ", STREAM),
    ("list", r"GET /v1/datasets\?", healthy("datasets/list-default")),
    ("upload", r"POST /v1/datasets/[^/]+/document/create-by-file ", healthy("documents/create-by-file-automatic")),
    ("download", r"GET /files/", healthy("documents/download")),
    ("retrieve", r"POST /v1/datasets/[^/]+/retrieve ", healthy("retrieve/semantic")),
    ("other", r"GET /v1/parameters", healthy("chat/parameters-without-variables")),
    ("other", r"GET /v1/info", healthy("chat/info")),
    ("other", r"GET /v1/datasets/[^/?]+ ", healthy("datasets/get-qa-model")),
    ("other", r"GET /v1/datasets/[^/]+/documents\?", healthy("documents/list-keyword-none-found")),
    ("other", r"GET /v1/datasets/[^/]+/documents/[^/]+/upload-file ", healthy("documents/upload-file")),
    ("stop", r"POST /v1/chat-messages/[^/]+/stop ", healthy("chat/stop")),
)
UNKNOWN = Healthy(404, "text/html", (b"<!doctype html>\n<title>404 Not Found</title>",))

Fault = Callable[[socket.socket, Healthy], None]


class FaultyDify:
    """The server. `faults` has the fault of each kind of call; kinds without one are healthy.

    :ivar calls: the kinds of the calls so far
    :ivar open_calls: the kinds of the calls that are not answered yet
    """

    def __init__(self, server: Loopback) -> None:
        self.url = server.url
        self.faults: dict[str, Fault] = {}
        self.calls: list[str] = []
        self.open_calls: list[str] = []

    def handle(self, connection: socket.socket, request: bytes) -> None:
        line = request.split(b"\r\n", 1)[0].decode()
        kind, answer = "unknown", UNKNOWN
        for name, pattern, found in ROUTES:
            if re.match(pattern, line):
                kind, answer = name, found
                break
        if answer is STREAM and b'"response_mode":"blocking"' in request:
            answer = BLOCKING
        answer = Healthy(
            answer.status,
            answer.content_type,
            tuple(piece.replace(DIFY.encode(), self.url.encode()) for piece in answer.pieces),
            answer.is_stream,
        )
        self.calls.append(kind)
        self.open_calls.append(kind)
        try:
            self.faults.get(kind, send)(connection, answer)
        finally:
            self.open_calls.remove(kind)


@contextmanager
def faulty_dify() -> Iterator[FaultyDify]:
    """A running server, healthy at first."""
    _packed()  # This takes a moment, which must not be part of an answer.
    # The handler needs the address of the server, which is known once the server listens.
    waiting: list[FaultyDify] = []
    server = Loopback(lambda connection, request: waiting[0].handle(connection, request))
    waiting.append(FaultyDify(server))
    try:
        yield waiting[0]
    finally:
        server.close()


# ------------------------------------------------------------------ ways to send an answer


def head_of(answer: Healthy, *, length: int | None = None, more: str = "") -> bytes:
    size = "Transfer-Encoding: chunked" if answer.is_stream else f"Content-Length: {length or len(answer.body)}"
    lines = (
        f"HTTP/1.1 {answer.status} OK",
        f"Content-Type: {answer.content_type}",
        f"X-Version: {VERSION}",
        size,
        *([more] if more else []),
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def framed(answer: Healthy, piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece) if answer.is_stream else piece


def end_of(answer: Healthy) -> bytes:
    return b"0\r\n\r\n" if answer.is_stream else b""


def send(connection: socket.socket, answer: Healthy) -> None:
    """Send a healthy answer."""
    connection.sendall(head_of(answer) + b"".join(framed(answer, piece) for piece in answer.pieces) + end_of(answer))


def send_half(connection: socket.socket, answer: Healthy) -> None:
    """Send the head and half of the body: of a stream some events, of another answer some bytes."""
    if answer.is_stream:
        half = b"".join(framed(answer, piece) for piece in answer.pieces[:5])
    else:
        half = answer.body[: len(answer.body) // 2]
    connection.sendall(head_of(answer) + half)


def hold(connection: socket.socket) -> None:
    """Send nothing more until the gateway closes the connection."""
    give_up_at = monotonic() + LONGEST_HOLD_S
    connection.settimeout(0.2)
    while monotonic() < give_up_at:
        try:
            if connection.recv(65536) == b"":
                return
        except TimeoutError:
            continue


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


# ------------------------------------------------------------------ the faults


def _with_status(status: int, content_type: str, body: bytes, more: str = "") -> Fault:
    answer = Healthy(status, content_type, (body,))

    def fail(connection: socket.socket, _: Healthy) -> None:
        connection.sendall(head_of(answer, more=more) + body)

    return fail


def _silent(connection: socket.socket, _: Healthy) -> None:
    hold(connection)


def _slow(connection: socket.socket, answer: Healthy) -> None:
    pause = threading.Event()
    connection.sendall(head_of(answer))
    pieces = answer.pieces if answer.is_stream else [answer.body[at : at + 64] for at in range(0, len(answer.body), 64)]
    for number, piece in enumerate(pieces):
        if number < 4:
            pause.wait(0.2)
        connection.sendall(framed(answer, piece))
    connection.sendall(end_of(answer))


def _stalled(connection: socket.socket, answer: Healthy) -> None:
    """The head and a part of the body, of a stream half an event, then nothing."""
    if answer.is_stream:
        connection.sendall(head_of(answer) + framed(answer, answer.pieces[0][:40]))
    else:
        send_half(connection, answer)
    hold(connection)


def _cut(connection: socket.socket, answer: Healthy) -> None:
    send_half(connection, answer)
    connection.shutdown(socket.SHUT_RDWR)


def _reset_before(connection: socket.socket, _: Healthy) -> None:
    reset(connection)


def _reset_in_the_middle(connection: socket.socket, answer: Healthy) -> None:
    send_half(connection, answer)
    threading.Event().wait(0.2)  # A reset would also discard what is still in the buffers.
    reset(connection)


def _unended(connection: socket.socket, answer: Healthy) -> None:
    """Everything has come, and the connection stays open without the end of the body."""
    body = b"".join(framed(answer, piece) for piece in answer.pieces)
    connection.sendall(head_of(answer, length=len(answer.body) + 1) + body)
    hold(connection)


def _cut_json(connection: socket.socket, answer: Healthy) -> None:
    """A body that is complete for HTTP, and ends in the middle of its JSON."""
    short = Healthy(answer.status, answer.content_type, tuple(p[: len(p) // 2] + b"\n\n" for p in answer.pieces))
    send(connection, Healthy(short.status, short.content_type, short.pieces, answer.is_stream))


def _wrong_types(connection: socket.socket, answer: Healthy) -> None:
    """JSON of another shape: each object is a list, each text a number."""

    def other(value: object) -> object:
        if isinstance(value, dict):
            return {name: other(inner) for name, inner in value.items()}
        return {} if isinstance(value, list) else [] if isinstance(value, str) else "text"

    def changed(piece: bytes) -> bytes:
        prefix = b"data: " if answer.is_stream else b""
        if not piece.startswith(prefix + b"{"):
            return piece  # The content of a file.
        event = orjson.loads(piece.removeprefix(prefix))
        kept = {"event": event["event"]} if answer.is_stream and "event" in event else {}
        shape = {name: other(value) for name, value in event.items()} | kept
        return prefix + orjson.dumps(shape) + (b"\n\n" if answer.is_stream else b"")

    send(connection, Healthy(answer.status, answer.content_type, tuple(map(changed, answer.pieces)), answer.is_stream))


def _error_event(connection: socket.socket, answer: Healthy) -> None:
    """A stream in which the model fails; for calls without a stream the error that Dify answers instead."""
    if answer.is_stream:
        send(connection, healthy("chat/error-mid-stream"))
    else:
        send(connection, healthy("chat/error-before-blocking-bad"))


def _one_byte_pieces(connection: socket.socket, answer: Healthy) -> None:
    connection.sendall(head_of(answer))
    body = answer.body
    connection.sendall(b"".join(framed(answer, body[at : at + 1]) for at in range(len(body))) + end_of(answer))


def _split_characters(connection: socket.socket, answer: Healthy) -> None:
    """Each piece ends in the middle of a character of several bytes."""
    connection.sendall(head_of(answer))
    body, begin, pause = answer.body, 0, threading.Event()
    cuts = [at for at in range(1, len(body)) if body[at] & 0xC0 == 0x80][:20]
    for cut in [*cuts, len(body)]:
        connection.sendall(framed(answer, body[begin:cut]))
        begin = cut
        pause.wait(0.01)
    connection.sendall(end_of(answer))


def _ten_megabytes(connection: socket.socket, answer: Healthy) -> None:
    """10 MB in one text: one event of a stream, or one body."""
    text = b"x" * 10_000_000
    if answer.is_stream:
        first = re.sub(rb'"answer":"[^"]*"', lambda _: b'"answer":"' + text + b'"', answer.pieces[0])
        send(connection, Healthy(answer.status, answer.content_type, (first, *answer.pieces[1:]), True))
    else:
        padded = (
            answer.body.rstrip()[:-1] + b',"padding":"' + text + b'"}' if answer.body.startswith(b"{") else answer.body
        )
        send(connection, Healthy(answer.status, answer.content_type, (padded,)))


def _no_pings(connection: socket.socket, answer: Healthy) -> None:
    """Some whole events, then nothing: no event, no ping."""
    send_half(connection, answer)
    hold(connection)


def _gzip(connection: socket.socket, answer: Healthy) -> None:
    """A body in gzip, which the gateway did not ask for, and which has 40 MB when it is unpacked."""
    packed = _packed()
    send_packed = Healthy(answer.status, answer.content_type, (packed,))
    connection.sendall(head_of(send_packed, more="Content-Encoding: gzip") + packed)


@cache
def _packed() -> bytes:
    return gzip.compress(b'{"data":"' + b"x" * 40_000_000 + b'"}')


def _broken_chunks(connection: socket.socket, answer: Healthy) -> None:
    head = head_of(Healthy(answer.status, answer.content_type, answer.pieces, True))
    connection.sendall(head + b'5\r\n{"a":\r\nZZZ\r\nnot a size\r\n')
    connection.shutdown(socket.SHUT_RDWR)


def _huge_headers(connection: socket.socket, answer: Healthy) -> None:
    connection.sendall(head_of(answer, more=f"X-Long: {'x' * 1_000_000}") + answer.body)


def _nul(connection: socket.socket, answer: Healthy) -> None:
    """NUL characters and half a surrogate pair in each text."""

    def changed(piece: bytes) -> bytes:
        return re.sub(rb'"(answer|content|name)":"', rb'"\1":"\\u0000', piece)

    send(connection, Healthy(answer.status, answer.content_type, tuple(map(changed, answer.pieces)), answer.is_stream))


HTML = b"<html><body><h1>Error</h1><p>nginx/1.25 upstream http://10.0.0.7:5001</p></body></html>"
REVOKED = b'{"code": "unauthorized", "message": "Access token is invalid", "status": 401}'
BUSY = b'{"code": "too_many_requests", "message": "Too many requests. Please try again later.", "status": 429}'

FAULTS: dict[str, Fault] = {
    "silent": _silent,
    "slow": _slow,
    "400 with HTML": _with_status(400, "text/html", HTML),
    "500 with HTML": _with_status(500, "text/html", HTML),
    "503 with HTML": _with_status(503, "text/html", HTML, "Retry-After: 7"),
    "429": _with_status(429, "application/json", BUSY, "Retry-After: 7"),
    "revoked key": _with_status(401, "application/json", REVOKED),
    "redirect": _with_status(302, "text/html", HTML, "Location: http://127.0.0.1:1/"),
    "cut JSON": _cut_json,
    "wrong types": _wrong_types,
    "stalled": _stalled,
    "cut": _cut,
    "unended": _unended,
    "error event": _error_event,
    "1-byte pieces": _one_byte_pieces,
    "split characters": _split_characters,
    "10 MB": _ten_megabytes,
    "no pings": _no_pings,
    "reset": _reset_before,
    "reset in the middle": _reset_in_the_middle,
    "gzip": _gzip,
    "broken chunking": _broken_chunks,
    "huge headers": _huge_headers,
    "NUL": _nul,
}
"""Each fault by its name in docs/reliability.md. `refused` and `DNS gone` are addresses, not answers."""
