"""API keys of the service API: one kind for datasets (of the whole workspace), one for each app."""

import secrets
import time
import uuid
from collections.abc import Callable
from functools import wraps
from sqlite3 import Row
from typing import Any, Literal, ParamSpec, TypeVar

from flask import Blueprint, Response, g, request

from .account import require_console_session
from .errors import SandboxError
from .store import Store, current_store

KeyType = Literal["dataset", "app"]
MAX_KEYS = 10
"""Of one kind and app. The eleventh is a 500 in Dify: provisioning/dataset-api-key-limit."""
USE_RECORDED_EVERY_S = 60

SCHEMA = """
CREATE TABLE IF NOT EXISTS api_key (
    id TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    app_id TEXT,
    token TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    last_used_at INTEGER
);
"""

blueprint = Blueprint("keys", __name__)

P = ParamSpec("P")
R = TypeVar("R")


def create_key(store: Store, key_type: KeyType, app_id: str | None = None) -> dict[str, Any]:
    """A new key, in the shape of Dify's console (`token` is the key itself).

    :raises SandboxError: there are `MAX_KEYS` of this kind already
    """
    key = {
        "id": str(uuid.uuid4()),
        "type": key_type,
        "token": f"{key_type}-{secrets.token_hex(16)}",
        "last_used_at": None,
        "created_at": int(time.time()),
    }
    with store.transaction() as connection:
        count = connection.execute(
            "SELECT count(*) FROM api_key WHERE type = ? AND app_id IS ?", (key_type, app_id)
        ).fetchone()[0]
        if count >= MAX_KEYS:
            raise SandboxError(500, "unknown", "Internal Server Error")
        connection.execute(
            "INSERT INTO api_key (id, type, token, last_used_at, created_at, app_id)"
            " VALUES (:id, :type, :token, :last_used_at, :created_at, :app_id)",
            {**key, "app_id": app_id},
        )
    return key


def list_keys(store: Store, key_type: KeyType, app_id: str | None = None) -> list[dict[str, Any]]:
    """The keys of a kind and app, newest first, in the shape of Dify's console."""
    rows = store.connection().execute(
        "SELECT id, type, token, last_used_at, created_at FROM api_key WHERE type = ? AND app_id IS ?"
        " ORDER BY created_at DESC, id",
        (key_type, app_id),
    )
    return [dict(row) for row in rows]


def delete_key(store: Store, key_type: KeyType, key_id: str, app_id: str | None = None) -> None:
    """Delete a key.

    :raises SandboxError: 404, there is no such key
    """
    with store.transaction() as connection:
        deleted = connection.execute(
            "DELETE FROM api_key WHERE id = ? AND type = ? AND app_id IS ?", (key_id, key_type, app_id)
        ).rowcount
    if not deleted:
        raise SandboxError(404, "not_found", "API key not found")


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


@blueprint.get("/console/api/datasets/api-keys")
@require_console_session
def list_dataset_keys() -> dict[str, Any]:
    """All dataset keys, in full."""
    return {"data": list_keys(current_store(), "dataset")}


@blueprint.post("/console/api/datasets/api-keys")
@require_console_session
def create_dataset_key() -> dict[str, Any]:
    """A new dataset key: HTTP 200, unlike an app's (provisioning/dataset-api-key-create)."""
    return create_key(current_store(), "dataset")


@blueprint.delete("/console/api/datasets/api-keys/<uuid:key_id>")
@require_console_session
def delete_dataset_key(key_id: uuid.UUID) -> Response:
    """Delete a dataset key: a true 204."""
    delete_key(current_store(), "dataset", str(key_id))
    return Response(status=204, content_type="application/json")
