"""Locks of documents in the database: always on SQLite; on PostgreSQL and MariaDB if they run on this machine."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, delete

from route_api.storage.document_locks import forget_locks, locks_of, remember_lock
from route_api.storage.models import DocumentLock, utc_now

from ..support import databases
from ..support.stored import count_rows

database_url, migrated, engine = databases.database_url, databases.migrated, databases.engine

KB, OTHER_KB, ONE, TWO = (f"00000000-0000-4000-8000-00000000000{number}" for number in range(4))


@pytest.fixture(autouse=True)
def no_locks(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(delete(DocumentLock))


def seconds(moment: datetime) -> int:
    return int(moment.replace(tzinfo=UTC).timestamp())


def test_a_lock_is_shown_until_it_ends_or_is_forgotten(engine: Engine) -> None:
    soon, later = (utc_now() + timedelta(seconds=number) for number in (60, 600))
    remember_lock(engine, KB, ONE, soon)
    remember_lock(engine, KB, ONE, later)
    remember_lock(engine, OTHER_KB, TWO, soon)
    assert locks_of(engine, KB) == {ONE: seconds(later)} and locks_of(engine, OTHER_KB) == {TWO: seconds(soon)}
    forget_locks(engine, [ONE, TWO])
    assert locks_of(engine, KB) == locks_of(engine, OTHER_KB) == {}


def test_a_lock_that_has_ended_is_not_shown_and_is_deleted_by_the_next(engine: Engine) -> None:
    remember_lock(engine, KB, ONE, utc_now() - timedelta(seconds=1))
    assert locks_of(engine, KB) == {}
    remember_lock(engine, KB, TWO, utc_now() + timedelta(seconds=60))
    assert count_rows(engine, DocumentLock) == (1,)
