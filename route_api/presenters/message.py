"""A turn's passages -> the sources that our answer to `conversation/completion` shows."""

from typing import Any

from ..dify.records import document_name, score, segment_text
from .chunk import document_counts

Json = dict[str, Any]


def reference(record: Json) -> Json:
    """Build an entry of `rag_info.references`: a passage that the model was given.

    :param record: Dify's retrieval record, with the `kb_id` that it comes from
    """
    segment = record["segment"]
    return {
        "chunk_id": segment["id"],
        "content": segment_text(segment),
        "doc_id": segment.get("document_id") or (segment.get("document") or {}).get("id"),
        "doc_name": document_name(record),
        "kb_id": record.get("kb_id"),
        "score": score(record),
    }


def ragflow_reference(records: list[Json]) -> Json:
    """Build the `reference` that RAGFlow's UI shows under an answer."""
    chunks = [
        {
            "content": segment_text(record["segment"]),
            "dataset_id": record.get("kb_id"),
            "document_id": record["segment"]["document_id"],
            "document_name": document_name(record),
            "id": record["segment"]["id"],
            "positions": [],
            "similarity": score(record),
        }
        for record in records
    ]
    return {"chunks": chunks, "doc_aggs": document_counts(records)}
