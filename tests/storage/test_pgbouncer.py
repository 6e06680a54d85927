"""PostgreSQL behind PgBouncer, which executes each transaction, or each statement, on another connection.

The other tests of the storage run behind PgBouncer too (`support/pgbouncer.py`).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text

from config import Config
from route_api.app import create_app
from route_api.extensions import db
from route_api.storage.database import has_pooler, refuses_transactions
from route_api.storage.turns import NewTurn, TurnEnd, begin_turn, finish_turn, past_turns

from ..support import databases
from ..support.pgbouncer import CONNECTIONS, POOL_MODES, database_behind_pgbouncer
from ..support.settings import OPEN

pytestmark = pytest.mark.server

migrated, engine = databases.migrated, databases.engine

BOUNCED = f"{databases.NAME}_bounced"


@pytest.fixture(scope="module", params=POOL_MODES)
def database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a new database behind a PgBouncer in each mode."""
    with database_behind_pgbouncer(request.param, BOUNCED, tmp_path_factory.mktemp("pgbouncer")) as url:
        yield url


def new_engine(url: str) -> Engine:
    """An engine as each worker process has one."""
    with create_app(Config.load(DATABASE_URL=url, **OPEN)).app_context():
        return db.engine


def test_a_pooler_is_recognised(engine: Engine, request: pytest.FixtureRequest) -> None:
    mode = request.node.callspec.params["database_url"]
    with engine.connect() as connection:
        assert has_pooler(connection.connection.driver_connection)
        assert connection.connection.driver_connection.prepare_threshold is None
    assert refuses_transactions(engine) == (mode == "statement")
    direct = new_engine(f"{databases.SERVERS['postgresql']}/{BOUNCED}")
    with direct.connect() as connection:
        assert not has_pooler(connection.connection.driver_connection)
        assert connection.connection.driver_connection.prepare_threshold == 5
    assert not refuses_transactions(direct)
    direct.dispose()


def test_many_turns_at_once_in_several_processes_meet_no_statement_of_another(engine: Engine) -> None:
    """psycopg prepares a statement when it is executed for the sixth time."""
    workers = [new_engine(engine.url.render_as_string()) for _ in range(3)]

    def talk(number: int) -> None:
        worker, user_id, conversation_id = workers[number % 3], f"user-{number}", None
        for position in range(1, 9):
            new = NewTurn(user_id, f"问 {number} {position}", "chat", conversation_id)
            row = begin_turn(worker, new)
            conversation_id = row.conversation_id
            finish_turn(worker, row, TurnEnd(f"答 {number} {position}", "done", None, None))
            past = past_turns(worker, row, before=position, maximum=20)
            assert [each.query for each in past] == [f"问 {number} {n}" for n in range(position - 1, 0, -1)]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(talk, range(16)))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM message")) == 16 * 8
        used = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        assert connection.scalar(text(used)) <= CONNECTIONS, "PgBouncer did not share its connections"
    for worker in workers:
        worker.dispose()
