"""Answers that are too large, too small or compressed: a Dify on loopback, and how much memory the client takes."""

import gzip
import socket
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from route_api.dify import Dify
from route_api.errors import DifyFailed, DifyNotFound, DifyRejected

from ..support.dify_client import dify_client
from ..support.loopback import answer, loopback, ok

MB = 1024 * 1024
LIMIT = 1 * MB
FILL = b'{"data":"' + b"x" * 65_000


@contextmanager
def memory_within(size: int) -> Iterator[None]:
    """Check that no more bytes than this are taken at any moment."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size, f"{peak / MB:.1f} MB"


def head(*headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Type: application/json", *headers, "", ""]).encode()


def endless(*headers: str) -> Callable[[socket.socket, bytes], None]:
    """Send a body without an end, until the client closes the connection."""

    def send(connection: socket.socket, request: bytes) -> None:
        connection.sendall(head(*headers))
        while True:
            connection.sendall(FILL)

    return send


def endless_chunks(connection: socket.socket, request: bytes) -> None:
    connection.sendall(head("Transfer-Encoding: chunked"))
    while True:
        connection.sendall(b"%x\r\n%s\r\n" % (len(FILL), FILL))


def one_endless_chunk(connection: socket.socket, request: bytes) -> None:
    connection.sendall(head("Transfer-Encoding: chunked") + b"7fffffffffff\r\n")
    while True:
        connection.sendall(FILL)


def compressed(encoding: str, body: bytes) -> Callable[[socket.socket, bytes], None]:
    def send(connection: socket.socket, request: bytes) -> None:
        connection.sendall(head(f"Content-Encoding: {encoding}", f"Content-Length: {len(body)}"))
        connection.sendall(body)

    return send


BOMB = gzip.compress(b'"' + b"x" * 300 * MB + b'"', 1)
TOO_LARGE = {
    "endless": endless("Connection: close"),
    "endless chunks": endless_chunks,
    "an endless chunk": one_endless_chunk,
    "a long body": endless("Content-Length: 9999999999"),
    "gzip": compressed("gzip", BOMB),
    "deflate": compressed("deflate", zlib.compress(b"x" * 100 * MB, 1)),
}
CALLS: dict[str, Callable[[Dify], Any]] = {
    "a list": lambda dify: dify.knowledge.list_datasets(1, 20),
    "a change": lambda dify: dify.knowledge.create_dataset({"name": "x"}),
    "a raw upload": lambda dify: dify.knowledge.create_document_raw("d", "a.txt", "multipart/form-data", iter([b"x"])),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", TOO_LARGE)
def test_an_answer_over_the_limit_is_refused_before_it_fills_the_memory(kind: str, call: str) -> None:
    with loopback(TOO_LARGE[kind]) as server:
        dify = dify_client(server.url, max_answer_size=LIMIT)
        with memory_within(3 * LIMIT):
            with pytest.raises(DifyFailed, match="larger than 1 MB.*DIFY_MAX_ANSWER_MB"):
                CALLS[call](dify)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, LIMIT - 2])
@pytest.mark.parametrize("encoding", ["", "gzip", "deflate"])
def test_an_answer_up_to_the_limit_is_read_whole(size: int, encoding: str) -> None:
    body = b'"' + b"x" * size + b'"'
    encoded = {"gzip": gzip.compress, "deflate": zlib.compress}.get(encoding, bytes)(body)
    with loopback(compressed(encoding or "identity", encoded)) as server:
        dify = dify_client(server.url, max_answer_size=LIMIT)
        for _ in range(2):
            assert dify.transport.request("GET", "/v1/x") == "x" * size
        assert server.connections == 1


@pytest.mark.parametrize("kind", TOO_LARGE)
def test_an_error_with_a_large_body_keeps_its_status(kind: str) -> None:
    def refuse(connection: socket.socket, request: bytes) -> None:
        TOO_LARGE[kind](_As404(connection), request)  # type: ignore[arg-type]

    with loopback(refuse) as server, memory_within(LIMIT):
        dify = dify_client(server.url)
        with pytest.raises(DifyNotFound):
            dify.knowledge.get_dataset("d")
        with pytest.raises(DifyNotFound):
            CALLS["a raw upload"](dify)


class _As404:
    """A connection on which every answer has the status 404."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def sendall(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.1 200 OK"):
            data = data.replace(b"200 OK", b"404 NOT FOUND", 1)
        self._connection.sendall(data)


def test_a_compressed_error_is_read() -> None:
    body = gzip.compress(b'{"code":"invalid_param","message":"Segments is required","status":400}')

    def refuse(connection: socket.socket, request: bytes) -> None:
        size = f"Content-Length: {len(body)}"
        connection.sendall(head("Content-Encoding: gzip", size, status="400 BAD REQUEST") + body)

    with loopback(refuse) as server, pytest.raises(DifyRejected, match="Segments is required"):
        dify_client(server.url).knowledge.get_dataset("d")


@pytest.mark.parametrize("status", ["200 OK", "404 NOT FOUND"])
def test_an_answer_that_is_compressed_twice_is_not_decoded(status: str) -> None:
    def send(connection: socket.socket, request: bytes) -> None:
        connection.sendall(head("Content-Encoding: gzip, gzip", "Content-Length: 99", status=status))

    with loopback(send) as server:
        for call in CALLS.values():
            with pytest.raises(DifyFailed, match="more than once"):
                call(dify_client(server.url))


def test_no_compression_is_asked_for() -> None:
    with loopback(ok) as server:
        dify = dify_client(server.url)
        dify.knowledge.get_dataset("d")
        dify.chat().stream({"query": "x"}).close()
        CALLS["a raw upload"](dify)
    encodings = [line for request in server.requests for line in request.split(b"\r\n") if b"ccept-" in line]
    assert encodings == [b"Accept-Encoding: identity"] * 3


def test_a_compressed_file_is_decoded_piece_by_piece() -> None:
    """A file may have any size; it is never in memory as a whole."""

    def send(connection: socket.socket, request: bytes) -> None:
        if b"/download" in request:
            connection.sendall(answer(b'{"url":"/files/f"}'))
        else:
            compressed("gzip", BOMB)(connection, request)

    with loopback(send) as server, memory_within(2 * MB):
        files = dify_client(server.url).files
        file = files.open_file(files.locate("ds", "doc"))
        assert file.size is None  # Content-Length is the size of the compressed bytes.
        sizes = [len(piece) for piece in file.chunks()]
        file.close()
    assert (sum(sizes), max(sizes)) == (300 * MB + 2, 64 * 1024)
