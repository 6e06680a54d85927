"""What callers get at each fault of a database or of Redis: the tables of docs/reliability.md are the list."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from config import Config
from route_api.app import create_app

from ..support.databases import NAME, SERVERS, fresh_database
from ..support.faulty_dify import FAULTS, FaultyDify, faulty_dify
from ..support.impatient_gateway import impatient_gateway
from ..support.reliability_page import table
from ..support.running_gateway import wait_for
from ..support.settings import OPEN
from ..support.six_requests import HEALTHY, LIMIT_S, Caller, settings_for
from ..support.tcp_proxy import TcpProxy, tcp_proxy

DATABASE_ROWS = {row[0]: row[1:-1] for row in table("The database")}
REDIS_ROWS = {row[0]: row[1:-1] for row in table("Redis")}
REDIS = "redis://{}/11"


@pytest.fixture(scope="module")
def dify() -> Iterator[FaultyDify]:
    with faulty_dify() as server:
        yield server


class Database:
    """A database behind a proxy, and the faults that it can have.

    :ivar url: the address for the gateway
    """

    def __init__(self, url: str, proxy: TcpProxy | None, direct_url: str) -> None:
        self.url, self.proxy, self.direct_url = url, proxy, direct_url

    @contextmanager
    def fault(self, name: str) -> Iterator[None]:
        """The database has this fault inside of the block."""
        with getattr(self, f"_{name.replace(' ', '_')}")():
            yield

    @contextmanager
    def _away(self) -> Iterator[None]:
        assert self.proxy is not None
        self.proxy.go_away()
        yield
        self.proxy.recover()

    @contextmanager
    def _paused(self) -> Iterator[None]:
        assert self.proxy is not None
        self.proxy.pause()
        yield
        self.proxy.recover()

    @contextmanager
    def _full(self) -> Iterator[None]:
        """Each write fails with the error of a full disk, raised by a trigger (PostgreSQL alone can do that)."""
        raising = (
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION 'No space left on device' USING ERRCODE = '53100'; END $$",
            "CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON message EXECUTE FUNCTION full_disk()",
            "CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON name_claim EXECUTE FUNCTION full_disk()",
        )
        self._execute(*raising)
        yield
        self._execute("DROP FUNCTION full_disk CASCADE")

    @contextmanager
    def _out_of_connections(self) -> Iterator[None]:
        """The server accepts no new connections, and has closed the old ones."""
        name = make_url(self.direct_url).database
        others = f"FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
        end_all = f"SELECT pg_terminate_backend(pid) {others}"
        self._execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false", end_all, of="postgres")
        yield
        self._execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true", of="postgres")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Another process has locked the file of SQLite for writing."""
        other = sqlite3.connect(make_url(self.url).database or "", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")
        other.close()

    def _execute(self, *statements: str, of: str | None = None) -> None:
        url = make_url(Config.load(DATABASE_URL=self.direct_url).database_uri)
        engine = create_engine(url.set(database=of) if of else url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))
        engine.dispose()


@contextmanager
def database(kind: str, folder: Path) -> Iterator[Database]:
    """A new database with its tables."""
    with ExitStack() as at_the_end:
        proxy: TcpProxy | None = None
        if kind == "SQLite":
            url = direct_url = f"sqlite:///{folder / 'gateway.sqlite3'}"
        else:
            server = {"PostgreSQL": "postgresql", "MariaDB": "mysql"}[kind]
            direct_url = at_the_end.enter_context(fresh_database(server, f"{NAME}_fails"))
            host, port = SERVERS[server].rsplit("@")[1].split(":")
            proxy = at_the_end.enter_context(tcp_proxy(host, int(port)))
            url = direct_url.replace(f"{host}:{port}", proxy.url_part)
        app = create_app(Config.load(DATABASE_URL=direct_url, **OPEN))
        with app.app_context():
            flask_migrate.upgrade()
        yield Database(url, proxy, direct_url)


FAULTY_DATABASES = [
    *(("PostgreSQL", fault) for fault in ("away", "paused", "full", "out of connections")),
    *(("MariaDB", fault) for fault in ("away", "paused")),
    ("SQLite", "locked"),
]


def test_the_page_has_a_row_for_each_fault_of_a_database() -> None:
    assert {f"{kind} {fault}" for kind, fault in FAULTY_DATABASES} <= set(DATABASE_ROWS)


@pytest.mark.server
@pytest.mark.parametrize(("kind", "fault"), FAULTY_DATABASES)
def test_each_fault_of_a_database_has_the_answers_of_the_page(
    dify: FaultyDify, tmp_path: Path, kind: str, fault: str
) -> None:
    with database(kind, tmp_path) as broken:
        settings = {**settings_for(dify.url, broken.url), "RESULT_TIMEOUT_S": LIMIT_S}
        with impatient_gateway(tmp_path / "gateway.log", **settings) as address:
            assert Caller(address).ask_all() == HEALTHY
            with broken.fault(fault):
                answers = Caller(address).ask_all(reads_rows=False)
            assert answers == DATABASE_ROWS[f"{kind} {fault}"]
            assert Caller(address).ask_all() == HEALTHY


@pytest.mark.server
@pytest.mark.parametrize(("kind", "fault"), [("PostgreSQL", "away"), ("MariaDB", "away"), ("SQLite", "locked")])
def test_a_database_that_is_away_in_the_middle_of_an_answer_gets_it_later(
    dify: FaultyDify, tmp_path: Path, kind: str, fault: str
) -> None:
    with database(kind, tmp_path) as broken, ThreadPoolExecutor() as pool:
        with impatient_gateway(tmp_path / "gateway.log", **settings_for(dify.url, broken.url)) as address:
            dify.faults = {"chat": FAULTS["slow"]}
            callers = [Caller(address), Caller(address)]
            turns = [pool.submit(caller.turn, streaming=bool(number)) for number, caller in enumerate(callers)]
            wait_for(lambda: dify.open_calls.count("chat") == 2)
            with broken.fault(fault):
                answers = [turn.result() for turn in turns]
            dify.faults = {}
            assert answers[0].json()["code"] == 0 and answers[1].content.endswith(b'"data":true}\n\n')
            for number, caller in enumerate(callers):
                wait_for(lambda: caller.stored(streaming=bool(number)) == "row `done`")


@pytest.mark.server
@pytest.mark.parametrize("fault", ["away", "paused"])
def test_each_fault_of_redis_has_the_answers_of_the_page(dify: FaultyDify, tmp_path: Path, fault: str) -> None:
    with database("SQLite", tmp_path) as stored, tcp_proxy("127.0.0.1", 6379) as proxy:
        settings: dict[str, Any] = settings_for(dify.url, stored.url)
        settings |= {"RATE_LIMIT": 1000, "LIMITS_STORAGE": REDIS.format(proxy.url_part)}
        settings["REDIS_TIMEOUT_S"] = LIMIT_S / 2  # Some requests ask Redis twice.
        with impatient_gateway(tmp_path / "gateway.log", **settings) as address:
            assert Caller(address).ask_all() == HEALTHY
            breaks: Callable[[], None] = {"away": proxy.go_away, "paused": proxy.pause}[fault]
            breaks()
            assert Caller(address).ask_all() == REDIS_ROWS[f"Redis {fault}"]
            proxy.recover()
            assert Caller(address).ask_all() == HEALTHY
