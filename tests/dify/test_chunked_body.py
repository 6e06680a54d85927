"""Chunked bodies: wherever the network cuts them, and what happens to their connection."""

import random
import socket
import threading
import time
from types import SimpleNamespace

import pytest

from route_api.dify import chunked_body
from route_api.dify.chunked_body import ChunkedBody
from route_api.errors import DifyUnreachable

from ..support.dify_client import dify_client
from ..support.event_streams import CHUNKED_HEAD, END, FIRST, chunk, last_event
from ..support.loopback import Loopback, loopback
from ..support.patience import PATIENCE_S

LAST_CHUNK = b"0\r\n\r\n"


def body_of(pieces: list[bytes]) -> bytes:
    """The body that is read if these pieces arrive one after the other."""
    arriving = iter(pieces)
    file = SimpleNamespace(read1=lambda size: next(arriving, b""))
    raw = SimpleNamespace(
        _fp=SimpleNamespace(fp=file), _original_response=SimpleNamespace(close=lambda: None), release_conn=lambda: None
    )
    return b"".join(ChunkedBody(raw))


@pytest.mark.parametrize("seed", range(30))
def test_a_body_is_the_same_wherever_the_network_cuts_it(seed: int) -> None:
    chosen = random.Random(seed)
    contents = [chosen.randbytes(chosen.choice([1, 2, 15, 16, 17, 300, 70_000])) for _ in range(12)]
    data = b"".join(chunk(content) for content in contents) + LAST_CHUNK
    places = sorted(chosen.choices(range(1, len(data)), k=chosen.choice([0, 1, 10, 100])))
    pieces = [data[a:b] for a, b in zip([0, *places], [*places, len(data)]) if a < b]
    assert body_of(pieces) == b"".join(contents)


def test_a_body_that_arrives_byte_by_byte_or_has_extensions_is_read_too() -> None:
    data = b"2;name=value\r\nab\r\n0A\r\n0123456789\r\n" + LAST_CHUNK
    assert body_of([bytes([byte]) for byte in data]) == body_of([data]) == b"ab0123456789"


@pytest.mark.parametrize(
    "data", [b"zz\r\n", b"-5\r\nabcde\r\n", b"2\r\nabc\r\n", b"\r\n", b"5\r\nab", b"", b"9" * 70_000]
)
def test_a_body_that_is_not_framed_as_http_wants_it_is_a_broken_connection(data: bytes) -> None:
    with pytest.raises(OSError):
        body_of([data])

    def send(connection: socket.socket, request: bytes) -> None:
        connection.sendall(CHUNKED_HEAD + data)
        connection.close()

    with loopback(send) as server, pytest.raises(DifyUnreachable):
        list(dify_client(server.url).chat().stream({"query": "x"}))


def ask_three_times(server: Loopback) -> None:
    dify = dify_client(server.url)
    for _ in range(3):
        assert last_event(dify.chat().stream({"query": "x"}))["event"] == "message_end"


@pytest.mark.parametrize("pause", [0.0, 0.01])
def test_a_connection_serves_the_next_question_if_the_last_chunk_comes_soon(
    pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked_body, "LAST_CHUNK_WAIT_S", PATIENCE_S)

    def send(connection: socket.socket, request: bytes) -> None:
        connection.sendall(CHUNKED_HEAD + chunk(FIRST) + chunk(END))
        time.sleep(pause)
        connection.sendall(LAST_CHUNK)

    with loopback(send) as server:
        ask_three_times(server)
        assert server.connections == 1


def test_nobody_waits_for_a_last_chunk_that_does_not_come_soon() -> None:
    """Dify 1.8.1 may keep a stream open for seconds after its last event."""
    all_have_ended = threading.Event()

    def send(connection: socket.socket, request: bytes) -> None:
        connection.sendall(CHUNKED_HEAD + chunk(FIRST) + chunk(END))
        assert all_have_ended.wait(PATIENCE_S)

    with loopback(send) as server:
        ask_three_times(server)
        assert server.connections == 3
        all_have_ended.set()
