"""The monitor of running turns: callers who leave, stored progress, failures of the database."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import Engine, select
from sqlalchemy.exc import OperationalError

from route_api.chat.monitor import TurnMonitor
from route_api.chat.turn_in_progress import TurnInProgress
from route_api.errors import GatewayStopped
from route_api.extensions import db
from route_api.monitoring.tracing import Trace
from route_api.storage import turns
from route_api.storage.dead_letters import DeadLetters
from route_api.storage.models import Message
from route_api.storage.stop_requests import request_stop
from route_api.storage.turns import NewTurn, TurnEnd, begin_turn

from ..support.patience import PATIENCE_S

DONE = TurnEnd("全部", "done", None, None)


@pytest.fixture
def engine(app: Flask) -> Engine:
    with app.app_context():
        return db.engine


@pytest.fixture
def monitor(engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TurnMonitor:
    """A monitor whose threads do nothing. The test calls `poll` and `flush` itself."""
    monkeypatch.setattr("route_api.chat.monitor.CHECK_INTERVAL_S", 1000.0)
    return TurnMonitor(engine, DeadLetters(tmp_path / "dead_letters"))


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The gateway's end of a connection, and the caller's end."""
    ours, callers = socket.socketpair()
    yield ours, callers
    ours.close()
    callers.close()


class Events:
    """A stub of Dify's events that records the calls of its methods."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Callable[[], None]:
        return lambda: self.asked.append(name)


def turn_of(engine: Engine, caller: socket.socket | None = None, trace: Trace | None = None) -> TurnInProgress:
    row = begin_turn(engine, NewTurn("alice", "?", "chat"))
    return TurnInProgress(row, trace or Trace(), caller)


def stored(engine: Engine, turn: TurnInProgress) -> Message:
    with engine.connect() as connection:
        return connection.execute(select(Message.__table__).where(Message.id == turn.row.message_id)).one()


def test_what_has_come_is_stored_by_the_next_flush(engine: Engine, monitor: TurnMonitor) -> None:
    turn = turn_of(engine)
    monitor.register(turn)
    turn.text, turn.last_event = "部分", {"task_id": "t"}
    monitor.flush()
    row = stored(engine, turn)
    assert (row.response, row.meta_data) == ("部分", {"status": "pending", "task_id": "t"})


def test_what_the_database_did_not_take_is_stored_by_the_next_flush(
    engine: Engine, monitor: TurnMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = turn_of(engine)
    monitor.register(turn)
    turn.text = "部分"

    def be_away(*_: object) -> None:
        raise OperationalError("UPDATE message", {}, Exception("server closed the connection"))

    with monkeypatch.context() as away:
        away.setattr("route_api.chat.monitor.store_progress", be_away)
        with pytest.raises(OperationalError):
            monitor.flush()
    monitor.flush()
    assert stored(engine, turn).response == "部分"


def test_a_text_that_is_replaced_by_one_of_the_same_length_is_stored(engine: Engine, monitor: TurnMonitor) -> None:
    turn = turn_of(engine)
    monitor.register(turn)
    for text in ("秘密", "。。"):
        turn.text = text
        monitor.flush()
        assert stored(engine, turn).response == text


def test_a_caller_who_stays_is_not_taken_for_gone(
    engine: Engine, monitor: TurnMonitor, connection: tuple[socket.socket, socket.socket]
) -> None:
    ours, callers = connection
    turn, events = turn_of(engine, ours), Events()
    turn.attach_events(events)  # type: ignore[arg-type]
    monitor.register(turn)
    monitor.poll()
    callers.sendall(b"GET /the-next-request")
    monitor.poll()
    assert turn.end_reason is None and "interrupt" not in events.asked and ours.recv(3) == b"GET"


def test_to_look_for_the_caller_does_not_change_how_the_server_waits_for_them(
    engine: Engine, monitor: TurnMonitor, connection: tuple[socket.socket, socket.socket]
) -> None:
    """Both handles share the flag O_NONBLOCK. If the monitor set it, the worker's writes could fail instead of wait."""
    ours, callers = connection
    monitor.register(turn_of(engine, ours))
    monitor.poll()
    read: list[int] = []

    def read_slowly() -> None:
        while data := callers.recv(1_000_000):
            read.append(len(data))

    reader = threading.Timer(0.3, read_slowly)
    reader.start()
    ours.sendall(b"x" * 5_000_000)
    ours.shutdown(socket.SHUT_WR)
    reader.join(PATIENCE_S)
    assert sum(read) == 5_000_000


def test_a_caller_who_leaves_is_noticed_once_without_a_token(
    engine: Engine, monitor: TurnMonitor, connection: tuple[socket.socket, socket.socket]
) -> None:
    ours, callers = connection
    turn, events = turn_of(engine, ours), Events()
    turn.attach_events(events)  # type: ignore[arg-type]
    turn.last_event = {"task_id": "t"}
    monitor.register(turn)
    callers.close()
    monitor.poll()
    monitor.poll()
    assert turn.end_reason == "caller_left" and events.asked == ["interrupt"]


def test_events_are_read_on_for_a_caller_who_left_before_dify_named_the_task(
    engine: Engine, monitor: TurnMonitor, connection: tuple[socket.socket, socket.socket]
) -> None:
    ours, callers = connection
    turn, events = turn_of(engine, ours), Events()
    turn.begin_asking(None)
    turn.attach_events(events)  # type: ignore[arg-type]
    monitor.register(turn)
    callers.close()
    monitor.poll()
    assert turn.end_reason == "caller_left" and events.asked == []
    monitor.end_turns()
    assert events.asked == ["interrupt"], "a gateway that stops cannot wait for it"


@pytest.mark.parametrize("reason", ["caller_left", "stop_requested"])
def test_a_turn_ends_at_once_though_dify_has_not_named_its_task(
    engine: Engine, monitor: TurnMonitor, reason: str
) -> None:
    """Otherwise a Dify whose worker is away would keep the conversation busy until DIFY_EVENT_TIMEOUT."""
    turn, events = turn_of(engine), Events()
    monitor.register(turn)
    turn.begin_asking(None)
    turn.attach_events(events)  # type: ignore[arg-type]
    if reason == "stop_requested":
        request_stop(engine, turn.row.message_id)
    else:
        turn.interrupt(reason)
    monitor.flush()
    row = stored(engine, turn)
    assert (row.meta_data, row.claimed_until) == ({"status": "stopped", "reason": reason}, None)
    again = NewTurn("alice", "??", "chat", conversation_id=turn.row.conversation_id)
    assert begin_turn(engine, again).dify_conversation is None, "Dify may still carry out the stopped question"
    with monitor.ensure_end(turn):
        monitor.finish(turn, DONE)
    assert stored(engine, turn).meta_data == row.meta_data, "the end of a turn is stored once"
    monitor.end_turns()
    assert events.asked == [], "its request waits no more"


def test_the_wait_of_a_turn_that_has_ended_ends_with_the_gateway(engine: Engine, monitor: TurnMonitor) -> None:
    turn, events = turn_of(engine), Events()
    monitor.register(turn)
    turn.begin_asking(None)
    turn.attach_events(events)  # type: ignore[arg-type]
    turn.interrupt("stop_requested")
    monitor.flush()
    monitor.flush()
    monitor.end_turns()
    assert events.asked == ["interrupt"]


def test_a_dify_that_stops_a_model_when_its_connection_closes_is_not_waited_for(
    engine: Engine, monitor: TurnMonitor
) -> None:
    turn, events = turn_of(engine), Events()
    monitor.register(turn)
    turn.begin_asking(None, needs_task=False)
    turn.attach_events(events)  # type: ignore[arg-type]
    request_stop(engine, turn.row.message_id)
    monitor.flush()
    assert events.asked == ["interrupt"] and not turn.has_ended


def test_an_answer_that_the_database_did_not_take_is_stored_later(
    engine: Engine, monitor: TurnMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = turn_of(engine)
    monitor.register(turn)
    be_away(monkeypatch, times=2)
    monitor.finish(turn, DONE)
    monitor.flush()
    assert stored(engine, turn).meta_data["status"] == "pending"
    monitor.flush()
    row = stored(engine, turn)
    assert (row.response, row.meta_data["status"], row.claimed_until) == ("全部", "done", None)
    monitor.flush()


def be_away(monkeypatch: pytest.MonkeyPatch, *, times: int) -> None:
    """Let the database fail this many times. Then it answers again."""
    left = iter(range(times))

    def finish(engine: Engine, row: turns.TurnRow, end: TurnEnd) -> None:
        if next(left, None) is not None:
            raise OperationalError("UPDATE message", {}, Exception("server closed the connection"))
        turns.finish_turn(engine, row, end)

    monkeypatch.setattr("route_api.chat.monitor.finish_turn", finish)


def test_a_database_that_hangs_does_not_keep_a_caller_who_leaves_from_being_noticed(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    connection: tuple[socket.socket, socket.socket],
    tmp_path: Path,
) -> None:
    hangs, answers = threading.Event(), threading.Event()
    noticed = threading.Event()

    class Interrupted(Events):
        def interrupt(self) -> None:
            noticed.set()

    def store_progress(*_: object) -> None:
        hangs.set()
        answers.wait(PATIENCE_S)

    monkeypatch.setattr("route_api.chat.monitor.CHECK_INTERVAL_S", 0.01)
    monkeypatch.setattr("route_api.chat.monitor.store_progress", store_progress)
    ours, callers = connection
    monitor, turn = TurnMonitor(engine, DeadLetters(tmp_path)), turn_of(engine, ours)
    turn.attach_events(Interrupted())  # type: ignore[arg-type]
    turn.text, turn.last_event = "部分", {"task_id": "t"}
    monitor.register(turn)
    try:
        assert hangs.wait(PATIENCE_S)
        callers.close()
        assert noticed.wait(PATIENCE_S)
    finally:
        answers.set()
        monitor.finish(turn, DONE)


def test_a_turn_that_waits_for_difys_first_word_is_ended_where_it_waits(engine: Engine, monitor: TurnMonitor) -> None:
    trace = Trace()
    turn = turn_of(engine, trace=trace)
    monitor.register(turn)
    ended = threading.Event()
    with trace.interruptible(ended.set):
        monitor.end_turns()
    assert ended.is_set() and turn.end_reason == "gateway_stopped"


def test_a_stream_is_interrupted_once_when_the_gateway_stops(engine: Engine, monitor: TurnMonitor) -> None:
    trace, events = Trace(), Events()
    turn = turn_of(engine, trace=trace)
    turn.attach_events(events)  # type: ignore[arg-type]
    monitor.register(turn)
    monitor.end_turns()
    assert (turn.end_reason, events.asked) == ("gateway_stopped", ["interrupt"])
    assert not trace.is_interrupted, "Dify is to be told to stop on the same trace"


def test_a_stream_that_begins_just_when_the_gateway_stops_is_interrupted(engine: Engine, monitor: TurnMonitor) -> None:
    turn, events = turn_of(engine), Events()
    monitor.register(turn)
    monitor.end_turns()
    turn.attach_events(events)  # type: ignore[arg-type]
    assert events.asked == ["interrupt"]


def test_a_turn_that_comes_after_the_last_was_ended_is_refused(engine: Engine, monitor: TurnMonitor) -> None:
    monitor.end_turns()
    with pytest.raises(GatewayStopped):
        monitor.register(turn_of(engine))


def test_the_connection_of_a_caller_who_does_not_read_is_dropped_at_the_end(
    engine: Engine, monitor: TurnMonitor, connection: tuple[socket.socket, socket.socket]
) -> None:
    ours, callers = connection
    monitor.register(turn_of(engine, ours))
    monitor.drop_callers()
    assert callers.recv(1) == b""
    with pytest.raises(BrokenPipeError):
        ours.send(b"data")


def test_an_answer_that_is_not_stored_yet_is_tried_again_when_the_process_ends(
    engine: Engine, monitor: TurnMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = turn_of(engine)
    monitor.register(turn)
    be_away(monkeypatch, times=1)
    monitor.finish(turn, DONE)
    monitor.end_turns()
    monitor.flush_ends()
    assert stored(engine, turn).response == "全部"
