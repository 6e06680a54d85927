"""How requests leave, and when an idle connection is not used again."""

import io
import random
import socket
import time
from typing import Any

import pytest
from urllib3 import PoolManager

from route_api.server.urllib3_connection import POOL_CLASSES

from ..support.loopback import answer, loopback, ok


@pytest.fixture
def pools() -> PoolManager:
    manager = PoolManager()
    manager.pool_classes_by_scheme = POOL_CLASSES
    return manager


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is handed to the client's socket, piece by piece."""
    pieces: list[bytes] = []
    for name in ("send", "sendall"):

        def remember(self: socket.socket, data: Any, send: Any = getattr(socket.socket, name)) -> Any:
            if not bytes(data).startswith(b"HTTP/1.1"):  # The server's answer, in the same process.
                pieces.append(bytes(data))
            return send(self, data)

        monkeypatch.setattr(socket.socket, name, remember)
    return pieces


def test_a_body_in_memory_leaves_with_its_head(pools: PoolManager, sent: list[bytes]) -> None:
    with loopback(ok) as server:
        for _ in range(2):
            assert pools.request("POST", f"{server.url}/v1/x", body=b'{"a":1}').json() == {"ok": True}
    assert len(sent) == 2 and server.connections == 1
    head, _, body = sent[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/x HTTP/1.1\r\n") and b"Content-Length: 7" in head and body == b'{"a":1}'


def test_a_body_that_does_not_fit_into_the_socket_arrives_whole(pools: PoolManager, sent: list[bytes]) -> None:
    body = random.Random(1).randbytes(20_000_000)
    with loopback(ok) as server:
        for given in (b"{}", body):
            assert pools.request("POST", f"{server.url}/v1/x", body=given, timeout=5).status == 200
        assert server.connections == 1 and server.requests[1].endswith(b"\r\n\r\n" + body)
    assert len(sent) > 2, "it fitted, and nothing was tried here"


@pytest.mark.parametrize("method, body", [("GET", None), ("POST", b"")])
def test_a_request_without_a_body_leaves_at_once(
    pools: PoolManager, sent: list[bytes], method: str, body: bytes | None
) -> None:
    with loopback(ok) as server:
        assert pools.request(method, f"{server.url}/v1/x", body=body).status == 200
    assert len(sent) == 1 and sent[0].endswith(b"\r\n\r\n")


def test_a_body_that_is_streamed_is_not_collected(pools: PoolManager, sent: list[bytes]) -> None:
    with loopback(ok) as server:
        body, head = io.BytesIO(b"x" * 40_000), {"Content-Length": "40000"}
        assert pools.request("POST", f"{server.url}/v1/x", body=body, headers=head).status == 200
    assert sent[0].endswith(b"\r\n\r\n")
    assert b"".join(sent[1:]) == b"x" * 40_000 and max(map(len, sent)) < 40_000


def test_a_connection_that_the_server_has_closed_is_not_used_for_a_chat(pools: PoolManager) -> None:
    """A POST is never sent twice, so that it must not go into a closed connection."""

    def answer_and_hang_up(connection: socket.socket, request: bytes) -> None:
        connection.sendall(answer(b'{"ok":true}'))
        connection.close()

    with loopback(answer_and_hang_up) as server:
        for _ in range(3):
            assert pools.request("POST", f"{server.url}/v1/x", body=b"{}", retries=False).status == 200
            time.sleep(0.1)
        assert server.connections == 3


def test_a_connection_knows_whether_it_can_be_used() -> None:
    connection = POOL_CLASSES["http"].ConnectionCls("127.0.0.1", 1)
    assert not connection.is_connected
    connection.sock, theirs = socket.socketpair()
    assert connection.is_connected
    theirs.close()
    assert not connection.is_connected
    connection.close()


def test_every_scheme_has_its_pool() -> None:
    assert POOL_CLASSES.keys() == {"http", "https"}
    assert POOL_CLASSES["https"].ConnectionCls.default_port == 443
