"""The check of the API key that a request to the service API carries."""

import time
from collections.abc import Callable
from functools import wraps
from sqlite3 import Row
from typing import ParamSpec, TypeVar

from flask import g, request

from ..errors import SandboxError
from ..store import current_store
from .api_key_table import KeyType

USE_RECORDED_EVERY_S = 60

P = ParamSpec("P")
R = TypeVar("R")


def _authorized_key(key_type: KeyType) -> Row:
    """The row of the key that the request carries as `Authorization: Bearer`."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise SandboxError(401, "unauthorized", "Authorization header must be provided and start with 'Bearer'")
    connection = current_store().connection()
    row = connection.execute("SELECT * FROM api_key WHERE token = ? AND type = ?", (token.strip(), key_type)).fetchone()
    if row is None:
        raise SandboxError(401, "unauthorized", "Access token is invalid")
    now = int(time.time())
    if now - (row["last_used_at"] or 0) >= USE_RECORDED_EVERY_S:
        connection.execute("UPDATE api_key SET last_used_at = ? WHERE id = ?", (now, row["id"]))
    return row


def require_dataset_key(view: Callable[P, R]) -> Callable[P, R]:
    """Let only requests with a dataset key through."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        _authorized_key("dataset")
        return view(*args, **kwargs)

    return guarded


def require_app_key(view: Callable[P, R]) -> Callable[P, R]:
    """Let only requests with an app's key through; `g.app_id` is then that app."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        g.app_id = _authorized_key("app")["app_id"]
        return view(*args, **kwargs)

    return guarded
