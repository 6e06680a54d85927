"""How answers leave gunicorn: what `Packets` makes of the pieces that it writes. And how a worker begins."""

import gc
import io
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


class Connection:
    """A socket that takes `room` bytes at once."""

    def __init__(self, room: int = 1_000_000) -> None:
        self.room = room
        self.packets: list[bytes] = []

    def send(self, data: bytes) -> int:
        self.packets.append(bytes(data[: self.room]))
        return min(len(data), self.room)

    def sendall(self, data: bytes) -> None:
        self.packets.append(bytes(data))

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> None:
        self.packets.append(file.read(count))

    def fileno(self) -> int:
        return 7


@pytest.fixture(scope="module")
def conf() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "gunicorn.conf.py"))


@pytest.fixture(scope="module")
def packets(conf: dict[str, Any]) -> Any:
    return conf["Packets"]


def test_the_head_leaves_with_the_first_piece_and_every_other_piece_at_once(packets: Any) -> None:
    connection = Connection()
    out = packets(connection)
    out.sendall(HEAD)
    assert connection.packets == []
    out.sendall(b"first")
    assert connection.packets == [HEAD + b"first"]
    out.sendall(b"second")
    out.flush()
    assert connection.packets[1:] == [b"second"]


def test_a_head_alone_leaves_at_the_end(packets: Any) -> None:
    connection = Connection()
    out = packets(connection)
    out.sendall(HEAD)
    out.flush()
    out.flush()
    assert connection.packets == [HEAD]


def test_a_file_follows_its_head(packets: Any) -> None:
    connection = Connection()
    out = packets(connection)
    out.sendall(HEAD)
    out.sendfile(io.BytesIO(b"whole"), offset=0, count=5)
    out.flush()
    assert connection.packets == [HEAD, b"whole"]


def test_nothing_leaves_of_an_answer_that_never_began(packets: Any) -> None:
    connection = Connection()
    packets(connection).flush()
    assert connection.packets == []


def test_what_does_not_fit_at_once_follows(packets: Any) -> None:
    connection = Connection(room=10)
    out = packets(connection)
    for piece in (HEAD, b"x" * 50, b"y" * 30, b"z"):
        out.sendall(piece)
    assert b"".join(connection.packets) == HEAD + b"x" * 50 + b"y" * 30 + b"z"


def test_everything_else_is_the_connections_own(packets: Any) -> None:
    assert packets(Connection()).fileno() == 7


def test_a_worker_that_is_ready_is_not_looked_through_for_garbage(conf: dict[str, Any]) -> None:
    try:
        conf["post_worker_init"](None)
        assert gc.get_freeze_count() > 10_000 and len(gc.get_objects()) < 1_000
    finally:
        gc.unfreeze()
