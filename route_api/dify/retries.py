"""Requests to Dify that are sent twice: this list is complete, and every other request is sent once.

Here, for every call of this client:

- A request whose connection broke before an answer came is sent once more, on a new connection, if Dify may carry it
  out twice without harm (:func:`is_repeatable`). Dify may have closed the connection while it was idle in the pool.
  These are every GET, every DELETE, and what :data:`_REPEATABLE` lists: a search, a switch of documents or chunks, a
  stop. If Dify answers the second DELETE with a 404, the first one has succeeded (:func:`accept_repeated_deletion`).
  No other request is repeated when its connection breaks, because Dify may have carried it out: an upload or a chat,
  for example. Such a request is never sent on a connection that was idle for longer than `connections.MAX_IDLE_S`.
- A change to a document or chunk that Dify refuses because it is still indexing is sent again after each of
  :data:`INDEXING_PAUSES` (:func:`retry_while_indexing`). Dify has changed nothing.
- A call to the console whose session Dify refuses is sent once more with a new session (:func:`with_renewed_session`).
  Dify has done nothing.

Elsewhere, where a second request is another one than the first:

- `dify/console_login.py` sends the password in base64 if Dify answers that it wants base64. That answer does not
  count as a wrong password. A password that Dify refuses is never sent again: six wrong passwords lock the account
  for a day.
- `knowledge/retrieval.py` searches again with other settings if Dify refuses a search because the knowledge base lacks
  the index or has incomplete settings. It searches for more passages if too few belong to the documents that the caller
  named.
- `knowledge/uploads.py` sends a file again, with `_` in its name, if Dify refuses a character of the name. Dify has
  stored nothing then.
- `knowledge/zips.py` asks for the address of a file again if it has expired.
- `chat/turn.py` asks a question again in a new conversation if Dify no longer has the old one. Dify refuses with a 404
  before the model sees the question.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from urllib3 import BaseHTTPResponse
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ReadTimeoutError
from urllib3.util.retry import Retry

from ..errors import DifyAuthFailed, DifyNotFound, DifyRejected
from ..monitoring import tracing
from .credentials import ConsoleSession
from .error_answers import STILL_INDEXING

T = TypeVar("T")

INDEXING_PAUSES = (0.5, 1.0, 2.0)
"""Seconds between the tries."""


_REPEATABLE = re.compile(
    r"POST .*/v1/datasets/[^/]+/retrieve"
    r"|POST .*/v1/datasets/[^/]+/documents/[^/]+/segments/[^/]+"
    r"|PATCH .*/v1/datasets/[^/]+/documents/status/[^/]+"
    r"|PATCH .*/console/api/datasets/[^/]+/documents/[^/]+/segment/[^/]+"
    r"|POST .*/chat-messages/[^/]+/stop"
)
"""The requests, other than GET and DELETE, that give the same result if they are carried out twice."""


def is_repeatable(method: str, url: str) -> bool:
    """Whether Dify may carry out a request twice without harm.

    :param url: an address or a path, with or without a query.
    """
    return method in ("GET", "DELETE") or _REPEATABLE.fullmatch(f"{method} {url.partition('?')[0]}") is not None


class _RetryBroken(Retry):
    """urllib3's retry, for repeatable requests whose connection broke."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        """
        :raises Exception: `error` itself, where the request must not be sent again. After a timeout it would take as
            long again. A connection that could not be made did not break. After an interruption nobody wants the
            answer.
        """
        if error is not None and (
            not is_repeatable(method or "", url or "")
            or isinstance(error, (ReadTimeoutError, ConnectTimeoutError, NewConnectionError))
            or tracing.current().is_interrupted
        ):
            raise error
        return super().increment(method, url, response, error, _pool, _stacktrace)


RETRY_POLICY = _RetryBroken(
    total=1, redirect=0, status=0, other=0, allowed_methods=None, respect_retry_after_header=False
)
"""For requests' adapter (tests/contract/README.md, 31)."""


@contextmanager
def accept_repeated_deletion() -> Iterator[None]:
    """Accept a 404 to a DELETE that was sent twice: what it names is gone.

    If it never existed, and the connection broke too, the caller gets a success instead of a 404. The opposite, a 404
    for something that was just deleted, would be worse.
    """
    try:
        yield
    except DifyNotFound as error:
        if not error.was_repeated:
            raise


def retry_while_indexing(call: Callable[[], T], sleep: Callable[[float], Any]) -> T:
    """Make a call, and make it again while Dify answers that it is still indexing.

    For a moment after a document or chunk was switched, Dify refuses to switch it back
    (tests/contract, documents/status-disable-right-after-enable).

    :raises DifyError: any other error at once; that answer after the last try.
    """
    for pause in INDEXING_PAUSES:
        try:
            return call()
        except DifyRejected as error:
            if error.message != STILL_INDEXING:
                raise
        sleep(pause)
    return call()


def with_renewed_session(
    call: Callable[[ConsoleSession], T], session: ConsoleSession, renew: Callable[[ConsoleSession], ConsoleSession]
) -> T:
    """Make a call to the console, and make it again with a new session if Dify refuses the session.

    :param renew: gives the session that takes the place of the refused one.
    :raises DifyAuthFailed: Dify refuses the new session too.
    """
    try:
        return call(session)
    except DifyAuthFailed:
        return call(renew(session))
