"""A refused login to Dify's console is remembered in the database: for all processes, also after a restart."""

import multiprocessing
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from flask import Flask
from sqlalchemy import Engine, create_engine, select, update
from sqlalchemy.exc import OperationalError

from config import Config
from route_api.dify import Dify
from route_api.errors import ConsoleLoginRefused, DifyError
from route_api.storage import console_logins
from route_api.storage.console_logins import ConsoleLoginTries
from route_api.storage.database import engine_options
from route_api.storage.models import ConsoleRefusal, utc_now

from ..support import databases
from ..support.dify_client import dify_client
from ..support.loopback import Loopback, answer, loopback
from ..support.patience import PATIENCE_S
from ..support.pgbouncer import database_or_pooler_url
from ..support.recordings import body_of, load

database_url, migrated, engine = database_or_pooler_url, databases.migrated, databases.engine

ADDRESS, EMAIL, PASSWORD = "http://dify.example.com", "admin@example.com", "Secret123"
Connect = Callable[[], Engine]


@pytest.fixture
def connect(database_url: str, engine: Engine) -> Iterator[Connect]:
    """Makes an engine of its own, as another process has it."""
    made: list[Engine] = []

    def another() -> Engine:
        uri = Config.load(DATABASE_URL=database_url).database_uri
        made.append(create_engine(uri, **engine_options(uri)))
        return made[-1]

    yield another
    for each in made:
        each.dispose()


def tries_of(engine: Engine, password: str = PASSWORD, **options: Any) -> ConsoleLoginTries:
    return ConsoleLoginTries(engine, ADDRESS, EMAIL, password, **options)


def rows(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(select(ConsoleRefusal.login_hash, ConsoleRefusal.retry_at)))


def test_a_refusal_is_known_to_every_process_and_after_a_restart(engine: Engine, connect: Connect) -> None:
    first = tries_of(engine)
    assert first.begin() == "granted"
    first.end("refused")
    assert [tries_of(connect()).begin() for _ in range(3)] == ["refused"] * 3
    assert first.begin() == "refused"


def test_another_password_is_another_login_and_no_password_is_stored(engine: Engine) -> None:
    tries = tries_of(engine)
    tries.begin()
    tries.end("refused")
    corrected = tries_of(engine, "Secret124")
    assert corrected.begin() == "granted"
    corrected.end("accepted")
    ((login_hash, _),) = rows(engine)
    assert len(login_hash) == 64 and PASSWORD not in login_hash and EMAIL not in login_hash


def test_a_login_that_works_leaves_no_row(engine: Engine) -> None:
    tries = tries_of(engine)
    assert tries.begin() == "granted" and len(rows(engine)) == 1
    tries.end("accepted")
    assert rows(engine) == [] and tries.begin() == "granted"


def test_a_process_that_crashes_while_it_tries_does_not_lock_the_others_out(engine: Engine) -> None:
    assert tries_of(engine).begin() == "granted"
    waiting = tries_of(engine, sleep=lambda _: expire(engine))
    assert waiting.begin() == "granted"


def expire(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(update(ConsoleRefusal).values(retry_at=utc_now()))


def test_a_process_does_not_wait_for_ever_for_another_one(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_logins, "WAIT_S", 0.3)
    assert tries_of(engine).begin() == "granted"
    assert tries_of(engine).begin() == "later"


def test_a_process_waits_for_each_of_many_others_that_log_in_before_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    others, left, now = tries_of(engine), [4], [1000.0]
    monkeypatch.setattr(console_logins, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def next_one_logs_in(_: float) -> None:
        now[0] += 0.6 * console_logins.WAIT_S
        left[0] -= 1
        others.end("accepted")
        if left[0]:
            others.begin()

    others.begin()
    assert tries_of(engine, sleep=next_one_logs_in).begin() == "granted" and left == [0]


def test_a_process_does_not_wait_for_ever_for_many_others(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_logins, "LONGEST_WAIT_S", 1.0)
    others = tries_of(engine)

    def next_one_logs_in(_: float) -> None:
        time.sleep(0.05)
        others.end("accepted")
        others.begin()

    others.begin()
    assert tries_of(engine, sleep=next_one_logs_in).begin() == "later"


def test_a_locked_account_is_left_alone_for_a_time_and_nobody_waits_for_it(engine: Engine) -> None:
    tries = tries_of(engine)
    tries.begin()
    tries.end("locked")
    assert tries_of(engine, sleep=pytest.fail).begin() == "locked"
    expire(engine)
    assert tries_of(engine).begin() == "granted"


def test_a_time_from_before_the_clock_was_set_back_does_not_lock_the_login(engine: Engine) -> None:
    tries = tries_of(engine)
    tries.begin()
    tries.end("locked")
    with engine.connect() as connection:
        connection.execute(update(ConsoleRefusal).values(retry_at=utc_now() + timedelta(hours=1)))
    assert tries_of(engine, sleep=pytest.fail).begin() == "granted"


def test_a_try_that_dify_did_not_answer_is_made_again_after_a_pause(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(console_logins.PAUSE_S, "unknown", 0.5)
    tries = tries_of(engine)
    tries.begin()
    begun = time.monotonic()
    tries.end("unknown")
    assert tries.begin() == "granted" and time.monotonic() - begun > 0.4


def test_the_operator_may_let_a_refused_login_be_tried_again(
    engine: Engine, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_logins, "LOOK_INTERVAL_S", 0.0)
    gateway, operator = tries_of(engine), tries_of(connect())
    gateway.begin()
    gateway.end("refused")
    assert operator.forget() is True
    assert operator.begin() == "granted"
    assert operator.forget() is False, "a try that is being made is left alone"
    operator.end("accepted")
    assert gateway.begin() == "granted"


class AwayEngine:
    """An engine whose database does not answer, until `behind` is set."""

    behind: Engine | None = None

    def connect(self) -> Any:
        if self.behind is None:
            raise OperationalError("SELECT", {}, Exception("the database is away"))
        return self.behind.connect()


def test_while_the_database_is_away_a_process_tries_once_and_stores_the_refusal_later(engine: Engine) -> None:
    away = AwayEngine()
    tries = tries_of(away)  # type: ignore[arg-type]
    assert tries.begin() == "granted"
    tries.end("refused")
    assert tries.begin() == "refused"
    away.behind = engine
    assert tries.begin() == "refused"
    assert [retry_at for _, retry_at in rows(engine)] == [None]


def test_while_the_database_is_away_a_try_without_an_answer_is_the_only_one() -> None:
    tries = tries_of(AwayEngine())  # type: ignore[arg-type]
    tries.begin()
    tries.end("unknown")
    assert tries.begin() == "later"


# ---------------------------------------------------------------- several workers and a Dify


class Console:
    """A Dify 1.12.1 that answers every login as it was recorded, after a moment."""

    def __init__(self, case: str) -> None:
        recorded = load("1.12.1", case)["response"]
        self.logins = 0
        self._status = f"{recorded['status']} X"
        self._body = body_of(load("1.12.1", case))
        self._cookies = (
            ""
            if "bad" in case
            else "".join(
                f"Set-Cookie: {name}=x; Path=/\r\n" for name in ("access_token", "csrf_token", "refresh_token")
            )
        )

    def __call__(self, connection: socket.socket, request: bytes) -> None:
        version = "X-Version: 1.12.1\r\n"
        if b"/console/api/login" in request:
            self.logins += 1
            time.sleep(0.2)
            connection.sendall(answer(self._body, self._status, version + self._cookies))
        elif b"/console/" in request:
            connection.sendall(answer(orjson.dumps({"file_size_limit": 15}), headers=version))
        else:
            connection.sendall(answer(b"{}", "404 NOT FOUND", version))


def worker(server: Loopback, engine: Engine) -> Dify:
    tries = ConsoleLoginTries(engine, server.url, EMAIL, PASSWORD)
    return dify_client(server.url, console_email=EMAIL, console_password=PASSWORD, login_tries=tries)


def outcome(dify: Dify) -> Any:
    try:
        return dify.console.upload_limits()
    except DifyError as error:
        return type(error)


def test_eight_workers_that_start_together_try_a_wrong_password_once(connect: Connect) -> None:
    console = Console("auth/login-bad-password")
    with loopback(console) as server, ThreadPoolExecutor(8) as pool:
        workers = [worker(server, connect()) for _ in range(8)]
        assert list(pool.map(outcome, workers)) == [ConsoleLoginRefused] * 8
        assert list(pool.map(outcome, workers)) == [ConsoleLoginRefused] * 8
    assert console.logins == 1


def test_eight_workers_with_the_right_password_all_log_in(connect: Connect, engine: Engine) -> None:
    console = Console("auth/login")
    with loopback(console) as server, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, [worker(server, connect()) for _ in range(8)])) == [{"file_size_limit": 15}] * 8
    assert console.logins == 8 and rows(engine) == []


def in_a_process(database_url: str, url: str, told: Any) -> None:
    uri = Config.load(DATABASE_URL=database_url).database_uri
    tries = ConsoleLoginTries(create_engine(uri, **engine_options(uri)), url, EMAIL, PASSWORD)
    dify = dify_client(url, console_email=EMAIL, console_password=PASSWORD, login_tries=tries)
    told.put(outcome(dify).__name__)


def test_two_processes_that_start_together_try_a_wrong_password_once(migrated: Flask, database_url: str) -> None:
    console, context = Console("auth/login-bad-password"), multiprocessing.get_context("spawn")
    told = context.Queue()
    with loopback(console) as server:
        processes = [context.Process(target=in_a_process, args=(database_url, server.url, told)) for _ in range(2)]
        for process in processes:
            process.start()
        assert [told.get(timeout=PATIENCE_S) for _ in processes] == ["ConsoleLoginRefused"] * 2
        for process in processes:
            process.join(PATIENCE_S)
    assert console.logins == 1
