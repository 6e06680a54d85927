"""Single child chunks: find, create, change and delete. Their table is in `segment_table`."""

import time
import uuid
from sqlite3 import Connection, Row

from ..errors import SandboxError
from ..store import Store
from ..text.search_tokens import index_words
from .passage_search import index_segments, unindex_segments
from .segment_table import child_chunks

CUSTOMIZED = "customized"
"""The type of a child chunk that a caller has written; those of the indexer are `automatic`."""


def find_child_chunk(store: Store, segment_id: str, child_chunk_id: uuid.UUID | str) -> Row:
    """Return a child chunk's row.

    :raises SandboxError: 404, if the segment has no such child chunk
    """
    sql = "SELECT * FROM child_chunk WHERE id = ? AND segment_id = ?"
    row = store.connection().execute(sql, (str(child_chunk_id), segment_id)).fetchone()
    if row is None:
        raise SandboxError(404, "not_found", "Child chunk not found.")
    return row


def add_child_chunk(store: Store, segment: Row, content: str) -> Row:
    """Append a child chunk to a segment, and return its row. A search finds the segment by its text at once."""
    child_chunk_id, now = str(uuid.uuid4()), time.time()
    with store.transaction() as connection:
        connection.execute(
            "INSERT INTO child_chunk (id, segment_id, position, content, type, created_at, updated_at)"
            " SELECT ?, ?, coalesce(max(position), 0) + 1, ?, ?, ?, ? FROM child_chunk WHERE segment_id = ?",
            (child_chunk_id, segment["id"], content, CUSTOMIZED, now, now, segment["id"]),
        )
        _index_again(connection, segment)
    return find_child_chunk(store, segment["id"], child_chunk_id)


def change_child_chunk(store: Store, segment: Row, child: Row, content: str) -> Row:
    """Replace the text of a child chunk, and return its row."""
    with store.transaction() as connection:
        connection.execute(
            "UPDATE child_chunk SET content = ?, type = ?, updated_at = ? WHERE id = ?",
            (content, CUSTOMIZED, time.time(), child["id"]),
        )
        _index_again(connection, segment)
    return find_child_chunk(store, segment["id"], child["id"])


def delete_child_chunk(store: Store, segment: Row, child: Row) -> None:
    """Delete a child chunk. The others keep their positions."""
    with store.transaction() as connection:
        connection.execute("DELETE FROM child_chunk WHERE id = ?", (child["id"],))
        _index_again(connection, segment)


def _index_again(connection: Connection, segment: Row) -> None:
    """Index a segment with the child chunks that callers have written, whose words its own text may lack."""
    children = child_chunks(connection, segment["id"])
    written = [child["content"] for child in children if child["type"] == CUSTOMIZED]
    text = "\n".join([segment["content"], segment["answer"] or "", *written])
    unindex_segments(connection, [segment["seq"]])
    index_segments(connection, segment["dataset_id"], [(segment["seq"], index_words(text))])
