import contextlib
import gzip
import random
import socket
import threading
import time
from typing import Any, Iterator

import orjson
import pytest

from route_api.dify.events import MAX_EVENT_SIZE, NOT_BEGUN_TEXT, NOT_GONE_ON_TEXT, EventStream
from route_api.dify.transport import TIMEOUT_TEXT
from route_api.errors import DifyFailed, DifyTimeout, DifyUnreachable
from route_api.monitoring import tracing

from ..support.dify_client import dify_client
from ..support.event_streams import CHUNKED_HEAD, END, FIRST, PLAIN_HEAD, chunk
from ..support.loopback import loopback, reset
from ..support.patience import PATIENCE_S
from ..support.recordings import VERSIONS, cases, load
from ..support.running_gateway import wait_for

STREAMS = [
    (version, case)
    for version in VERSIONS
    for area in ("chat", "debugger")
    for case in cases(version, area)
    if load(version, case)["response"]["headers"].get("Content-Type", "").startswith("text/event-stream")
]


class Pieces:
    """A streaming response whose body arrives in the given pieces, not chunked."""

    chunked = False
    connection = None

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = iter(pieces)
        self.raw = self
        self.closed = False

    def read1(self, size: int, *, decode_content: bool) -> bytes:
        return next(self._pieces, b"")

    def close(self) -> None:
        self.closed = True


def cut(data: bytes, seed: int) -> list[bytes]:
    """`data` cut at random places, in the middle of characters and line ends too."""
    chosen = random.Random(seed)
    places = sorted(chosen.choices(range(len(data)), k=chosen.randint(1, len(data) // 3)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)]) if a < b]


def events_in(text: str) -> list[dict[str, Any]]:
    """The recorded events, read in the simplest way there is."""
    events = []
    for block in text.strip().split("\n\n"):
        events.append({"event": "ping"} if block == "event: ping" else orjson.loads(block.removeprefix("data: ")))
    return events


def read(pieces: list[bytes]) -> list[dict[str, Any]]:
    return list(EventStream(Pieces(pieces)))  # type: ignore[arg-type]


def test_there_are_streams_of_all_versions_with_ends_errors_and_pings() -> None:
    kinds = {(v, e["event"]) for v, case in STREAMS for e in events_in(load(v, case)["response"]["body"])}
    assert {(v, kind) for v in VERSIONS for kind in ("message", "message_end", "error", "ping")} <= kinds
    assert {("1.16.1", kind) for kind in ("workflow_finished", "workflow_paused", "reasoning_chunk")} <= kinds


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("version, case", STREAMS)
def test_a_recorded_stream_gives_the_same_events_wherever_it_is_cut(version: str, case: str, line_end: str) -> None:
    text = load(version, case)["response"]["body"]
    data = text.replace("\n", line_end).encode()
    if case.endswith("worker-down-streaming"):  # It was cut off by whoever recorded it.
        data += END
        text += END.decode()
    recorded = events_in(text)
    last = next((n for n, event in enumerate(recorded) if event["event"] in ("message_end", "error")), len(recorded))
    for seed in range(3):
        assert read(cut(data, seed)) == recorded[: last + 1]


def test_a_stream_that_arrives_byte_by_byte_gives_the_same_events() -> None:
    data = FIRST + b"event: ping\r\n\r\n: comment\n\n\n\n" + FIRST.replace(b"\n", b"\r\n") + END
    events = read([bytes([byte]) for byte in data])
    assert [event["event"] for event in events] == ["message", "ping", "message", "message_end"]


def test_reading_stops_at_message_end_and_closes_the_connection() -> None:
    response = Pieces([FIRST + END, FIRST])
    assert [e["event"] for e in EventStream(response)] == ["message", "message_end"]  # type: ignore[arg-type]
    assert response.closed
    assert response.read1(1, decode_content=True) == FIRST


def test_data_over_several_lines_is_one_event() -> None:
    assert read([b'event: message\ndata: {"event":\ndata: "message_end"}\n\n']) == [{"event": "message_end"}]


@pytest.mark.parametrize("end", ["workflow_finished", "workflow_paused"])
def test_a_stream_may_end_with_the_end_of_a_chatflow(end: str) -> None:
    ended = b'data: {"event":"%b","data":{"status":"failed"}}\n\n' % end.encode()
    assert [event["event"] for event in read([FIRST, ended])] == ["message", end]
    assert [event["event"] for event in read([FIRST, ended, END, FIRST])] == ["message", end, "message_end"]


def test_a_stream_without_a_last_event_is_incomplete() -> None:
    stream = EventStream(Pieces([FIRST]))  # type: ignore[arg-type]
    events = iter(stream)
    assert next(events)["answer"] == "知"
    with pytest.raises(DifyUnreachable, match="before it was complete"):
        next(events)


@pytest.mark.parametrize("data", [b"data: {broken\n\n", b"data: [1]\n\n", b"data: \xff\n\n"])
def test_what_is_no_event_fails(data: bytes) -> None:
    with pytest.raises(DifyFailed):
        read([data])


def test_an_event_that_never_ends_is_not_collected_for_ever() -> None:
    endless = [b"data: " + b"x" * (1024 * 1024)] * (MAX_EVENT_SIZE // 1024 // 1024 + 5)
    response = Pieces(endless)
    with pytest.raises(DifyFailed, match="too long"):
        list(EventStream(response))  # type: ignore[arg-type]
    assert response.read1(1, decode_content=True)


def test_a_stream_that_never_ends_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("route_api.dify.events.MAX_STREAM_SIZE", 1000 * len(FIRST))
    response = Pieces([FIRST] * 1001)
    seen = []
    with pytest.raises(DifyFailed, match="too long"):
        seen.extend(event["event"] for event in EventStream(response))  # type: ignore[arg-type]
    assert response.closed


def test_an_event_in_small_pieces_is_read_in_linear_time() -> None:
    """Ten times the bytes may not take a hundred times as long. 200 KB in pieces of one byte once held a worker for
    18 s."""

    def seconds(size: int) -> float:
        data = b'data: {"event": "message_end", "answer": "' + b"x" * size + b'"}\n\n'
        pieces = [data[at : at + 1] for at in range(len(data))]
        begun = time.thread_time()
        assert len(read(pieces)) == 1
        return time.thread_time() - begun

    assert min(seconds(200_000) for _ in range(2)) < 30 * max(seconds(20_000) for _ in range(2))


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: ", b'{"event":"message_end"}\r', b"\n\r", b"\n"],
        [b'data: {"event":"message_end"}\r', b"\r"],
        [b'data: {"event":"message_end"}\n', b"\n"],
        [b'\n\n\ndata: {"event":"message_end"}\n\n'],
        [b': a comment\r\n: another\r\ndata: {"event":"message_end"}\r\n: more\r\n\r\n'],
        [b": " + b"a long comment " * 1000 + b"\n\n", b'data: {"event":"message_end"}\n\n'],
        [*(bytes([byte]) for byte in 'data: {"event":"message_end"}\n\n'.encode())],
    ],
)
def test_line_ends_and_comments_may_be_cut_anywhere(pieces: list[bytes]) -> None:
    assert read(pieces) == [{"event": "message_end"}]


def test_a_carriage_return_at_the_end_of_a_piece_does_not_hold_its_event_back() -> None:
    response = Pieces([b'data: {"event":"other"}\r\n\r', b"\n" + END])
    stream = iter(EventStream(response))  # type: ignore[arg-type]
    assert next(stream) == {"event": "other"}
    assert response.read1(9, decode_content=True).startswith(b"\n")  # The next piece was not needed.


def test_a_stream_that_a_proxy_compresses_is_read_all_the_same() -> None:
    """The gateway asks for no compression. Each piece is decoded into pieces that are as small."""
    bomb = gzip.compress(b": " + b"x" * 50_000_000 + b"\n\n" + END)

    def send(connection: socket.socket, request: bytes) -> None:
        head = CHUNKED_HEAD.removesuffix(b"\r\n") + b"Content-Encoding: gzip\r\n\r\n"
        connection.sendall(head + chunk(gzip.compress(FIRST + END)) + b"0\r\n\r\n")

    def send_bomb(connection: socket.socket, request: bytes) -> None:
        head = PLAIN_HEAD.removesuffix(b"\r\n") + b"Content-Encoding: gzip\r\n\r\n"
        connection.sendall(head + bomb)
        connection.close()

    with stream(send) as events:
        assert [event["event"] for event in events] == ["message", "message_end"]
    with stream(send_bomb) as events, pytest.raises(DifyFailed, match="too long"):
        list(events)


@pytest.mark.parametrize("chunked", [True, False])
def test_an_event_is_handed_on_before_the_next_one_is_sent(chunked: bool) -> None:
    frame = chunk if chunked else bytes
    is_handed_on, in_time = threading.Event(), []

    def send(connection: socket.socket, request: bytes) -> None:
        connection.sendall((CHUNKED_HEAD if chunked else PLAIN_HEAD) + frame(FIRST))
        in_time.append(is_handed_on.wait(PATIENCE_S))
        connection.sendall(frame(END))
        connection.close()

    with stream(send) as events:
        assert next(events)["event"] == "message"
        is_handed_on.set()
        assert next(events)["event"] == "message_end"
        assert in_time == [True]
        assert next(events, None) is None


def test_one_event_in_two_packets_is_one_event() -> None:
    def send(connection: socket.socket, request: bytes) -> None:
        connection.sendall(CHUNKED_HEAD + chunk(FIRST[:-8]))
        time.sleep(0.05)
        connection.sendall(chunk(FIRST[-8:] + END))

    with stream(send) as events:
        assert [event["event"] for event in events] == ["message", "message_end"]


def test_a_reset_between_events_is_a_broken_connection() -> None:
    def send(connection: socket.socket, request: bytes) -> None:
        connection.sendall(CHUNKED_HEAD + chunk(FIRST))
        time.sleep(0.05)
        reset(connection)

    with stream(send) as events:
        assert next(events)["event"] == "message"
        with pytest.raises(DifyUnreachable):
            next(events)


@pytest.mark.parametrize("head, body", [(CHUNKED_HEAD, chunk(FIRST)), (PLAIN_HEAD, FIRST), (CHUNKED_HEAD, b"ff\r\nda")])
def test_a_close_without_a_last_event_is_a_broken_connection(head: bytes, body: bytes) -> None:
    def send(connection: socket.socket, request: bytes) -> None:
        connection.sendall(head + body)
        connection.close()

    with stream(send) as events:
        with pytest.raises(DifyUnreachable):
            list(events)


def test_silence_between_events_is_a_timeout() -> None:
    def send(connection: socket.socket, request: bytes) -> None:
        connection.sendall(CHUNKED_HEAD + chunk(FIRST))
        connection.recv(1)

    with stream(send, event_timeout=0.3) as events:
        assert next(events)["event"] == "message"
        with pytest.raises(DifyTimeout):
            next(events)


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("advanced-chat-worker-down-streaming", NOT_BEGUN_TEXT),
        ("advanced-chat-stopped-streaming", NOT_GONE_ON_TEXT),
        ("streaming-first-turn", TIMEOUT_TEXT),
    ],
)
def test_a_silence_is_told_by_what_came_before_it(case: str, text: str) -> None:
    """Without a worker a chatflow of Dify 1.16.1 is one ping and then silence. A worker may also die later."""
    body = load("1.16.1", f"chat/{case}")["response"]["body"]
    begin = "\n\n".join(body.split("\n\n")[:3]).rstrip("\n") + "\n\n"

    def send(connection: socket.socket, request: bytes) -> None:
        connection.sendall(CHUNKED_HEAD + chunk(begin.encode()))
        connection.recv(1)

    with stream(send, event_timeout=0.3) as events, pytest.raises(DifyTimeout) as timeout:
        list(events)
    assert timeout.value.message == text
    assert ("worker" in text) == (text != TIMEOUT_TEXT)


def test_pings_are_not_taken_for_an_answer_for_ever() -> None:
    def send(connection: socket.socket, request: bytes) -> None:
        connection.sendall(CHUNKED_HEAD)
        with contextlib.suppress(OSError):
            for _ in range(1200):
                connection.sendall(chunk(b"event: ping\n\n"))
                time.sleep(0.05)

    with loopback(send) as server:
        events = dify_client(server.url, event_timeout=10, chat_timeout=1).chat().stream({"query": "x"})
        began = time.monotonic()
        with pytest.raises(DifyTimeout, match="Dify's worker"):
            list(events)
        assert 0.9 < time.monotonic() - began < 50


def test_the_pauses_between_reads_are_time_spent_waiting_for_dify(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the log says that an answer in one piece took the gateway itself most of its time."""
    monkeypatch.setattr("route_api.dify.events.PAUSE_SHARE", 1.0)

    def send(connection: socket.socket, request: bytes) -> None:
        connection.sendall(CHUNKED_HEAD)
        for _ in range(5):
            time.sleep(0.05)
            connection.sendall(chunk(FIRST))
        connection.sendall(chunk(END))

    trace = tracing.begin("t")
    try:
        with loopback(send) as server:
            began = time.perf_counter()
            events = dify_client(server.url).chat().stream({"query": "x"}, in_one_piece=True)
            assert [event["event"] for event in events][-1] == "message_end"
            elapsed_s = time.perf_counter() - began
    finally:
        tracing.end()
    assert trace.dify_s > 0.8 * elapsed_s


def test_the_reader_does_not_pause_while_events_are_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer of 20,000 characters that a model gives at once took half a minute when it did."""
    pauses: list[float] = []
    monkeypatch.setattr("route_api.dify.events.sleep", pauses.append)
    monkeypatch.setattr("route_api.dify.events.PAUSE_SHARE", 1e9)
    data = CHUNKED_HEAD + chunk(FIRST) * 20_000 + chunk(END)

    with stream(lambda connection, request: connection.sendall(data), in_one_piece=True) as events:
        assert len(list(events)) == 20_001
    assert len(pauses) < 100, "there were about 700 reads"


def test_silence_before_the_first_event_is_a_timeout_of_the_call() -> None:
    with loopback(lambda connection, request: connection.recv(1)) as server:
        with pytest.raises(DifyTimeout):
            dify_client(server.url, event_timeout=0.2).chat().stream({"query": "x"})


def test_closing_a_stream_drops_the_connection_at_once() -> None:
    gone: list[bool] = []

    def send(connection: socket.socket, request: bytes) -> None:
        connection.sendall(CHUNKED_HEAD + chunk(FIRST))
        gone.append(connection.recv(1) == b"")

    with loopback(send) as server:
        answer = dify_client(server.url).chat().stream({"query": "x"})
        assert next(iter(answer))["event"] == "message"
        answer.close()
        wait_for(lambda: bool(gone))
    assert gone == [True]


class stream:
    """The events that the client reads from a server which answers with `send`."""

    def __init__(self, send: Any, *, in_one_piece: bool = False, event_timeout: float = 60) -> None:
        self._server = loopback(send)
        self._event_timeout = event_timeout
        self._in_one_piece = in_one_piece

    def __enter__(self) -> Iterator[dict[str, Any]]:
        server = self._server.__enter__()
        chat = dify_client(server.url, event_timeout=self._event_timeout).chat()
        self._stream = chat.stream({"query": "x"}, in_one_piece=self._in_one_piece)
        return iter(self._stream)

    def __exit__(self, *error: Any) -> None:
        self._stream.close()
        self._server.__exit__(None, None, None)
