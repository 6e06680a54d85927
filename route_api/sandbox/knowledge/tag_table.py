"""The tables of tags of datasets."""

import uuid
from collections.abc import Iterable
from sqlite3 import Connection, Row
from time import time
from typing import Any

from ..errors import SandboxError
from ..store import Store

SCHEMA = """
CREATE TABLE IF NOT EXISTS tag (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS tag_binding (
    tag_id TEXT NOT NULL REFERENCES tag (id) ON DELETE CASCADE,
    dataset_id TEXT NOT NULL REFERENCES dataset (id) ON DELETE CASCADE,
    PRIMARY KEY (tag_id, dataset_id)
);
CREATE INDEX IF NOT EXISTS tag_binding_of_dataset ON tag_binding (dataset_id);
"""

_SELECT = "SELECT tag.*, (SELECT count(*) FROM tag_binding WHERE tag_id = tag.id) AS bindings FROM tag"


def list_tags(store: Store, keyword: str = "") -> list[Row]:
    """Return the rows of the tags whose name contains the keyword, newest first, each with its number of `bindings`."""
    sql = f"{_SELECT} WHERE instr(lower(name), lower(?)) > 0 ORDER BY created_at DESC"
    return store.connection().execute(sql, (keyword,)).fetchall()


def get_tag(store: Store, tag_id: str) -> Row:
    """Return the row of a tag, with its number of `bindings`.

    :raises SandboxError: 404, if there is no such tag
    """
    row = store.connection().execute(f"{_SELECT} WHERE id = ?", (tag_id,)).fetchone()
    if row is None:
        raise SandboxError(404, "not_found", "Tag not found")
    return row


def require_free_name(store: Store, name: str, tag_id: str = "") -> None:
    """Check that no other tag than `tag_id` has this name.

    :raises SandboxError: 400, if one has
    """
    sql = "SELECT count(*) FROM tag WHERE name = ? AND id <> ?"
    if store.connection().execute(sql, (name, tag_id)).fetchone()[0]:
        raise SandboxError(400, "invalid_param", "Tag name already exists")


def add_tag(store: Store, name: str) -> Row:
    """Create a tag, and return its row.

    :raises SandboxError: 400, if there is one with this name
    """
    require_free_name(store, name)
    tag_id = str(uuid.uuid4())
    store.connection().execute("INSERT INTO tag VALUES (?, ?, ?)", (tag_id, name, time()))
    return get_tag(store, tag_id)


def delete_tag(store: Store, tag_id: str) -> None:
    """Delete a tag. Its datasets stay.

    :raises SandboxError: 404, if there is no such tag
    """
    store.connection().execute("DELETE FROM tag WHERE id = ?", (get_tag(store, tag_id)["id"],))


def bind_tags(store: Store, dataset_id: str, tag_ids: Iterable[str]) -> None:
    """Give a dataset tags. Unknown tags, and those that it has, are skipped."""
    with store.transaction() as connection:
        connection.executemany(
            "INSERT OR IGNORE INTO tag_binding SELECT id, ? FROM tag WHERE id = ?",
            ((dataset_id, tag_id) for tag_id in tag_ids),
        )


def unbind_tags(store: Store, dataset_id: str, tag_ids: Iterable[str]) -> None:
    """Take tags from a dataset. Those that it does not have are skipped."""
    with store.transaction() as connection:
        connection.executemany(
            "DELETE FROM tag_binding WHERE dataset_id = ? AND tag_id = ?",
            ((dataset_id, tag_id) for tag_id in tag_ids),
        )


def tags_of(connection: Connection, dataset_id: str) -> list[dict[str, Any]]:
    """Return the tags of a dataset as the dataset shows them."""
    rows = connection.execute(
        "SELECT id, name FROM tag JOIN tag_binding ON tag_id = id WHERE dataset_id = ? ORDER BY created_at, id",
        (dataset_id,),
    )
    return [{"id": row["id"], "name": row["name"], "type": "knowledge"} for row in rows]
