"""Leases: while a process works on a turn, on a request with a key or on an upload, the row has a time until which it
is leased.

The process renews the lease. If the process dies, the lease ends by itself, at most LEASE_S after the last renewal. All
hosts compare these times with their own clocks.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, bindparam

from .models import utc_now

LEASE_S = 20.0
"""Seconds for which a lease is valid."""

RENEWAL_S = LEASE_S / 4
"""Seconds after which a process renews a lease."""

CLOCK_DIFFERENCE_S = 300.0
"""Seconds by which the clock of another host may be ahead. A lease that ends later than such a clock explains was taken
before somebody set the clock back. It is not valid: if its process has died, it would not end for that whole time."""


def lease_end(now: datetime | None = None) -> datetime:
    """When a lease ends that is taken or renewed now."""
    return (now or utc_now()) + timedelta(seconds=LEASE_S)


def is_leased(leased_until: datetime | None, now: datetime | None = None) -> bool:
    """Whether a lease is valid, so that a process may still be working on the row."""
    now = now or utc_now()
    return leased_until is not None and now < leased_until <= _latest_end(now)


def has_lease(leased_until: Any) -> ColumnElement[bool]:
    """The condition of :func:`is_leased` for a statement. Its parameters are :func:`lease_parameters`."""
    condition: ColumnElement[bool] = (leased_until > bindparam("now")) & (leased_until <= bindparam("latest_end"))
    return condition


def lease_parameters(now: datetime | None = None) -> dict[str, datetime]:
    """The parameters of :func:`has_lease`."""
    now = now or utc_now()
    return {"now": now, "latest_end": _latest_end(now)}


def _latest_end(now: datetime) -> datetime:
    return now + timedelta(seconds=LEASE_S + CLOCK_DIFFERENCE_S)
