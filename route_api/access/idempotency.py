"""The header Idempotency-Key: a repeated request gets the answer of the first one, and nothing is done twice.

The form of the header, and the answers to a key that is in use or was used otherwise, come from the IETF draft "The
Idempotency-Key HTTP Header Field" (draft-ietf-httpapi-idempotency-key-header), but we answer 400 where it has 422.

Only a success is stored. After a failure a repeated request is carried out, as the client wants. If the failed request
may have done something, the view learns that it is a repeat (:func:`current_lease`), and looks what was done.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial, wraps
from hashlib import sha256
from typing import Any, TypeVar, cast

import orjson
from flask import Response, g, request
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import HTTPException

from ..envelope import with_warnings
from ..errors import ApiError, ValidationFailed
from ..extensions import component
from ..languages import Sentence
from ..monitoring.repeated_task import RepeatedTask
from ..storage import idempotency
from ..storage.idempotency import ROWS_PER_DELETE, KeyLease, StoredAnswer, take_key
from ..storage.leases import RENEWAL_S
from .limits import rate_limit_key

Json = dict[str, Any]
View = TypeVar("View", bound=Callable[..., Response])

log = logging.getLogger(__name__)

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotent-Replayed"
ENVIRON_NAME = "HTTP_IDEMPOTENCY_KEY"
MAX_KEY_LENGTH = 255
IS_VALID_KEY = re.compile(r"[\x21-\x7e]{1,%d}" % MAX_KEY_LENGTH).fullmatch

CLEANUP_S = 3600.0
"""Seconds between two searches for expired keys in each process. If a search finds more keys than one statement
deletes, the next search comes after RENEWAL_S."""

STORE_TRIES = 120
"""How often the thread tries to store an answer that the database did not accept: for ten minutes."""

MAX_CONTENT_TYPE_LENGTH = 100
"""The length of the column. Only Dify's answer to a raw upload has another content type than ours."""

PIECE_BYTES = 1024 * 1024
"""Bytes that are read or hashed before other requests of the process get a turn: about 3 milliseconds."""

CERTAIN_STATUSES = range(400, 500)
"""After an error with one of these statuses nothing was done, unless the error has data."""

UNAVAILABLE = 503
"""Errors with this status also come up before anything is done: an overloaded Dify, or a missing setting."""


@dataclass(slots=True)
class UnstoredAnswer:
    """An answer that the database has not accepted yet.

    :param tries_left: how often the thread tries again
    """

    lease: KeyLease
    answer: StoredAnswer
    tries_left: int = field(default=STORE_TRIES)


class KeyLeases:
    """The leases of the running requests of one process.

    A thread renews them, stores answers that the database has not accepted, and deletes expired keys.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._running: dict[int, KeyLease] = {}
        self._unstored: list[UnstoredAnswer] = []
        self._lock = threading.Lock()
        self._thread = RepeatedTask("idempotency-keys", RENEWAL_S, self.keep)
        self._clean_up_at = 0.0

    def take(self, key: str, request_hash: str) -> KeyLease | StoredAnswer:
        """Take the lease on a key, and renew it until :meth:`store` or :meth:`release` is called.

        :returns: the lease; the stored answer if an earlier request with this key has succeeded
        :raises RequestInProgress: an earlier request with this key is running
        :raises IdempotencyKeyReused: an earlier request with this key had another hash
        """
        taken = take_key(self._engine, key, request_hash)
        if isinstance(taken, KeyLease):
            self._running[id(taken)] = taken
            self._thread.start()
        return taken

    def store(self, lease: KeyLease, answer: StoredAnswer) -> None:
        """Store the answer of a request that has succeeded.

        If the database fails, the thread keeps the lease and tries again: otherwise a repeated request would be carried
        out a second time.
        """
        unstored = UnstoredAnswer(lease, answer)
        if not self._store(unstored):
            with self._lock:
                self._unstored.append(unstored)

    def release(self, lease: KeyLease, *, is_certain: bool) -> None:
        """Release the lease of a request that has failed.

        :param is_certain: whether it is certain that the request has done nothing. The key is then free for any request
        """
        self._running.pop(id(lease), None)
        if lease.is_stored:
            return
        is_free = is_certain and not lease.is_repeat and not lease.has_turn
        try:
            (idempotency.delete_key if is_free else idempotency.release_key)(self._engine, lease)
        except SQLAlchemyError as error:  # The lease ends by itself.
            log.error("a lease on an idempotency key could not be released: %s", error)

    def keep(self) -> None:
        """Renew the leases, store what is unstored, and delete expired keys. The thread calls this again and again."""
        try:
            self._keep()
        except SQLAlchemyError as error:  # The next call tries again.
            log.error("the leases on idempotency keys could not be renewed: %s", error)

    def _keep(self) -> None:
        running = list(self._running.values())
        if running:
            idempotency.renew_keys(self._engine, running)
        with self._lock:
            unstored, self._unstored = self._unstored, []
        still_unstored = [entry for entry in unstored if not self._store(entry)]
        with self._lock:
            self._unstored += still_unstored
        if time.monotonic() >= self._clean_up_at and idempotency.delete_expired_keys(self._engine) < ROWS_PER_DELETE:
            self._clean_up_at = time.monotonic() + CLEANUP_S

    def _store(self, unstored: UnstoredAnswer) -> bool:
        """Try to store an answer.

        :returns: whether no further try is wanted
        """
        try:
            with self._engine.connect() as connection:
                idempotency.store_answer(connection, unstored.lease, unstored.answer)
        except SQLAlchemyError as error:
            log.error("the answer to a request with an idempotency key could not be stored yet: %s", error)
            unstored.tries_left -= 1
            if unstored.tries_left:
                return False
        self._running.pop(id(unstored.lease), None)
        return True


key_leases: KeyLeases = component("key_leases")


def idempotent(view: View) -> View:
    """Let a view accept the header Idempotency-Key. Without the header the view is called as it is.

    Put this decorator under the decorators that read the parameters, because it compares them. A view whose body is not
    read before the view is called is compared by its path and the length of the body.
    """

    @wraps(view)
    def carried_out_once(*args: Any, **kwargs: Any) -> Response:
        header = request.environ.get(ENVIRON_NAME)
        if header is None:
            return view(*args, **kwargs)
        parameters = {**kwargs, "arguments": [_without_files(argument) for argument in args]}
        if not args:
            parameters["body_length"] = request.content_length
        user_id = next((given["user_id"] for given in args if "user_id" in given), None)
        taken = key_leases.take(row_id(key_of(header), user_id), hash_of(parameters))
        if isinstance(taken, StoredAnswer):
            return replay(taken)
        g.key_lease = taken
        with release_on_error(taken):
            answer = view(*args, **kwargs)
            end(taken, answer)
        return answer

    carried_out_once.is_idempotent = True  # type: ignore[attr-defined]
    return cast(View, carried_out_once)


def current_lease() -> KeyLease | None:
    """The lease of the current request on its key; None if it has no key."""
    lease: KeyLease | None = g.get("key_lease")
    return lease


def failed_before_at() -> datetime | None:
    """When the first request with the key of the current request came in, in UTC, if it failed or was interrupted and
    may have done something. None for a first request, and without a key."""
    lease = current_lease()
    return lease.first_taken_at if lease is not None and lease.is_repeat else None


def key_of(header: str) -> str:
    """The key in a header. It may stand in quotes, as in the IETF draft.

    :raises ValidationFailed: the key is empty, too long, or has other characters than visible ASCII
    """
    key = header.strip()
    if len(key) >= 2 and key.startswith('"') and key.endswith('"'):
        key = key[1:-1]
    if not IS_VALID_KEY(key):
        raise ValidationFailed(
            Sentence(
                "The header {header} must have 1 to {max_key_length} visible ASCII characters without blanks, such"
                " as a UUID.",
                header=HEADER,
                max_key_length=MAX_KEY_LENGTH,
            )
        )
    return key


def row_id(key: str, user_id: str | None) -> str:
    """The id of a key's row. Each caller, each endpoint and each user of a service key has keys of their own."""
    return sha256(orjson.dumps([rate_limit_key(), request.endpoint, user_id, key])).hexdigest()


def hash_of(parameters: Json) -> str:
    """A hash of the validated parameters, whatever their order and form in the request was."""
    return sha256(orjson.dumps(parameters, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _without_files(value: Any) -> Any:
    """The parameters with the name and the hash of each file in place of the file."""
    if isinstance(value, dict):
        return {name: _without_files(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_without_files(entry) for entry in value]
    return [value.filename, _hash_of_file(value)] if isinstance(value, FileStorage) else value


def _hash_of_file(file: FileStorage) -> str:
    digest = sha256()
    file.stream.seek(0)
    while piece := file.stream.read(PIECE_BYTES):
        digest.update(piece)
        time.sleep(0)
    file.stream.seek(0)
    return digest.hexdigest()


def replay(stored: StoredAnswer) -> Response:
    """The answer to a repeated request, with the warnings about its own parameters.

    The rest of its body is read first: a client may read nothing before it has sent everything.
    """
    while request.stream.read(PIECE_BYTES):
        time.sleep(0)
    body = with_warnings(stored.body, stored.content_type)
    answer = Response(body, status=stored.status, content_type=stored.content_type)
    answer.headers[REPLAYED_HEADER] = "true"
    return answer


@contextmanager
def release_on_error(lease: KeyLease) -> Iterator[None]:
    """Release the lease if the view fails."""
    try:
        yield
    except BaseException as error:
        key_leases.release(lease, is_certain=has_done_nothing(error))
        raise


def has_done_nothing(error: BaseException) -> bool:
    """Whether it is certain that a request with this error has changed nothing."""
    if isinstance(error, ApiError):
        return error.data is None and (error.status in CERTAIN_STATUSES or error.status == UNAVAILABLE)
    return isinstance(error, HTTPException) and error.code in CERTAIN_STATUSES


def end(lease: KeyLease, answer: Response) -> None:
    """Store the answer of a view and release the lease. The answer of a turn is stored by the turn itself, together
    with the end of the turn (`storage/turns.py`), also if the caller has left before it was complete."""
    if answer.is_streamed:
        answer.call_on_close(partial(key_leases.release, lease, is_certain=False))
    elif lease.has_turn:
        key_leases.release(lease, is_certain=False)
    elif answer.status_code in CERTAIN_STATUSES:  # Dify's own refusal of a raw upload.
        key_leases.release(lease, is_certain=True)
    else:
        body = answer.get_data().decode("utf-8", "replace")
        key_leases.store(
            lease, StoredAnswer(answer.status_code, (answer.content_type or "")[:MAX_CONTENT_TYPE_LENGTH], body)
        )
