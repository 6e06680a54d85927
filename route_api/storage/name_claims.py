"""Claims on the names of documents: while an upload runs, no other upload may use its name in its knowledge base.

A claim is a row whose primary key is made of the kb and the name, so the database decides which of two uploads gets the
name, also if two processes or hosts receive them. The row has a lease (`leases.py`), so that it ends with its process.
The table is `models.NameClaim`.
"""

import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from hashlib import sha256
from typing import Any

from sqlalchemy import BindParameter, Engine, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from .database import transaction
from .leases import has_lease, lease_end, lease_parameters
from .models import NameClaim, new_id, utc_now

ENDED_FOR = timedelta(hours=1)
"""How long ago the lease of a row must have ended before :func:`delete_ended_claims` deletes the row."""

DEADLOCK = 1213
"""MariaDB's and MySQL's error number. Uploads of one name that insert and delete its row at the same moment can lock
each other out. The server then ends one of the statements, and nothing was done."""

DEADLOCK_TRIES = 20
"""How often :func:`release_claim` tries again after a deadlock."""

VALUES = ("owner", "name_hash", "leased_until")
IS_CLAIM = (NameClaim.id == bindparam("of_id"), NameClaim.owner == bindparam("of_owner"))
IDS: BindParameter[Any] = bindparam("ids", expanding=True)

INSERT_CLAIM = insert(NameClaim).values({name: bindparam(f"c_{name}") for name in ("id", *VALUES)})
UPDATE_TAKEN_OVER = (
    update(NameClaim)
    .where(NameClaim.id == bindparam("of_id"), ~has_lease(NameClaim.leased_until))
    .values({name: bindparam(f"c_{name}") for name in VALUES})
)
SELECT_NAME_HASH = select(NameClaim.name_hash).where(NameClaim.id == bindparam("of_id"))
UPDATE_LEASE = update(NameClaim).where(*IS_CLAIM).values(leased_until=bindparam("c_leased_until"))
SELECT_CLAIMED = select(NameClaim.id).where(NameClaim.id.in_(IDS), has_lease(NameClaim.leased_until))
DELETE_CLAIM = delete(NameClaim).where(*IS_CLAIM)
DELETE_ENDED = delete(NameClaim).where(NameClaim.leased_until < bindparam("oldest"))


@dataclass(frozen=True, slots=True)
class Claim:
    """The claim of a running upload on a name.

    :param id: the primary key of the row
    :param owner: a random id of this claim. A process that has lost its lease finds another one in the row
    """

    id: str
    owner: str

    @property
    def condition(self) -> dict[str, str]:
        """The parameters of `IS_CLAIM`."""
        return {"of_id": self.id, "of_owner": self.owner}


class TakenBy(Enum):
    """Why a name could not be claimed: an upload of the same name runs, or one of a name that some Dify may take for
    equal, such as `readme.md` and `README.md`."""

    SAME_NAME = 1
    OTHER_NAME = 2


def comparable_name(name: str) -> str:
    """The form in which two names are compared. Names that a Dify may take for equal are equal in this form.

    Dify compares names in its database. PostgreSQL compares them byte by byte. MySQL, which newer versions of Dify can
    use, ignores case, accents, and blanks at the end.
    """
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter)).rstrip()


def claim_id(kb_id: str, name: str) -> str:
    """The primary key of the claim on a name."""
    return sha256(f"{kb_id}/{comparable_name(name)}".encode()).hexdigest()


def claim_name(engine: Engine, kb_id: str, name: str) -> Claim | TakenBy:
    """Claim a name. One query; two if the row of an upload that was killed is left, three if the name is taken.

    :returns: whose name it is, if another upload has claimed it
    """
    claim, name_hash = Claim(claim_id(kb_id, name), new_id()), sha256(name.encode()).hexdigest()
    values = {"c_owner": claim.owner, "c_name_hash": name_hash, "c_leased_until": lease_end()}
    try:
        with suppress(IntegrityError), engine.connect() as connection:
            connection.execute(INSERT_CLAIM, {"c_id": claim.id, **values})
            return claim
        with engine.connect() as connection:
            if connection.execute(UPDATE_TAKEN_OVER, {"of_id": claim.id, **values, **lease_parameters()}).rowcount:
                return claim
            holder = connection.scalar(SELECT_NAME_HASH, {"of_id": claim.id})
    except OperationalError as error:
        if not _is_deadlock(error):
            raise
        return TakenBy.OTHER_NAME  # The row changes at this moment, so the caller should look again.
    return TakenBy.SAME_NAME if holder == name_hash else TakenBy.OTHER_NAME


def claimed_ids(engine: Engine, ids: list[str]) -> set[str]:
    """Which of these primary keys are claimed now."""
    with engine.connect() as connection:
        return set(connection.scalars(SELECT_CLAIMED, {"ids": ids, **lease_parameters()}))


def renew_claims(engine: Engine, claims: Iterable[Claim]) -> None:
    """Renew the leases of running uploads, in one transaction."""
    until = lease_end()
    with transaction(engine) as connection:
        connection.execute(UPDATE_LEASE, [{**claim.condition, "c_leased_until": until} for claim in claims])


def release_claim(engine: Engine, claim: Claim) -> None:
    """Delete the row of an upload that has ended. If another upload has taken it over, nothing is deleted."""
    for tries_left in reversed(range(DEADLOCK_TRIES)):
        try:
            with engine.connect() as connection:
                connection.execute(DELETE_CLAIM, claim.condition)
            return
        except OperationalError as error:
            if not _is_deadlock(error) or not tries_left:
                raise


def delete_ended_claims(engine: Engine) -> None:
    """Delete the rows that uploads of killed processes have left."""
    with engine.connect() as connection:
        connection.execute(DELETE_ENDED, {"oldest": utc_now() - ENDED_FOR})


def _is_deadlock(error: OperationalError) -> bool:
    """Whether MariaDB or MySQL has ended the statement because others were waiting for it. It has done nothing then."""
    return error.orig is not None and bool(error.orig.args) and error.orig.args[0] == DEADLOCK
