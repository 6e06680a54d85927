"""The table of metadata fields, the built-in fields, and the values that a document has of both."""

import json
from sqlite3 import Connection, Row
from typing import Any

BUILT_IN_FIELDS = {
    "document_name": "string",
    "uploader": "string",
    "upload_date": "time",
    "last_update_date": "time",
    "source": "string",
}

SCHEMA = """
CREATE TABLE IF NOT EXISTS metadata_field (
    id TEXT PRIMARY KEY,
    dataset_id TEXT NOT NULL REFERENCES dataset (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    created_at REAL NOT NULL,
    UNIQUE (dataset_id, name)
);
"""

Values = dict[str, Any]


def dataset_fields(connection: Connection, dataset: Row) -> list[dict[str, str]]:
    """Return the fields of a dataset: its own fields, then the built-in fields if they are enabled."""
    rows = connection.execute(
        "SELECT id, name, type FROM metadata_field WHERE dataset_id = ? ORDER BY created_at, id",
        (dataset["id"],),
    )
    fields = [dict(row) for row in rows]
    if dataset["built_in_metadata"]:
        fields += [{"id": "built-in", "name": name, "type": kind} for name, kind in BUILT_IN_FIELDS.items()]
    return fields


def document_values(dataset: Row, document: Row, uploader: str) -> Values | None:
    """Return a document's values by name, as a retrieval shows them, or None if it has no value."""
    values: Values = json.loads(document["metadata"])
    if dataset["built_in_metadata"]:
        values |= {
            "document_name": document["name"],
            "uploader": uploader,
            "upload_date": float(document["created_at"]),
            "last_update_date": float(document["updated_at"]),
            "source": "file_upload",
        }
    return values or None


def document_metadata(connection: Connection, dataset: Row, document: Row, uploader: str) -> list[Values] | None:
    """Return a document's values as a list with the fields' ids and types, as a document shows them, or None.

    The source is metadata/document-after-enable.
    """
    values = document_values(dataset, document, uploader)
    if values is None:
        return None
    return [
        {**field, "value": str(values[field["name"]])}
        for field in dataset_fields(connection, dataset)
        if field["name"] in values
    ]
