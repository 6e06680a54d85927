"""Claims on names in the database: always on SQLite; on PostgreSQL and MariaDB if they run on this machine."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import Engine, delete, select, update

from route_api.storage.leases import LEASE_S
from route_api.storage.models import NameClaim, utc_now
from route_api.storage.name_claims import (
    Claim,
    TakenBy,
    claim_id,
    claim_name,
    claimed_ids,
    delete_ended_claims,
    release_claim,
    renew_claims,
)

from ..support import databases
from ..support.stored import count_rows

database_url, migrated, engine = databases.database_url, databases.migrated, databases.engine

KB, OTHER_KB = "e0b33974-287c-42cf-bf85-9aa09fa9ae59", "5e2f5a3b-9c5e-4d0b-8f6a-0a7f6f6c1d11"


@pytest.fixture(autouse=True)
def no_claims(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(delete(NameClaim))


def claim(engine: Engine, name: str = "README.md", kb_id: str = KB) -> Claim:
    taken = claim_name(engine, kb_id, name)
    assert isinstance(taken, Claim)
    return taken


def end_leases(engine: Engine, seconds_ago: float = 1) -> None:
    """End the leases, as if their process had been killed."""
    with engine.connect() as connection:
        connection.execute(update(NameClaim).values(leased_until=utc_now() - timedelta(seconds=seconds_ago)))


def test_a_name_is_claimed_once_until_it_is_released(engine: Engine) -> None:
    first = claim(engine)
    assert claim_name(engine, KB, "README.md") is TakenBy.SAME_NAME
    claim(engine, kb_id=OTHER_KB)
    claim(engine, "README(1).md")
    release_claim(engine, first)
    claim(engine)


@pytest.mark.parametrize(
    ("one", "other"),
    [("README.md", "readme.MD"), ("résumé.txt", "resume.txt"), ("STRASSE.txt", "straße.txt"), ("a.txt", "a.txt  ")],
)
def test_names_that_some_dify_takes_for_equal_exclude_each_other_and_it_is_told(
    engine: Engine, one: str, other: str
) -> None:
    claim(engine, one)
    assert claim_name(engine, KB, other) is TakenBy.OTHER_NAME


@pytest.mark.parametrize("other", ["README.txt", "README.md.md", "READM.md", "水.md"])
def test_other_names_are_free(engine: Engine, other: str) -> None:
    claim(engine)
    claim(engine, other)


def test_the_name_of_a_killed_process_can_be_claimed_when_its_lease_has_ended(engine: Engine) -> None:
    dead = claim(engine)
    end_leases(engine)
    assert claimed_ids(engine, [dead.id]) == set()
    living = claim(engine)
    assert claim_name(engine, KB, "README.md") is TakenBy.SAME_NAME
    release_claim(engine, dead)  # It was frozen, not dead. It must not release the name of the other.
    renew_claims(engine, [dead])
    assert claim_name(engine, KB, "README.md") is TakenBy.SAME_NAME
    release_claim(engine, living)
    assert count_rows(engine, NameClaim) == (0,)


def test_a_lease_is_renewed(engine: Engine) -> None:
    claims = [claim(engine), claim(engine, "b.md")]
    end_leases(engine)
    renew_claims(engine, claims)
    with engine.connect() as connection:
        for until in connection.scalars(select(NameClaim.leased_until)):
            assert 0 < (until - utc_now()).total_seconds() <= LEASE_S
    assert claimed_ids(engine, [claims[0].id, claim_id(KB, "b.md"), claim_id(KB, "c.md")]) == {
        entry.id for entry in claims
    }


def test_rows_of_killed_processes_are_deleted_after_an_hour(engine: Engine) -> None:
    claim(engine)
    end_leases(engine, 3601)
    claim(engine, "b.md")
    delete_ended_claims(engine)
    assert count_rows(engine, NameClaim) == (1,)


def test_of_many_that_claim_and_release_one_name_at_once_one_has_it_at_a_time(engine: Engine) -> None:
    holders: list[str] = []
    most, taken_count = 0, 0

    def use(_: int) -> None:
        nonlocal most, taken_count
        taken = claim_name(engine, KB, "README.md")
        if isinstance(taken, Claim):
            holders.append(taken.owner)
            most = max(most, len(holders))
            taken_count += 1
            holders.remove(taken.owner)
            release_claim(engine, taken)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(300)))
    assert (most, holders) == (1, [])
    assert taken_count > 1
    assert count_rows(engine, NameClaim) == (0,)
