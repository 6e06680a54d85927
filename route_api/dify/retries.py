"""Requests to Dify that are sent twice: this list is complete, and every other request is sent once.

Here, for every call of this client:

- A GET whose connection broke is sent once more (:data:`RETRY_POLICY`). Dify may have closed the connection while it
  was idle in the pool. No other request is repeated when its connection breaks, because Dify may have carried it out:
  an upload or a chat, for example.
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
- `chat/turn.py` asks a question again in a new conversation if Dify no longer has the old one. Dify refuses with a 404
  before the model sees the question.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from urllib3 import BaseHTTPResponse
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import ReadTimeoutError
from urllib3.util.retry import Retry

from ..errors import DifyAuthFailed, DifyRejected
from ..monitoring import tracing
from .credentials import ConsoleSession
from .error_answers import STILL_INDEXING

T = TypeVar("T")

INDEXING_PAUSES = (0.5, 1.0, 2.0)
"""Seconds between the tries."""


class _RetryBrokenGet(Retry):
    """urllib3's retry, for GET requests whose connection broke."""

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
        :raises Exception: `error` itself, where the request must not be sent again. After a read timeout it would take
            as long again. After an interruption nobody wants the answer.
        """
        if error is not None and (
            method != "GET" or isinstance(error, ReadTimeoutError) or tracing.current().is_interrupted
        ):
            raise error
        return super().increment(method, url, response, error, _pool, _stacktrace)


RETRY_POLICY = _RetryBrokenGet(total=1, redirect=0, status=0, other=0, respect_retry_after_header=False)
"""For requests' adapter (tests/contract/README.md, 31)."""


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
