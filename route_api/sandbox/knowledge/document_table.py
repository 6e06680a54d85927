"""The table of documents: find, list, switch, rename, pause and delete, for the service API and the console."""

import time
import uuid
from collections.abc import Iterable
from sqlite3 import Connection, Row
from typing import Any

from ..access.account_table import account_id_and_name
from ..errors import SandboxError
from ..page_parameters import Page
from ..store import Store
from .passage_search import unindex_segments
from .uploaded_files import delete_files

STATUS_ACTIONS = ("enable", "disable", "archive", "un_archive")

SCHEMA = """
CREATE TABLE IF NOT EXISTS document (
    id TEXT PRIMARY KEY,
    dataset_id TEXT NOT NULL REFERENCES dataset (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    file_id TEXT NOT NULL,
    batch TEXT NOT NULL,
    doc_form TEXT NOT NULL,
    doc_language TEXT NOT NULL,
    process_rule_id TEXT NOT NULL,
    process_mode TEXT NOT NULL,
    process_rules TEXT NOT NULL,
    metadata TEXT NOT NULL DEFAULT '{}',
    enabled INTEGER NOT NULL DEFAULT 1,
    disabled_at REAL,
    disabled_by TEXT,
    archived INTEGER NOT NULL DEFAULT 0,
    tokens INTEGER,
    word_count INTEGER,
    indexing_status TEXT NOT NULL DEFAULT 'waiting',
    indexing_latency REAL,
    error TEXT,
    created_by TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    queued_at REAL NOT NULL,
    processing_started_at REAL,
    parsing_completed_at REAL,
    cleaning_completed_at REAL,
    splitting_completed_at REAL,
    completed_at REAL,
    paused_at REAL,
    stopped_at REAL
);
CREATE INDEX IF NOT EXISTS document_of_dataset ON document (dataset_id, created_at, position);
CREATE INDEX IF NOT EXISTS document_of_batch ON document (batch);
CREATE INDEX IF NOT EXISTS document_by_status ON document (indexing_status, queued_at);
"""

DISPLAY_STATUS = """CASE
    WHEN document.indexing_status = 'waiting' THEN 'queuing'
    WHEN document.indexing_status IN ('parsing', 'splitting', 'indexing') THEN 'indexing'
    WHEN document.indexing_status <> 'completed' THEN document.indexing_status
    WHEN document.archived THEN 'archived'
    WHEN document.enabled THEN 'available'
    ELSE 'disabled'
END"""
DISPLAY_STATUSES = ("queuing", "indexing", "paused", "error", "available", "disabled", "archived")

_SELECT = f"""
SELECT document.*, {DISPLAY_STATUS} AS display_status,
    file.name AS file_name, file.size AS file_size, file.extension AS file_extension,
    file.mime_type AS file_mime_type, file.created_at AS file_created_at,
    (SELECT count(*) FROM segment WHERE segment.document_id = document.id) AS total_segments,
    (SELECT count(*) FROM segment WHERE segment.document_id = document.id AND segment.status = 'completed')
        AS completed_segments
FROM document JOIN upload_file AS file ON file.id = document.file_id
"""
_NEWEST_FIRST = "ORDER BY document.created_at DESC, document.position DESC"


def find_document(store: Store, dataset_id: str, document_id: uuid.UUID | str, missing: str = "") -> Row:
    """Return a document's row, with the columns of its file and the numbers of its segments.

    :param missing: the error text if there is no such document; in Dify it differs between the routes
    :raises SandboxError: 404, if the dataset has no such document
    """
    row = (
        store.connection()
        .execute(f"{_SELECT} WHERE document.id = ? AND document.dataset_id = ?", (str(document_id), dataset_id))
        .fetchone()
    )
    if row is None:
        raise SandboxError(404, "not_found", missing or "Document not found.")
    return row


def find_documents(store: Store, dataset_id: str, where: str = "TRUE", values: Iterable[Any] = ()) -> list[Row]:
    """Return the rows of a dataset's documents, newest first.

    :param where: a condition in SQL with the parameters `values`
    """
    sql = f"{_SELECT} WHERE document.dataset_id = ? AND {where} {_NEWEST_FIRST}"
    return store.connection().execute(sql, (dataset_id, *values)).fetchall()


def list_page(store: Store, dataset_id: str, page: Page, keyword: str, status: str) -> tuple[list[Row], int]:
    """Return one page of a dataset's documents.

    :param keyword: part of the name, case-sensitive; `%` and `_` are wildcards (documents/list-keyword-percent)
    :param status: a display status; an unknown status is ignored (documents/list-status-nope)
    :returns: the rows of the page; the number of all rows
    """
    where, values = "TRUE", []
    if keyword:
        # In SQLite, LIKE ignores case. GLOB does not; its wildcards are * and ?.
        where += " AND document.name GLOB ?"
        values.append(f"*{_as_glob(keyword)}*")
    if status in DISPLAY_STATUSES:
        where += f" AND {DISPLAY_STATUS} = ?"
        values.append(status)
    total = (
        store.connection()
        .execute(f"SELECT count(*) FROM document WHERE dataset_id = ? AND {where}", (dataset_id, *values))
        .fetchone()[0]
    )
    sql = f"{_SELECT} WHERE document.dataset_id = ? AND {where}"
    rows = store.connection().execute(
        f"{sql} {_NEWEST_FIRST} LIMIT ? OFFSET ?",
        (dataset_id, *values, page.rows, page.offset),
    )
    return rows.fetchall(), total


def _as_glob(keyword: str) -> str:
    escaped = "".join(f"[{character}]" if character in "*?[" else character for character in keyword)
    return escaped.replace("%", "*").replace("_", "?")


def change_status(store: Store, dataset_id: str, action: str, document_ids: Iterable[str]) -> None:
    """Enable, disable, archive or un_archive documents. Unknown documents are skipped.

    A search sees the change at once. So there is no error "is being indexed, please try again later", as in Dify.

    :raises SandboxError: 400, for an unknown action, or if a document to disable is not completed; then nothing changes
    """
    if action not in STATUS_ACTIONS:
        text = f"Invalid action: {action}. Must be one of {list(STATUS_ACTIONS)}"
        raise SandboxError(400, "invalid_action", text)
    now, owner = time.time(), account_id_and_name(store)[0]
    changes = {
        "enable": ("enabled = 1, disabled_at = NULL, disabled_by = NULL", "NOT enabled", ()),
        "disable": ("enabled = 0, disabled_at = ?, disabled_by = ?", "enabled", (now, owner)),
        "archive": ("archived = 1", "NOT archived", ()),
        "un_archive": ("archived = 0", "archived", ()),
    }
    assignments, unless, values = changes[action]
    with store.transaction() as connection:
        for document_id in document_ids:
            row = connection.execute(
                "SELECT name, indexing_status FROM document WHERE id = ? AND dataset_id = ?",
                (document_id, dataset_id),
            ).fetchone()
            if row is not None and action == "disable" and row["indexing_status"] != "completed":
                raise SandboxError(400, "invalid_action", f"Document: {row['name']} is not completed.")
            connection.execute(
                f"UPDATE document SET {assignments}, updated_at = ?" f" WHERE id = ? AND dataset_id = ? AND {unless}",
                (*values, now, document_id, dataset_id),
            )


def rename_document(store: Store, document: Row, name: str) -> None:
    """Rename a document and its file (documents/console-rename)."""
    with store.transaction() as connection:
        now = time.time()
        connection.execute("UPDATE document SET name = ?, updated_at = ? WHERE id = ?", (name, now, document["id"]))
        connection.execute("UPDATE upload_file SET name = ? WHERE id = ?", (name, document["file_id"]))


def pause_document(store: Store, document: Row) -> None:
    """Take a document out of the indexer's queue.

    :raises SandboxError: 400, if its indexing has ended
    """
    paused = store.connection().execute(
        "UPDATE document SET indexing_status = 'paused', paused_at = ?"
        " WHERE id = ? AND indexing_status IN ('waiting', 'parsing', 'splitting', 'indexing')",
        (time.time(), document["id"]),
    )
    if not paused.rowcount:
        raise SandboxError(400, "document_indexing", "Cannot pause completed document.")


def resume_document(store: Store, document: Row) -> None:
    """Put a paused document back into the indexer's queue.

    :raises SandboxError: 400, if it is not paused
    """
    resumed = store.connection().execute(
        "UPDATE document SET indexing_status = 'waiting', paused_at = NULL"
        " WHERE id = ? AND indexing_status = 'paused'",
        (document["id"],),
    )
    if not resumed.rowcount:
        raise SandboxError(400, "document_indexing", "Document is not in paused state.")


def delete_documents(store: Store, dataset_id: str, document_ids: Iterable[str]) -> None:
    """Delete documents with their segments and files, also while they are being indexed.

    Unknown documents are skipped.
    """
    for document_id in document_ids:
        with store.transaction() as connection:
            row = connection.execute(
                "SELECT file_id FROM document WHERE id = ? AND dataset_id = ?", (document_id, dataset_id)
            ).fetchone()
            if row is None:
                continue
            unindex_segments(connection, segment_seqs(connection, document_id))
            connection.execute("DELETE FROM document WHERE id = ?", (document_id,))
        delete_files(store, [row["file_id"]])


def segment_seqs(connection: Connection, document_id: str) -> list[int]:
    """Return the `seq` of each segment of a document. The search index uses these numbers."""
    rows = connection.execute("SELECT seq FROM segment WHERE document_id = ?", (document_id,))
    return [row["seq"] for row in rows]


def require_editable(document: Row) -> None:
    """Check that a document may be changed.

    :raises SandboxError: 403, if it is archived (documents/delete-archived)
    """
    if document["archived"]:
        text = "The archived document is not editable."
        raise SandboxError(403, "archived_document_immutable", text)
