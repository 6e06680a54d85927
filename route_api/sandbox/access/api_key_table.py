"""The table of API keys: dataset keys are valid for the whole workspace, app keys for one app."""

import secrets
import time
import uuid
from typing import Any, Literal

from ..errors import SandboxError
from ..store import Store
from ..version import is_1_16

KeyType = Literal["dataset", "app"]
MAX_KEYS = 10
"""The largest number of keys of one type and app. For the eleventh, 1.12.1 answers 500 and 1.16.1 answers 400
(provisioning/dataset-api-key-limit)."""

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


def create_key(store: Store, key_type: KeyType, app_id: str | None = None) -> dict[str, Any]:
    """Create a key.

    :returns: the key as Dify's console shows it; `token` is the key itself
    :raises SandboxError: 500 or 400, if there are `MAX_KEYS` keys of this type and app
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
            if is_1_16():
                text = f"Cannot create more than {MAX_KEYS} API keys for this resource type."
                raise SandboxError(400, "", text, {"custom": "max_keys_exceeded", "message": text})
            raise SandboxError(500, "unknown", "Internal Server Error")
        connection.execute(
            "INSERT INTO api_key (id, type, token, last_used_at, created_at, app_id)"
            " VALUES (:id, :type, :token, :last_used_at, :created_at, :app_id)",
            {**key, "app_id": app_id},
        )
    return key


def list_keys(store: Store, key_type: KeyType, app_id: str | None = None) -> list[dict[str, Any]]:
    """List the keys of a type and app, newest first, as Dify's console shows them."""
    rows = store.connection().execute(
        "SELECT id, type, token, last_used_at, created_at FROM api_key WHERE type = ? AND app_id IS ?"
        " ORDER BY created_at DESC, id",
        (key_type, app_id),
    )
    return [dict(row) for row in rows]


def delete_key(store: Store, key_type: KeyType, key_id: str, app_id: str | None = None) -> None:
    """Delete a key.

    :raises SandboxError: 404, if there is no such key
    """
    with store.transaction() as connection:
        deleted = connection.execute(
            "DELETE FROM api_key WHERE id = ? AND type = ? AND app_id IS ?", (key_id, key_type, app_id)
        ).rowcount
    if not deleted:
        raise SandboxError(404, "not_found", "API key not found")
