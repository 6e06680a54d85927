"""The check of the API key that a request to the service API carries."""

import time
from collections.abc import Callable
from functools import wraps
from sqlite3 import Row
from typing import ParamSpec, TypeVar

from flask import g, request

from ..errors import SandboxError
from ..store import current_store
from ..version import is_1_16
from .api_key_table import KeyType

USE_RECORDED_EVERY_S = 60
"""`last_used_at` is written at most once in this time, so that reading requests rarely write."""

P = ParamSpec("P")
R = TypeVar("R")


def _authorized_key(key_type: KeyType) -> Row:
    """Return the row of the key in the header `Authorization: Bearer`.

    :raises SandboxError: 401, if there is no such key
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        is_other_scheme = is_1_16() and token
        text = "scheme must be 'Bearer'" if is_other_scheme else "header must be provided and start with 'Bearer'"
        raise SandboxError(401, "unauthorized", f"Authorization {text}")
    connection = current_store().connection()
    row = connection.execute("SELECT * FROM api_key WHERE token = ? AND type = ?", (token.strip(), key_type)).fetchone()
    if row is None:
        raise SandboxError(401, "unauthorized", "Access token is invalid")
    now = int(time.time())
    if now - (row["last_used_at"] or 0) >= USE_RECORDED_EVERY_S:
        connection.execute("UPDATE api_key SET last_used_at = ? WHERE id = ?", (now, row["id"]))
    return row


def require_dataset_key(view: Callable[P, R]) -> Callable[P, R]:
    """Refuse a request without a dataset key."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        _authorized_key("dataset")
        return view(*args, **kwargs)

    return guarded


def require_app_key(view: Callable[P, R]) -> Callable[P, R]:
    """Refuse a request without an app's key. The view finds the app's id in `g.app_id`."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        g.app_id = _authorized_key("app")["app_id"]
        return view(*args, **kwargs)

    return guarded
