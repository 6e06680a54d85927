"""Values in the formats that several answers share."""

from datetime import UTC, datetime
from email.utils import formatdate
from urllib.parse import urlsplit

LAST_SECOND = 253_402_300_799
"""The end of the year 9999 in seconds since 1970. Python has no later dates."""


def http_date(seconds: float) -> str:
    """Format a time as RFC 1123 does, which is the format of RAGFlow's `*_date` keys.

    :param seconds: since 1970, UTC; 0 for an unknown time
    :returns: empty for an unknown time, and for a time that is no date
    """
    return formatdate(seconds, usegmt=True) if 0 < seconds <= LAST_SECOND else ""


def unix_seconds(moment: datetime) -> int:
    """Convert a stored time, which is UTC without a time zone, to seconds since 1970."""
    return int(moment.replace(tzinfo=UTC).timestamp())


def without_host(address: str) -> str:
    """Return `/files/…` for `http://dify/files/…`: callers cannot reach Dify's host and must not learn its name."""
    parts = urlsplit(address)
    return parts._replace(scheme="", netloc="").geturl()
