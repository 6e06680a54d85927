"""Remembers in the database which login to Dify's console was refused, so that it is not tried again.

After six wrong passwords Dify locks the account for a day, and all processes of all gateways together must not reach
that number. So a process claims a try before it sends the password, and all others wait for the result. The key is a
hash of Dify's address, the e-mail address and the password: with other settings the login is another one.
"""

import hashlib
import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Literal

from sqlalchemy import Engine, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from .leases import CLOCK_DIFFERENCE_S
from .models import ConsoleRefusal, utc_now

log = logging.getLogger(__name__)

Permission = Literal["granted", "refused", "locked", "later"]
Outcome = Literal["accepted", "refused", "locked", "unknown"]

CLAIM_S = 90.0
"""Seconds after which another process may try, if the one that tries has crashed. A try takes less."""

WAIT_S = 15.0
"""Seconds to wait for the result of one other process. Many processes that start together log in one after another, and
the last of them waits for each."""

LONGEST_WAIT_S = 60.0
"""Seconds to wait for the results of all other processes together."""

PAUSE_S = {"locked": 900.0, "unknown": 3.0}
"""Seconds until the next try, by the outcome of the last one. `locked`: Dify takes no login for this account or from
this address for now, and does not check the password. `unknown`: Dify may have counted the password as wrong."""

LOOK_INTERVAL_S = 5.0
"""Seconds for which a process believes what it has read of a refused login. `flask dify check` may have deleted it."""


class ConsoleLoginTries:
    """The tries of one login, in the database. See `dify/console_login.py` for who uses it.

    While the database does not answer, a process tries once at the most.
    """

    def __init__(
        self,
        engine: Engine,
        dify_address: str,
        email: str,
        password: str,
        *,
        sleep: Callable[[float], Any] = time.sleep,
    ) -> None:
        self._engine = engine
        self._login = (dify_address.rstrip("/"), email, password)
        self._sleep = sleep
        self._outcome_alone: Outcome | None = None
        """The outcome of the try that was made without the database."""
        self._refused: tuple[float, Permission] = (0.0, "refused")
        """Until when the answer that is kept here holds."""

    @cached_property
    def _hash(self) -> str:
        """The key of the row. scrypt takes 60 ms, so that a stolen table gives no password; a fast hash would."""
        address, email, password = self._login
        salt = hashlib.sha256(f"{address}\n{email}".encode()).digest()
        return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1, dklen=32).hex()

    def begin(self) -> Permission:
        """Claim the next try. While other processes try, wait for their results: WAIT_S seconds for each of them,
        LONGEST_WAIT_S for all together.

        :returns: `granted`: the caller must try and then call :meth:`end`; `refused`: Dify has refused this login;
            `locked`: Dify accepts no login for now; `later`: another process is still trying
        """
        holds_until, permission = self._refused
        if time.monotonic() < holds_until:
            return permission
        try:
            if self._outcome_alone is not None:
                self._store(self._outcome_alone)
                self._outcome_alone = None
            permission = self._claim_or_wait()
        except SQLAlchemyError as error:
            log.warning("the database does not tell whether Dify has refused the console login: %s", error)
            return self._permission_alone()
        if permission != "granted":
            self._refused = (time.monotonic() + LOOK_INTERVAL_S, permission)
        return permission

    def end(self, outcome: Outcome) -> None:
        """Store the outcome of a try that :meth:`begin` granted."""
        try:
            self._store(outcome)
            self._outcome_alone = None
        except SQLAlchemyError as error:
            log.warning("the outcome of the login to Dify's console, '%s', was not stored: %s", outcome, error)
            self._outcome_alone = outcome

    def forget(self) -> bool:
        """Allow another try, because the operator wants it. A try that is being made is left alone.

        :returns: whether a refusal or a lock was remembered
        """
        self._refused = (0.0, "refused")
        self._outcome_alone = None
        now = utc_now()
        is_being_tried = ConsoleRefusal.retry_at > now
        is_locked = ConsoleRefusal.retry_at > _end_of_claims(now)
        may_go = or_(ConsoleRefusal.retry_at.is_(None), ~is_being_tried, is_locked)
        forget = delete(ConsoleRefusal).where(ConsoleRefusal.login_hash == self._hash, may_go)
        try:
            with self._engine.connect() as connection:
                return bool(connection.execute(forget).rowcount)
        except SQLAlchemyError as error:
            log.warning("the database does not tell whether Dify has refused the console login: %s", error)
            return False

    def _permission_alone(self) -> Permission:
        """Whether this process may try without the database: once, and again only if that try succeeded."""
        if self._outcome_alone in (None, "accepted"):
            return "granted"
        return "refused" if self._outcome_alone == "refused" else "later"

    def _claim_or_wait(self) -> Permission:
        begun = time.monotonic()
        claim_of_other, give_up_at = None, begun + WAIT_S
        while True:
            permission, seen = self._claim()
            if seen != claim_of_other:  # One process has its result, and another one tries now.
                claim_of_other, give_up_at = seen, min(time.monotonic() + WAIT_S, begun + LONGEST_WAIT_S)
            if permission != "later" or time.monotonic() >= give_up_at:
                return permission
            self._sleep(0.2)

    def _claim(self) -> tuple[Permission, datetime | None]:
        """
        :returns: the permission; and the time until which another process has claimed the try, if that was read
        """
        now = utc_now()
        claim = {"refused_at": now, "retry_at": now + timedelta(seconds=CLAIM_S)}
        of_login = ConsoleRefusal.login_hash == self._hash
        with self._engine.connect() as connection:
            row = connection.execute(select(ConsoleRefusal.retry_at).where(of_login)).one_or_none()
            if row is None:
                try:
                    connection.execute(insert(ConsoleRefusal).values(login_hash=self._hash, **claim))
                    return "granted", None
                except IntegrityError:  # Another process was faster.
                    return "later", None
            if row.retry_at is None:
                return "refused", None
            if now < row.retry_at <= _latest_retry(now):
                return "locked" if row.retry_at > _end_of_claims(now) else "later", row.retry_at
            taken = connection.execute(
                update(ConsoleRefusal).where(of_login, ConsoleRefusal.retry_at == row.retry_at).values(**claim)
            )
            return "granted" if taken.rowcount else "later", None

    def _store(self, outcome: Outcome) -> None:
        now = utc_now()
        of_login = ConsoleRefusal.login_hash == self._hash
        with self._engine.connect() as connection:
            if outcome == "accepted":
                connection.execute(delete(ConsoleRefusal).where(of_login))
                return
            retry_at = None if outcome == "refused" else now + timedelta(seconds=PAUSE_S[outcome])
            values = {"refused_at": now, "retry_at": retry_at}
            if not connection.execute(update(ConsoleRefusal).where(of_login).values(**values)).rowcount:
                connection.execute(insert(ConsoleRefusal).values(login_hash=self._hash, **values))


def _latest_retry(now: datetime) -> datetime:
    """A row with a later time was written before somebody set the clock back."""
    return now + timedelta(seconds=PAUSE_S["locked"] + CLOCK_DIFFERENCE_S)


def _end_of_claims(now: datetime) -> datetime:
    """No claim lasts until then, not even one that was made since or by a host with another clock. A lock does."""
    return now + timedelta(seconds=2 * CLAIM_S)
