"""The calls of `conversation/stop`, for the process that runs the turn. The table is `models.StopRequest`."""

from datetime import timedelta

from sqlalchemy import Engine, bindparam, delete, insert, select
from sqlalchemy.exc import IntegrityError

from .models import StopRequest, utc_now

STOP_REQUEST_LIFETIME_S = 600.0
"""Seconds after which a row of `stop_request` is deleted. The process that runs the turn has read it long before."""

SELECT_STOP_REQUESTS = select(StopRequest.message_id)
DELETE_OLD_STOP_REQUESTS = delete(StopRequest).where(StopRequest.create_time < bindparam("before"))
DELETE_STOP_REQUEST = delete(StopRequest).where(StopRequest.message_id == bindparam("of_message"))


def request_stop(engine: Engine, message_id: str) -> None:
    """Ask the process that runs a turn to stop it. A second request for the same turn changes nothing.

    :param message_id: 32 hex digits
    """
    now = utc_now()
    try:
        with engine.connect() as connection:
            connection.execute(DELETE_OLD_STOP_REQUESTS, {"before": now - timedelta(seconds=STOP_REQUEST_LIFETIME_S)})
            connection.execute(insert(StopRequest).values(message_id=message_id, create_time=now))
    except IntegrityError:
        return


def stop_requests(engine: Engine) -> set[str]:
    """The ids of the turns that somebody has asked to stop lately, also of turns that have ended since."""
    with engine.connect() as connection:
        return set(connection.scalars(SELECT_STOP_REQUESTS))
