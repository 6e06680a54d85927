"""The claims on names that the uploads of one process have now. `storage/name_claims.py` has the statements."""

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from time import monotonic

from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from ..errors import DatabaseUnavailable, DocumentUploadRunning
from ..extensions import component
from ..monitoring.repeated_task import RepeatedTask
from ..storage import name_claims as storage
from ..storage.leases import RENEWAL_S
from ..storage.name_claims import Claim, TakenBy, claim_id, claim_name

log = logging.getLogger(__name__)

WAIT_S = 60.0
"""Seconds for which an upload waits until another upload of its name has ended."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.5
"""Seconds between two looks whether a name is free. Each pause is longer than the one before."""

CLEANUP_S = 3600.0
"""Seconds between two searches for the rows of uploads whose processes were killed."""

CANDIDATES_AT_ONCE = 50
"""How many names one query looks up."""


class NameClaims:
    """Takes and releases claims. A thread renews the leases of those that uploads have now."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._running: dict[str, Claim] = {}
        self._thread = RepeatedTask("name-claims", RENEWAL_S, self.keep)
        self._clean_up_at = 0.0

    def take(self, kb_id: str, name: str) -> Claim | TakenBy:
        """Claim a name, and renew the claim until :meth:`release` is called.

        :returns: whose name it is, if another upload has claimed it
        :raises DatabaseUnavailable: the database does not answer. No upload is made then: without the database, the
            workers and hosts would overwrite each other's documents
        """
        with _database_must_answer():
            taken = claim_name(self._engine, kb_id, name)
        if isinstance(taken, Claim):
            self._running[taken.owner] = taken
            self._thread.start()
        return taken

    def take_unless_same(self, kb_id: str, name: str) -> Claim | None:
        """Claim a name. If an upload runs whose name only some Dify takes for equal, wait for its end.

        :returns: None if an upload of this very name runs
        :raises DocumentUploadRunning: the other upload has not ended within WAIT_S
        """
        for _ in _looks(name):
            taken = self.take(kb_id, name)
            if taken is not TakenBy.OTHER_NAME:
                return taken if isinstance(taken, Claim) else None
        raise AssertionError  # `_looks` has raised an error.

    def take_first(self, kb_id: str, names: Iterable[str]) -> tuple[Claim, str]:
        """Claim the first of these names that no upload has claimed.

        :param names: without an end
        """
        names = iter(names)
        while True:
            candidates = list(islice(names, CANDIDATES_AT_ONCE))
            with _database_must_answer():
                claimed = storage.claimed_ids(self._engine, [claim_id(kb_id, name) for name in candidates])
            for name in candidates:
                if claim_id(kb_id, name) not in claimed:
                    taken = self.take(kb_id, name)
                    if isinstance(taken, Claim):
                        return taken, name

    @contextmanager
    def held(self, kb_id: str, name: str) -> Iterator[None]:
        """Claim a name for a block. Wait until no other upload has it.

        :raises DocumentUploadRunning: the others have not ended within WAIT_S
        """
        with self.released_at_end(self._wait(kb_id, name)):
            yield

    def _wait(self, kb_id: str, name: str) -> Claim:
        for _ in _looks(name):
            if isinstance(taken := self.take(kb_id, name), Claim):
                return taken
        raise AssertionError  # `_looks` has raised an error.

    @contextmanager
    def released_at_end(self, claim: Claim) -> Iterator[None]:
        """Release a claim at the end of a block."""
        try:
            yield
        finally:
            self.release(claim)

    def release(self, claim: Claim) -> None:
        """Release a claim. If the database fails, the claim ends with its lease."""
        self._running.pop(claim.owner, None)
        try:
            storage.release_claim(self._engine, claim)
        except SQLAlchemyError as error:
            log.error("a claim on the name of a document could not be released: %s", error)

    def keep(self) -> None:
        """Renew the leases, and delete old rows. The thread calls this again and again."""
        try:
            running = list(self._running.values())
            if running:
                storage.renew_claims(self._engine, running)
            if monotonic() >= self._clean_up_at:
                storage.delete_ended_claims(self._engine)
                self._clean_up_at = monotonic() + CLEANUP_S
        except SQLAlchemyError as error:  # The next call tries again.
            log.error("the claims on names of documents could not be renewed: %s", error)


@contextmanager
def _database_must_answer() -> Iterator[None]:
    """Replace the errors of a database that is away. One file of several may fail with it, after others were uploaded.

    :raises DatabaseUnavailable: the database does not answer
    """
    try:
        yield
    except (OperationalError, InterfaceError, NoConnectionFree) as error:
        log.error("no claim on the name of a document could be taken: %s", error)
        raise DatabaseUnavailable from error


def _looks(name: str) -> Iterator[None]:
    """Pause between the looks at a name.

    :raises DocumentUploadRunning: WAIT_S is over
    """
    ends_at, pause = monotonic() + WAIT_S, FIRST_PAUSE_S
    while True:
        yield
        if monotonic() >= ends_at:
            raise DocumentUploadRunning(name)
        time.sleep(pause)
        pause = min(1.5 * pause, LONGEST_PAUSE_S)


name_claims: NameClaims = component("name_claims")
