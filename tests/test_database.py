"""How the databases are opened, and what becomes of connections that a server has closed."""

import pytest
from sqlalchemy import Engine, insert, select, text
from sqlalchemy.exc import IntegrityError

from route_api import database
from route_api.models import User

from . import databases

database_url, migrated, engine = databases.database_url, databases.migrated, databases.engine

KILL = {"postgresql": "SELECT pg_terminate_backend({})", "mysql": "KILL {}"}
OWN_ID = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}


def test_a_connection_that_the_server_closed_while_it_lay_idle_is_replaced(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = engine.dialect.name
    if server == "sqlite":
        with engine.connect() as connection:
            assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
            assert connection.scalar(text("PRAGMA foreign_keys")) == 1
        return
    monkeypatch.setattr(database, "IDLE_S", 0.0)
    with engine.connect() as connection:
        process = connection.scalar(text(OWN_ID[server]))
    admin = databases.admin_engine(server)
    with admin.connect() as connection:
        connection.execute(text(KILL[server].format(process)))
    admin.dispose()
    with engine.connect() as connection:
        assert connection.scalar(text(OWN_ID[server])) != process


def test_the_statements_of_a_transaction_succeed_or_fail_together(engine: Engine) -> None:
    with pytest.raises(IntegrityError), database.transaction(engine) as connection:
        connection.execute(insert(User).values(id="alice"))
        connection.execute(insert(User).values(id="alice"))
    with engine.connect() as connection:
        assert connection.execute(select(User.id)).all() == []
