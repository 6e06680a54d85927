"""How the gthread worker stops, and how it closes connections."""

import os
import signal
import socket
import threading
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.workers.gthread import TConn, ThreadWorker

from route_api.server.thread_worker import GatewayThreadWorker

from ..support.patience import PATIENCE_S


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


def test_connections_that_have_sent_nothing_do_not_delay_a_stop(worker: Any) -> None:
    worker.pending_conns.append(SimpleNamespace(timeout=monotonic() + 75))
    worker.alive = False
    worker.set_accept_enabled(False)
    assert worker.pending_conns[0].timeout <= monotonic()


def test_a_worker_whose_master_was_killed_stops_like_after_sigterm(
    worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(worker, "handle_exit", lambda sig, frame: asked.append(sig))
    worker.ppid, worker.log = os.getppid() + 1, SimpleNamespace(info=lambda *_: None)
    assert not worker.is_parent_alive() and asked == [signal.SIGTERM]
    worker.ppid = os.getppid()
    assert worker.is_parent_alive() and asked == [signal.SIGTERM]


def test_ctrl_c_ends_the_running_turns_at_the_next_notify(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(worker, "handle_exit", lambda sig, frame: asked.append(sig))
    worker.booted = True
    worker.handle_quit(signal.SIGINT, None)
    assert asked == [signal.SIGINT] and worker.stops_at <= monotonic()


def test_the_main_thread_does_not_wait_for_a_caller_who_keeps_the_connection_open(
    worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ThreadWorker, "handle", lambda self, conn: False)
    ours, callers = socket.socketpair()
    callers.sendall(b"more than the gateway has read")
    connection = TConn(SimpleNamespace(), ours, None, None)
    waited_in_thread: list[bool] = []
    thread = threading.Thread(target=lambda: waited_in_thread.append(worker.handle(connection)))
    thread.start()
    assert callers.recv(1) == b"", "the caller learns at once that the answer is complete"
    thread.join(PATIENCE_S)
    assert waited_in_thread == [False]
    ours.setblocking(True)
    assert ours.recv(1) == b"", "the main thread reads the end of the connection at once"
    connection.close(graceful=True)
    callers.close()
