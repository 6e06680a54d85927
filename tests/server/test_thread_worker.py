"""How the gthread worker stops: which connections it still takes."""

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from route_api.server.thread_worker import GatewayThreadWorker


class Poller:
    """Takes listeners, and tells nothing."""

    def register(self, *_: Any) -> None:
        """Nothing to do."""

    unregister = register


@pytest.fixture
def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


@pytest.fixture
def worker(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A worker that accepts connections; those that it accepts are in `accepted`."""
    settings = SimpleNamespace(worker_connections=10, threads=1, max_requests=0, max_requests_jitter=0)
    monkeypatch.setattr("gunicorn.workers.base.WorkerTmp", lambda _: None)
    made = GatewayThreadWorker(1, 1, [listener], None, 1, settings, None)
    made.poller = Poller()
    made.accepted = []
    monkeypatch.setattr(made, "accept", lambda each: made.accepted.append(each.accept()[0]))
    made.set_accept_enabled(True)
    return made


def test_a_worker_that_stops_takes_what_is_waiting_and_closes_the_door(worker: Any, listener: socket.socket) -> None:
    address = listener.getsockname()
    waiting = [socket.create_connection(address) for _ in range(3)]
    worker.alive = False
    worker.set_accept_enabled(False)
    assert len(worker.accepted) == 3
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    for connection in (*waiting, *worker.accepted):
        connection.close()


def test_a_worker_that_is_busy_keeps_its_listeners(worker: Any, listener: socket.socket) -> None:
    worker.set_accept_enabled(False)
    with socket.create_connection(listener.getsockname()):
        assert worker.accepted == []
    listener.close()
