"""The monitor of running turns: who has left, what has come, what the database did not take."""

import socket
import threading
from collections.abc import Callable, Iterator

import gevent
import pytest
from flask import Flask
from sqlalchemy import Engine, select
from sqlalchemy.exc import OperationalError

from route_api.chat.monitor import LiveTurn, TurnMonitor
from route_api.errors import GatewayStopped
from route_api.extensions import db
from route_api.storage.models import Message
from route_api.storage.turns import Turn, begin_turn, complete_turn


@pytest.fixture
def engine(app: Flask) -> Engine:
    with app.app_context():
        return db.engine


@pytest.fixture
def monitor(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> TurnMonitor:
    """One whose rounds the test makes itself."""
    monkeypatch.setattr(TurnMonitor, "_run", lambda *_: None)
    return TurnMonitor(engine)


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end of a caller's connection, and the caller's."""
    ours, callers = socket.socketpair()
    yield ours, callers
    ours.close()
    callers.close()


def turn_of(engine: Engine) -> Turn:
    asked = {"conversation_id": None, "kb_id": None, "query": "?", "chat_type": "chat", "name": None, "meta_data": {}}
    return begin_turn(engine, user_id="alice", **asked)


def stored(engine: Engine, turn: Turn) -> Message:
    with engine.connect() as connection:
        return connection.execute(select(Message.__table__).where(Message.id == turn.message_id)).one()


def test_what_has_come_is_stored_in_the_next_round(engine: Engine, monitor: TurnMonitor) -> None:
    live = LiveTurn(turn_of(engine), None)
    monitor.admit(live)
    live.text = "部分"
    monitor.store()
    assert stored(engine, live.turn).response == "部分"


def test_a_caller_who_stays_is_not_taken_for_gone(
    engine: Engine, monitor: TurnMonitor, connection: tuple[socket.socket, socket.socket]
) -> None:
    ours, callers = connection
    live = LiveTurn(turn_of(engine), ours)
    live.interrupt = lambda: pytest.fail("the caller is still there")
    monitor.admit(live)
    monitor.look()
    callers.sendall(b"GET /the-next-request")
    monitor.look()
    assert live.ended_by is None and ours.recv(3) == b"GET"


def test_a_caller_who_leaves_is_noticed_once_without_a_token(
    engine: Engine, monitor: TurnMonitor, connection: tuple[socket.socket, socket.socket]
) -> None:
    ours, callers = connection
    live = LiveTurn(turn_of(engine), ours)
    interrupts: list[bool] = []
    live.interrupt = lambda: interrupts.append(True)
    monitor.admit(live)
    callers.close()
    monitor.look()
    monitor.look()
    assert live.ended_by == "caller_left" and interrupts == [True]


def test_an_answer_that_the_database_did_not_take_is_stored_later(engine: Engine, monitor: TurnMonitor) -> None:
    live = LiveTurn(turn_of(engine), None)
    monitor.admit(live)
    away = iter([True, True, False])

    def store() -> None:
        if next(away):
            raise OperationalError("UPDATE message", {}, Exception("server closed the connection"))
        complete_turn(engine, live.turn, "全部", "done", thread=None)

    monitor.complete(live, store)
    monitor.store()
    assert stored(engine, live.turn).meta_data["status"] == "pending"
    monitor.store()
    row = stored(engine, live.turn)
    assert (row.response, row.meta_data["status"], row.claimed_until) == ("全部", "done", None)
    monitor.store()


class Events:
    """Stands in for Dify's; remembers what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Callable[[], None]:
        return lambda: self.asked.append(name)


def test_the_wait_for_events_is_looked_after_in_each_round(engine: Engine, monitor: TurnMonitor) -> None:
    live, events = LiveTurn(turn_of(engine), None), Events()
    monitor.admit(live)
    monitor.look()
    live.watch(events)  # type: ignore[arg-type]
    monitor.look()
    monitor.look()
    assert events.asked == ["leave_timing", "end_silence", "end_silence"]
    monitor.complete(live, lambda: None)
    monitor.look()
    assert len(events.asked) == 3


def test_a_database_that_hangs_does_not_keep_the_wait_for_events_from_being_looked_after(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, looked, answers = threading.Event(), threading.Event(), threading.Event()

    def store_progress(*_: object) -> None:
        hangs.set()
        answers.wait(10)

    monkeypatch.setattr("route_api.chat.monitor.ROUND_S", 0.01)
    monkeypatch.setattr("route_api.chat.monitor.store_progress", store_progress)
    monitor, live = TurnMonitor(engine), LiveTurn(turn_of(engine), None)
    live.end_silence = lambda: looked.set() if hangs.is_set() else None
    live.text = "部分"
    monitor.admit(live)
    try:
        assert hangs.wait(5) and looked.wait(5)
    finally:
        answers.set()
        monitor.complete(live, lambda: None)


def test_a_turn_that_waits_for_difys_first_word_is_ended_where_it_waits(engine: Engine, monitor: TurnMonitor) -> None:
    live = LiveTurn(turn_of(engine), None)
    monitor.admit(live)

    def wait_for_dify() -> str:
        try:
            with live.abortable():
                gevent.sleep(30)
        except GatewayStopped:
            return "told"
        return "waited"

    waiting = gevent.spawn(wait_for_dify)
    gevent.sleep(0)
    monitor.end_turns()
    assert waiting.get(timeout=5) == "told"


def test_a_turn_that_got_its_answer_at_the_last_moment_is_left_in_peace(engine: Engine, monitor: TurnMonitor) -> None:
    """It stores now; to be ended in the midst of that would lose the answer."""
    live = LiveTurn(turn_of(engine), None)
    monitor.admit(live)
    answered = gevent.event.Event()

    def wait_and_store() -> str:
        with live.abortable():
            answered.wait()
        gevent.sleep(0.05)
        return "stored"

    storing = gevent.spawn(wait_and_store)
    gevent.sleep(0)
    answered.set()
    monitor.end_turns()
    assert storing.get(timeout=5) == "stored"


def test_a_stream_is_interrupted_once_when_the_gateway_stops(engine: Engine, monitor: TurnMonitor) -> None:
    live = LiveTurn(turn_of(engine), None)
    interrupts: list[bool] = []
    live.interrupt = lambda: interrupts.append(True)
    monitor.admit(live)
    monitor.end_turns()
    assert (live.ended_by, interrupts) == ("gateway_stopped", [True])


def test_a_turn_that_comes_after_the_last_was_ended_is_refused(engine: Engine, monitor: TurnMonitor) -> None:
    monitor.end_turns()
    with pytest.raises(GatewayStopped):
        monitor.admit(LiveTurn(turn_of(engine), None))


def test_the_connection_of_a_caller_who_does_not_read_is_dropped_at_the_end(
    engine: Engine, monitor: TurnMonitor, connection: tuple[socket.socket, socket.socket]
) -> None:
    ours, callers = connection
    monitor.admit(LiveTurn(turn_of(engine), ours))
    monitor.leave_callers()
    assert callers.recv(1) == b""
    with pytest.raises(BrokenPipeError):
        ours.send(b"data")


def test_an_answer_that_is_not_stored_yet_is_tried_again_when_the_process_ends(
    engine: Engine, monitor: TurnMonitor
) -> None:
    live = LiveTurn(turn_of(engine), None)
    monitor.admit(live)
    away = iter([True, False])

    def store() -> None:
        if next(away):
            raise OperationalError("UPDATE message", {}, Exception("server closed the connection"))
        complete_turn(engine, live.turn, "全部", "done", thread=None)

    monitor.complete(live, store)
    monitor.end_turns()
    monitor.store_rest()
    assert stored(engine, live.turn).response == "全部"
