"""How a worker stops: what happens at which time of the stop, whatever class of worker it is."""

from types import SimpleNamespace
from typing import Any

import pytest

from route_api.server import stopping
from route_api.server.stopping import TurnStoppingMixin


class Monitor:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.is_stopping = False
        self.told: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda: self.told.append(name)


class BareWorker:
    """gunicorn's part of a worker."""

    def __init__(self, grace: int) -> None:
        self.cfg = SimpleNamespace(graceful_timeout=grace)
        self.monitor = Monitor()
        self.wsgi = SimpleNamespace(extensions={"route_api": SimpleNamespace(turn_monitor=self.monitor)})
        self.booted, self.alive = False, True

    def load_wsgi(self) -> None:
        self.booted = True

    def run(self) -> None:
        self.alive = False

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.alive = False

    def notify(self) -> None:
        """Nobody is told."""


class Worker(TurnStoppingMixin, BareWorker):
    """A worker whose clock the test turns."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(stopping, "monotonic", lambda: now[0])
    return now


def stopped(grace: int) -> Worker:
    worker = Worker(grace)
    worker.load_wsgi()
    worker.notify()
    worker.handle_exit(15, None)
    return worker


def test_turns_get_their_time_and_are_ended_when_there_is_just_time_to_store_them(clock: list[float]) -> None:
    worker = stopped(30)
    assert worker.monitor.is_stopping and not worker.alive
    told = {}
    for second in range(30):
        clock[0] = 100.0 + second
        worker.notify()
        told[second] = list(dict.fromkeys(worker.monitor.told))
    assert told[26] == [] and told[27] == ["end_turns"] and told[28] == ["end_turns", "drop_callers"]


def test_a_short_grace_time_still_leaves_time_to_store(clock: list[float]) -> None:
    worker = stopped(1)
    worker.notify()
    assert worker.monitor.told == ["end_turns", "drop_callers"]


def test_a_second_signal_does_not_begin_the_grace_time_anew(clock: list[float]) -> None:
    worker = stopped(10)
    clock[0] += 9
    worker.handle_exit(15, None)
    worker.notify()
    assert "end_turns" in worker.monitor.told


def test_a_worker_that_is_not_ready_yet_has_no_turns_to_stop(clock: list[float]) -> None:
    worker = Worker(10)
    worker.handle_exit(15, None)
    worker.notify()
    assert not worker.monitor.is_stopping and worker.monitor.told == []


def test_what_the_database_did_not_take_is_stored_when_the_worker_has_ended() -> None:
    worker = Worker(10)
    worker.load_wsgi()
    worker.run()
    assert worker.monitor.told == ["flush_ends"]
