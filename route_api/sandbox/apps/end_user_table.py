"""The table of end users: the users whom the clients of an app's service API name."""

import time
import uuid
from sqlite3 import Row

from ..store import Store

SCHEMA = """
CREATE TABLE IF NOT EXISTS end_user (
    id TEXT PRIMARY KEY,
    app_id TEXT NOT NULL REFERENCES app (id) ON DELETE CASCADE,
    user TEXT NOT NULL,
    created_at INTEGER NOT NULL
);
"""


def end_user_id(app_id: str, user: str) -> str:
    """Return the id of an end user. Dify makes one up; the sandbox computes it from the app and the user's name."""
    return str(uuid.uuid5(uuid.UUID(app_id), user))


def remember_end_user(store: Store, app_id: str, user: str) -> None:
    """Write the row of an end user, unless there is one."""
    user_id = end_user_id(app_id, user)
    if find_end_user(store, app_id, user_id) is None:
        store.connection().execute(
            "INSERT OR IGNORE INTO end_user (id, app_id, user, created_at) VALUES (?, ?, ?, ?)",
            (user_id, app_id, user, int(time.time())),
        )


def find_end_user(store: Store, app_id: str, user_id: str) -> Row | None:
    """Return the row of an end user of this app, or None."""
    sql = "SELECT * FROM end_user WHERE id = ? AND app_id = ?"
    return store.connection().execute(sql, (user_id, app_id)).fetchone()
