"""The JSON in which Dify shows segments and child chunks."""

import json
from sqlite3 import Connection, Row
from typing import Any

from .segment_table import child_chunks


def _seconds(moment: float | None) -> int | None:
    return None if moment is None else int(moment)


def retrieved_payload(segment: Row) -> dict[str, Any]:
    """A segment in the answer of a retrieval, without its document."""
    return {
        "id": segment["id"],
        "position": segment["position"],
        "document_id": segment["document_id"],
        "content": segment["content"],
        "sign_content": segment["content"],
        "answer": segment["answer"],
        "word_count": segment["word_count"],
        "tokens": segment["tokens"],
        "keywords": None if segment["keywords"] is None else json.loads(segment["keywords"]),
        "index_node_id": segment["index_node_id"],
        "index_node_hash": segment["index_node_hash"],
        "hit_count": segment["hit_count"],
        "enabled": bool(segment["enabled"]),
        "disabled_at": _seconds(segment["disabled_at"]),
        "disabled_by": segment["disabled_by"],
        "status": segment["status"],
        "created_by": segment["created_by"],
        "created_at": int(segment["created_at"]),
        "indexing_at": _seconds(segment["indexing_at"]),
        "completed_at": _seconds(segment["completed_at"]),
        "error": None,
        "stopped_at": None,
    }


def segment_payload(connection: Connection, segment: Row) -> dict[str, Any]:
    """A segment by itself or in a list, with its child chunks."""
    return {
        **retrieved_payload(segment),
        "updated_at": int(segment["updated_at"]),
        "updated_by": segment["updated_by"],
        "child_chunks": [child_payload(child) for child in child_chunks(connection, segment["id"])],
        "attachments": [],
        "summary": None,
    }


def child_payload(child: Row) -> dict[str, Any]:
    """A child chunk as Dify shows it."""
    return {
        "id": child["id"],
        "segment_id": child["segment_id"],
        "content": child["content"],
        "position": child["position"],
        "word_count": len(child["content"]),
        "type": child["type"],
        "created_at": int(child["created_at"]),
        "updated_at": int(child["updated_at"]),
    }
