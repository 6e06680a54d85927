"""A task that a thread repeats."""

import threading

import pytest

from route_api.monitoring.repeated_task import RepeatedTask

from ..support.patience import PATIENCE_S
from ..support.running_gateway import wait_for


def test_it_goes_on_after_an_error_and_one_thread_runs_it(caplog: pytest.LogCaptureFixture) -> None:
    threads: set[int] = set()
    third_call = threading.Event()
    calls = 0

    def fail() -> None:
        nonlocal calls
        calls += 1
        threads.add(threading.get_ident())
        if calls == 3:
            third_call.set()
        raise ValueError("a bug")

    task = RepeatedTask("test", 0.001, fail)
    for _ in range(3):
        task.start()
    assert third_call.wait(PATIENCE_S) and len(threads) == 1
    assert "a bug" in caplog.text


def test_if_no_thread_can_be_started_the_next_start_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    called = threading.Event()
    task = RepeatedTask("test", 0.001, called.set)
    with monkeypatch.context() as patches:
        patches.setattr(threading.Thread, "start", _no_thread)
        with pytest.raises(RuntimeError):
            task.start()
    task.start()
    assert called.wait(PATIENCE_S)


def test_after_a_stop_the_thread_ends_and_another_start_begins_a_new_one() -> None:
    called = threading.Event()
    task = RepeatedTask("stopped", 0.001, called.set)
    for _ in range(2):
        task.start()
        assert called.wait(PATIENCE_S)
        task.stop()
        wait_for(lambda: "stopped" not in [thread.name for thread in threading.enumerate()])
        called.clear()


def _no_thread(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
