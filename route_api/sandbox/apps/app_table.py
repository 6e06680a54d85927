"""The table of apps."""

import json
import secrets
import time
import uuid
from sqlite3 import Row

from ..errors import SandboxError
from ..store import Store, current_store
from .annotation_table import annotation_reply
from .app_config import Config

SCHEMA = """
CREATE TABLE IF NOT EXISTS app (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    icon_type TEXT,
    icon TEXT,
    icon_background TEXT,
    api_enabled INTEGER NOT NULL DEFAULT 1,
    site_code TEXT NOT NULL,
    config TEXT NOT NULL,
    config_saved_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
"""
ADDED_COLUMNS = {"app": ("mode TEXT NOT NULL DEFAULT 'chat'",)}
"""`mode` is `chat` or `completion`."""


def find_app(store: Store, app_id: str) -> Row | None:
    """Return the app's row, or None."""
    return store.connection().execute("SELECT * FROM app WHERE id = ?", (app_id,)).fetchone()


def get_app(app_id: object) -> Row:
    """Return the app's row.

    :raises SandboxError: 404, if there is no such app
    """
    app = find_app(current_store(), str(app_id))
    if app is None:
        raise SandboxError(404, "app_not_found", "App not found.")
    return app


def config_of(app: Row) -> Config:
    """Return the app's published configuration. What it says of annotations is a setting of its own, as in Dify."""
    config: Config = json.loads(app["config"])
    return config | {"annotation_reply": annotation_reply(current_store(), app["id"])}


def create_app(store: Store, account_id: str, config: Config, *, mode: str = "chat", **fields: str | None) -> str:
    """Create an app.

    :param mode: `chat` or `completion`
    :param fields: name, and optionally description, icon_type, icon, icon_background
    :returns: the app's id
    """
    app_id, now = str(uuid.uuid4()), int(time.time())
    with store.transaction() as connection:
        connection.execute(
            "INSERT INTO app (id, mode, name, description, icon_type, icon, icon_background, site_code, config,"
            " config_saved_at, created_by, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                app_id,
                mode,
                fields["name"],
                fields.get("description") or "",
                fields.get("icon_type"),
                fields.get("icon"),
                fields.get("icon_background"),
                secrets.token_urlsafe(12),
                json.dumps(config, ensure_ascii=False),
                now,
                account_id,
                now,
                now,
            ),
        )
    return app_id


def save_config(store: Store, app_id: str, config: Config) -> None:
    """Publish a configuration. Existing conversations keep the configuration that they began with."""
    with store.transaction() as connection:
        connection.execute(
            "UPDATE app SET config = ?, config_saved_at = ? WHERE id = ?",
            (json.dumps(config, ensure_ascii=False), int(time.time()), app_id),
        )
