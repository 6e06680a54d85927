"""The tables of segments and child chunks: insert, change, switch and delete."""

import hashlib
import json
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from sqlite3 import Connection, Row
from typing import Any

from ..access.account_table import account_id_and_name
from ..embedding.embedder import Vectors, current_embedder
from ..errors import SandboxError
from ..store import Store
from ..text.search_tokens import index_words
from ..text.splitting import Chunk, split_children
from ..text.token_estimate import estimate_tokens
from .passage_search import index_segments, unindex_segments
from .vector_table import store_vectors

SCHEMA = """
CREATE TABLE IF NOT EXISTS segment (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    dataset_id TEXT NOT NULL,
    document_id TEXT NOT NULL REFERENCES document (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    content TEXT NOT NULL,
    answer TEXT,
    word_count INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    keywords TEXT,
    index_node_id TEXT NOT NULL,
    index_node_hash TEXT NOT NULL,
    hit_count INTEGER NOT NULL DEFAULT 0,
    enabled INTEGER NOT NULL,
    disabled_at REAL,
    disabled_by TEXT,
    status TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    updated_by TEXT,
    indexing_at REAL,
    completed_at REAL
);
CREATE INDEX IF NOT EXISTS segment_of_document ON segment (document_id, position);
CREATE INDEX IF NOT EXISTS segment_by_status ON segment (document_id, status);
CREATE INDEX IF NOT EXISTS segment_of_dataset ON segment (dataset_id);
CREATE TABLE IF NOT EXISTS child_chunk (
    id TEXT PRIMARY KEY,
    segment_id TEXT NOT NULL REFERENCES segment (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    content TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS child_chunk_of_segment ON child_chunk (segment_id, position);
"""
ADDED_COLUMNS = {"child_chunk": ("type TEXT NOT NULL DEFAULT 'automatic'",)}


def find_segment(store: Store, document_id: str, segment_id: uuid.UUID | str) -> Row:
    """Return a segment's row.

    :raises SandboxError: 404, if the document has no such segment
    """
    row = (
        store.connection()
        .execute("SELECT * FROM segment WHERE id = ? AND document_id = ?", (str(segment_id), document_id))
        .fetchone()
    )
    if row is None:
        raise SandboxError(404, "not_found", "Segment not found.")
    return row


def child_chunks(connection: Connection, segment_id: str) -> list[Row]:
    """Return a segment's child chunks in their order."""
    sql = "SELECT * FROM child_chunk WHERE segment_id = ? ORDER BY position"
    return connection.execute(sql, (segment_id,)).fetchall()


def insert_segments(
    connection: Connection, document: Row, chunks: Sequence[tuple[Chunk, str]], first_position: int
) -> list[int]:
    """Write segments, within the caller's transaction. A search finds them only after `complete_segments`.

    :param chunks: each chunk with its `index_words`
    :returns: the `seq` of each segment
    """
    seqs = [
        _insert_segment(connection, document, chunk, position)
        for position, (chunk, _) in enumerate(chunks, start=first_position)
    ]
    words = ((seq, words) for seq, (_, words) in zip(seqs, chunks, strict=True))
    index_segments(connection, document["dataset_id"], words)
    return seqs


def unfinished_segments(connection: Connection, document_id: str, limit: int) -> list[tuple[int, str]]:
    """Return the `seq` and the text of the first segments of a document that are not completed."""
    rows = connection.execute(
        "SELECT seq, content, answer FROM segment WHERE document_id = ? AND status = 'indexing' ORDER BY seq LIMIT ?",
        (document_id, limit),
    )
    return [(row["seq"], Chunk(row["content"], row["answer"]).text) for row in rows]


def _insert_segment(connection: Connection, document: Row, chunk: Chunk, position: int) -> int:
    now = time.time()
    row = {
        "id": str(uuid.uuid4()),
        "dataset_id": document["dataset_id"],
        "document_id": document["id"],
        "position": position,
        "index_node_id": str(uuid.uuid4()),
        "enabled": False,
        "status": "indexing",
        "created_by": document["created_by"],
        "created_at": now,
        "updated_at": now,
        "indexing_at": now,
        **_text_columns(chunk),
    }
    seq = connection.execute(
        f"INSERT INTO segment ({', '.join(row)}) VALUES (:{', :'.join(row)}) RETURNING seq",
        row,
    ).fetchone()["seq"]
    _insert_children(connection, row["id"], chunk.children)
    return int(seq)


def _text_columns(chunk: Chunk) -> dict[str, Any]:
    words = chunk.content + (chunk.answer or "")
    return {
        "content": chunk.content,
        "answer": chunk.answer,
        "word_count": len(words),
        "tokens": estimate_tokens(words),
        "index_node_hash": hashlib.sha256(chunk.content.encode()).hexdigest(),
        "keywords": None if chunk.keywords is None else json.dumps(chunk.keywords, ensure_ascii=False),
    }


def _insert_children(connection: Connection, segment_id: str, contents: Iterable[str]) -> None:
    now = time.time()
    connection.executemany(
        "INSERT INTO child_chunk (id, segment_id, position, content, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            (str(uuid.uuid4()), segment_id, position, content, now, now)
            for position, content in enumerate(contents, start=1)
        ),
    )


def complete_segments(connection: Connection, dataset_id: str, seqs: Sequence[int], vectors: Vectors | None) -> None:
    """Let a search find segments, within the caller's transaction.

    :param vectors: their vectors; None if the search uses words alone
    """
    if vectors is not None:
        store_vectors(connection, seqs, vectors)
    now = time.time()
    connection.executemany(
        "UPDATE segment SET status = 'completed', enabled = 1, completed_at = ? WHERE seq = ?",
        ((now, seq) for seq in seqs),
    )
    connection.execute("UPDATE dataset SET ever_indexed = 1 WHERE id = ?", (dataset_id,))


def add_segments(store: Store, document: Row, chunks: Sequence[Chunk]) -> list[Row]:
    """Append segments to a document. A search finds them at once.

    :raises EmbeddingError: if the model makes no vectors
    :raises SandboxError: 404, if another request has deleted the document, or put it back into the queue, while the
        vectors were made. The indexer deletes all segments of a document in the queue
    """
    chunks = [_with_children(document, chunk) for chunk in chunks]
    vectors = _vectors(store, document, chunks)
    with store.transaction() as connection:
        sql = "SELECT indexing_status FROM document WHERE id = ?"
        status = connection.execute(sql, (document["id"],)).fetchone()
        if status is None:
            raise SandboxError(404, "not_found", "Document not found.")
        if status[0] != "completed":
            raise SandboxError(404, "not_found", "Document is not completed.")
        last = connection.execute(
            "SELECT coalesce(max(position), 0) FROM segment WHERE document_id = ?", (document["id"],)
        ).fetchone()[0]
        seqs = insert_segments(connection, document, [(chunk, index_words(chunk.text)) for chunk in chunks], last + 1)
        complete_segments(connection, document["dataset_id"], seqs, vectors)
        _recount(connection, document["id"])
        return [connection.execute("SELECT * FROM segment WHERE seq = ?", (seq,)).fetchone() for seq in seqs]


def _vectors(store: Store, document: Row, chunks: Sequence[Chunk]) -> Vectors | None:
    """Make the vectors of chunks; None if the search in this document uses words alone."""
    embedder = current_embedder()
    if embedder is None or is_economy(store.connection(), document):
        return None
    return Vectors(embedder.name, embedder.passages([chunk.text for chunk in chunks]))


def is_economy(connection: Connection, document: Row) -> bool:
    """Return whether the document is in an economy dataset, whose segments have keywords and no vectors."""
    sql = "SELECT 1 FROM dataset WHERE id = ? AND indexing_technique = 'economy'"
    return connection.execute(sql, (document["dataset_id"],)).fetchone() is not None


def _with_children(document: Row, chunk: Chunk) -> Chunk:
    if document["doc_form"] != "hierarchical_model":
        return chunk
    return replace(chunk, children=split_children(chunk.content, json.loads(document["process_rules"])))


def change_segment(store: Store, document: Row, segment: Row, chunk: Chunk) -> None:
    """Replace a segment's text. A search finds the new text at once.

    :raises EmbeddingError: if the model makes no vector
    :raises SandboxError: 404, if another request has deleted the segment while the vector was made
    """
    chunk = _with_children(document, chunk)
    vectors = _vectors(store, document, [chunk])
    now = time.time()
    columns = _text_columns(chunk) | {"updated_at": now, "indexing_at": now, "completed_at": now}
    columns["updated_by"] = account_id_and_name(store)[0]
    assignments = ", ".join(f"{name} = :{name}" for name in columns)
    with store.transaction() as connection:
        values = {**columns, "seq": segment["seq"]}
        if not connection.execute(f"UPDATE segment SET {assignments} WHERE seq = :seq", values).rowcount:
            raise SandboxError(404, "not_found", "Segment not found.")
        unindex_segments(connection, [segment["seq"]])
        index_segments(connection, segment["dataset_id"], [(segment["seq"], index_words(chunk.text))])
        connection.execute("DELETE FROM segment_vector WHERE seq = ?", (segment["seq"],))
        if vectors is not None:
            store_vectors(connection, [segment["seq"]], vectors)
        connection.execute("DELETE FROM child_chunk WHERE segment_id = ?", (segment["id"],))
        _insert_children(connection, segment["id"], chunk.children)
        _recount(connection, document["id"])


def switch_segments(store: Store, document_id: str, segment_ids: Iterable[str], enabled: bool) -> None:
    """Enable or disable segments. A search sees the change at once. Unknown segments are skipped."""
    now, owner = (None, None) if enabled else (time.time(), account_id_and_name(store)[0])
    with store.transaction() as connection:
        connection.executemany(
            "UPDATE segment SET enabled = ?, disabled_at = ?, disabled_by = ?"
            " WHERE id = ? AND document_id = ? AND enabled <> ? AND status = 'completed'",
            ((enabled, now, owner, segment_id, document_id, enabled) for segment_id in segment_ids),
        )


def delete_segments(store: Store, document_id: str, segment_ids: Iterable[str]) -> None:
    """Delete segments. Unknown segments are skipped. The other segments keep their positions."""
    with store.transaction() as connection:
        for segment_id in segment_ids:
            rows = connection.execute(
                "DELETE FROM segment WHERE id = ? AND document_id = ? RETURNING seq",
                (segment_id, document_id),
            ).fetchall()
            unindex_segments(connection, [row["seq"] for row in rows])
        _recount(connection, document_id)


def _recount(connection: Connection, document_id: str) -> None:
    """Set a document's word_count and tokens to the sums over its segments."""
    connection.execute(
        "UPDATE document SET (word_count, tokens) = ("
        "  SELECT coalesce(sum(word_count), 0), coalesce(sum(tokens), 0) FROM segment"
        "  WHERE document_id = document.id"
        ") WHERE id = ? AND indexing_status = 'completed'",
        (document_id,),
    )
