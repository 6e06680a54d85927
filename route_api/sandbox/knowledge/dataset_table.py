"""The table of datasets."""

import uuid
from sqlite3 import Connection, Row
from typing import Any

from ..errors import SandboxError
from ..store import Store, current_store

SCHEMA = """
CREATE TABLE IF NOT EXISTS dataset (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    permission TEXT NOT NULL,
    indexing_technique TEXT,
    embedding_model TEXT,
    embedding_model_provider TEXT,
    retrieval_model TEXT,
    doc_form TEXT,
    partial_members TEXT NOT NULL DEFAULT '[]',
    enable_api INTEGER NOT NULL DEFAULT 1,
    built_in_metadata INTEGER NOT NULL DEFAULT 0,
    ever_indexed INTEGER NOT NULL DEFAULT 0,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
"""


def find_dataset(store: Store, dataset_id: uuid.UUID | str) -> Row:
    """Return a dataset's row.

    :raises SandboxError: 404, if there is no such dataset
    """
    row = store.connection().execute("SELECT * FROM dataset WHERE id = ?", (str(dataset_id),)).fetchone()
    if row is None:
        raise SandboxError(404, "not_found", "Dataset not found.")
    return row


def open_dataset(dataset_id: uuid.UUID) -> Row:
    """Return a dataset's row, for a request to the service API.

    :raises SandboxError: 404, if there is no such dataset; 403, if the service API is disabled for it
    """
    dataset = find_dataset(current_store(), dataset_id)
    if not dataset["enable_api"]:
        raise SandboxError(403, "forbidden", "Dataset api access is not enabled.")
    return dataset


def update_dataset(connection: Connection, dataset_id: str, fields: dict[str, Any]) -> None:
    """Update columns of a dataset, within the caller's transaction."""
    assignments = ", ".join(f"{name} = :{name}" for name in fields)
    connection.execute(f"UPDATE dataset SET {assignments} WHERE id = :dataset_id", {**fields, "dataset_id": dataset_id})
