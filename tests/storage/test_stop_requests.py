"""Requests to stop a turn: always on SQLite; on PostgreSQL and MariaDB if they run on this machine."""

import pytest
from sqlalchemy import Engine, delete

from route_api.storage import stop_requests as storage
from route_api.storage.models import StopRequest
from route_api.storage.stop_requests import request_stop, stop_requests

from ..support import databases
from ..support.pgbouncer import database_or_pooler_url

database_url, migrated, engine = database_or_pooler_url, databases.migrated, databases.engine


def test_a_request_to_stop_is_kept_once_and_forgotten_later(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    request_stop(engine, "a" * 32)
    request_stop(engine, "a" * 32)
    assert stop_requests(engine) == {"a" * 32}
    monkeypatch.setattr(storage, "STOP_REQUEST_LIFETIME_S", -1.0)
    request_stop(engine, "b" * 32)
    assert stop_requests(engine) == {"b" * 32}
    monkeypatch.undo()
    with engine.begin() as connection:
        connection.execute(delete(StopRequest))
