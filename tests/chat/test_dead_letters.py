"""Answers that a database refuses: they hold up no other answer and no conversation, and an operator finds them."""

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import InternalError, OperationalError

from config import Config
from route_api.app import create_app
from route_api.chat.monitor import TurnMonitor
from route_api.chat.turn_in_progress import TurnInProgress
from route_api.extensions import db
from route_api.monitoring.metrics import exposition
from route_api.monitoring.tracing import Trace
from route_api.storage.dead_letters import DeadLetters
from route_api.storage.idempotency import KeyLease, StoredAnswer, take_key
from route_api.storage.models import Message
from route_api.storage.turns import DifyConversation, NewTurn, TurnEnd, begin_turn, store_progress

from ..support import databases
from ..support.event_streams import CHUNKED_HEAD, chunk
from ..support.loopback import answer, loopback
from ..support.patience import PATIENCE_S
from ..support.settings import OPEN

database_url, migrated, engine = databases.database_url, databases.migrated, databases.engine

LONE = "前\ud800后"
"""A text that every database refuses."""

OTHERS = 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "dead_letters"


@pytest.fixture
def monitor(engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch) -> TurnMonitor:
    """A monitor whose threads do nothing. The test calls `flush` itself."""
    monkeypatch.setattr("route_api.chat.monitor.CHECK_INTERVAL_S", 1000.0)
    return TurnMonitor(engine, DeadLetters(folder))


def turn_of(monitor: TurnMonitor, engine: Engine, text: str) -> TurnInProgress:
    turn = TurnInProgress(begin_turn(engine, NewTurn("alice", "?", "chat")), Trace(), None)
    turn.text = text
    monitor.register(turn)
    return turn


def stored(engine: Engine, turn: TurnInProgress) -> Any:
    with engine.connect() as connection:
        return connection.execute(select(Message.__table__).where(Message.id == turn.row.message_id)).one()


def letters() -> int:
    (line,) = [line for line in exposition().decode().splitlines() if line.startswith("route_api_dead_letters_total")]
    return int(float(line.split()[1]))


def test_a_refused_answer_holds_up_no_other_and_is_kept(
    engine: Engine, monitor: TurnMonitor, folder: Path, log: pytest.LogCaptureFixture
) -> None:
    before = letters()
    others = [turn_of(monitor, engine, f"回答{number}") for number in range(OTHERS // 2)]
    refused = turn_of(monitor, engine, "前")
    others += [turn_of(monitor, engine, f"回答{number}") for number in range(OTHERS // 2, OTHERS)]
    monitor.flush()
    refused.text = LONE
    for turn in others:
        turn.text += "。"
    monitor.flush()
    assert [stored(engine, turn).response for turn in others] == [f"回答{number}。" for number in range(OTHERS)]
    row = stored(engine, refused)
    assert (row.response, row.meta_data["status"]) == ("前", "pending") and row.claimed_until is not None
    (path,) = folder.iterdir()
    assert path.name == f"{refused.row.message_id}.json" and (path.stat().st_mode & 0o777) == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert json.loads(path.read_text())["response"] == LONE

    refused.text += "完"
    conversation = DifyConversation("app", "c", 1)
    monitor.finish(refused, TurnEnd(refused.text, "done", None, conversation, "m", {"task_id": "t", "usage": {"a": 1}}))
    row = stored(engine, refused)
    assert (row.response, row.claimed_until, row.dify_message_id) == ("前", None, None)
    assert (row.meta_data["status"], row.meta_data["reason"]) == ("failed", "not_stored")
    letter = json.loads(path.read_text())
    assert (letter["response"], letter["status"], letter["dify_message_id"]) == (LONE + "完", "done", "m")
    assert (letter["user_id"], letter["message_id"]) == ("alice", refused.row.message_id)
    assert letter["dify_conversation"]["dify_conversation_id"] == "c" and letter["meta_data"]["usage"] == {"a": 1}
    errors = {id(record): record.getMessage() for record in log.records if record.levelname == "ERROR"}
    (message,) = errors.values()
    assert str(path) in message and LONE not in message
    assert letters() == before + 1
    assert begin_turn(engine, NewTurn("alice", "?", "chat", refused.row.conversation_id)).position == 2


@pytest.mark.parametrize("end", [{"response": LONE}, {"meta_data": {"references": [LONE]}}, {"dify_message_id": LONE}])
def test_an_end_that_is_refused_is_kept_and_the_conversation_goes_on(
    engine: Engine, monitor: TurnMonitor, folder: Path, end: dict[str, Any]
) -> None:
    for conversation in (None, DifyConversation("app", "c", 1)):  # The two ways to store an end.
        turn = turn_of(monitor, engine, "")
        given: dict[str, Any] = {"response": "", "status": "done", "reason": None, **end}
        monitor.finish(turn, TurnEnd(dify_conversation=conversation, **given))
        row = stored(engine, turn)
        assert (row.meta_data["reason"], row.claimed_until) == ("not_stored", None)
        assert LONE in json.dumps(json.loads((folder / f"{turn.row.message_id}.json").read_text()), ensure_ascii=False)
        monitor.flush()
        assert turn.unstored_end is None
    with engine.connect() as connection:  # The refusals have broken no connection of the pool.
        assert connection.execute(select(Message.id)).all()


def test_the_end_of_a_request_with_an_idempotency_key_is_kept_too(
    engine: Engine, monitor: TurnMonitor, folder: Path
) -> None:
    lease = take_key(engine, "k" * 64, "h" * 64)
    assert isinstance(lease, KeyLease)
    turn = turn_of(monitor, engine, "")
    for_repeats = (lease, StoredAnswer(200, "application/json", "{}"))
    monitor.finish(turn, TurnEnd(LONE, "done", None, None, for_repeats=for_repeats))
    assert turn.unstored_end is None and not lease.is_stored
    assert stored(engine, turn).meta_data["reason"] == "not_stored"
    assert json.loads((folder / f"{turn.row.message_id}.json").read_text())["response"] == LONE


def test_a_turn_that_ends_while_its_progress_is_refused_keeps_its_whole_answer(
    engine: Engine, monitor: TurnMonitor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = turn_of(monitor, engine, LONE)

    def end_meanwhile(engine: Engine, progress: Any) -> None:
        if not turn.has_ended:
            monitor.finish(turn, TurnEnd(LONE + "完", "done", None, None))
        store_progress(engine, progress)

    monkeypatch.setattr("route_api.chat.monitor.store_progress", end_meanwhile)
    monitor.flush()
    assert json.loads((folder / f"{turn.row.message_id}.json").read_text())["response"] == LONE + "完"


def test_a_letter_is_deleted_if_the_database_accepts_the_answer_after_all(
    engine: Engine, monitor: TurnMonitor, folder: Path
) -> None:
    turn = turn_of(monitor, engine, LONE)
    monitor.flush()
    assert list(folder.iterdir())
    monitor.finish(turn, TurnEnd("好", "done", None, None))
    assert stored(engine, turn).response == "好" and not list(folder.iterdir())


@pytest.mark.parametrize("error", [OperationalError, InternalError], ids=["away", "read-only"])
def test_a_database_that_refuses_everything_for_a_moment_makes_no_letter_of_running_answers(
    engine: Engine, monitor: TurnMonitor, folder: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    turns = [turn_of(monitor, engine, "好") for _ in range(2)]

    def refuse(*_: object) -> None:
        raise error("UPDATE", {}, Exception("cannot execute it"))  # type: ignore[call-arg]

    with monkeypatch.context() as away:
        away.setattr("route_api.chat.monitor.store_progress", refuse)
        with pytest.raises(error):
            monitor.flush()
    monitor.flush()
    assert [stored(engine, turn).response for turn in turns] == ["好", "好"] and not folder.exists()


def test_an_answer_whose_letter_cannot_be_written_is_tried_again(
    engine: Engine, monitor: TurnMonitor, folder: Path
) -> None:
    folder.write_text("a file where the folder should be")
    turn = turn_of(monitor, engine, LONE)
    monitor.finish(turn, TurnEnd(LONE, "done", None, None))
    assert turn.unstored_end is not None
    folder.unlink()
    monitor.flush()
    assert turn.unstored_end is None or stored(engine, turn).claimed_until is None
    assert list(folder.iterdir())


def test_an_answer_with_a_nul_beside_forty_others_is_stored_with_all_of_them(engine: Engine, database_url: str) -> None:
    """The whole gateway with the real monitor: 41 streams run at once, and the answer of one holds U+0000."""
    go_on = threading.Event()

    def dify(connection: socket.socket, request: bytes) -> None:
        if request.startswith(b"GET"):
            connection.sendall(answer(b'{"user_input_form": []}'))
            return
        text = "a\\u0000b" if b'"query":"NUL"' in request else "ab"
        ids = '"task_id": "t", "message_id": "m", "conversation_id": "c"'
        event = f'data: {{"event": "message", "answer": "{text}", {ids}}}\n\n'
        connection.sendall(CHUNKED_HEAD + chunk(event.encode()))
        go_on.wait(PATIENCE_S)
        connection.sendall(chunk(f'data: {{"event": "message_end", {ids}}}\n\n'.encode()) + chunk(b""))

    with loopback(dify) as server:
        settings = {**OPEN, "DIFY_BASE_URL": server.url, "DATABASE_URL": database_url, "TURNS_PER_USER": 0}
        app = create_app(Config.load(**settings))
        answers: list[bytes] = []

        def ask(question: str) -> None:
            body = {"user_id": "alice", "message": question, "streaming": True}
            answers.append(app.test_client().post("/chat/chat", json=body).data)

        threads = [threading.Thread(target=ask, args=(name,)) for name in ["NUL", *map(str, range(OTHERS))]]
        for thread in threads:
            thread.start()
        select_running = select(Message.response).where(Message.response != "", Message.leased_until.is_not(None))
        for _ in range(100):
            with engine.connect() as connection:
                running = connection.scalars(select_running).all()
            if len(running) == OTHERS + 1:
                break
            threading.Event().wait(0.1)
        go_on.set()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert sorted(running) == sorted(["a\ufffdb", *["ab"] * OTHERS])
        assert all(b'"status":"done"' in each for each in answers) and len(answers) == OTHERS + 1
        with engine.connect() as connection:
            rows = connection.execute(select(Message.__table__)).all()
        assert {row.meta_data["status"] for row in rows} == {"done"} and {row.claimed_until for row in rows} == {None}
        with app.app_context():
            db.engine.dispose()
