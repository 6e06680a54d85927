"""Dify's segments and retrieval records -> the chunks of our answers, `chunk/…`."""

from collections import Counter
from typing import Any

from ..dify.records import document_name, score, segment_text

Json = dict[str, Any]


def chunk_row(segment: Json, name: str) -> Json:
    """Build a row of `chunk/list`.

    :param name: the name of the segment's document
    """
    return {
        "available_int": 1 if segment.get("enabled") else 0,
        "chunk_id": segment["id"],
        "content_with_weight": segment_text(segment),
        "doc_id": segment["document_id"],
        "docnm_kwd": name,
        "image_id": "",
        "important_kwd": segment.get("keywords"),
        "positions": [],
        "question_kwd": [],
    }


def retrieval_result(question: str, records: list[Json], total: int) -> Json:
    """Build the answer of `chunk/retrieval_test`: `records` as in the API document, the other keys for RAGFlow's UI.

    :param records: Dify's records of this page, best first
    :param total: the number of records on all pages
    """
    return {
        "query": question,
        "records": [_record(record) for record in records],
        "chunks": [_retrieved_chunk(record) for record in records],
        "doc_aggs": document_counts(records),
        "total": total,
    }


def document_counts(records: list[Json]) -> list[Json]:
    """Build RAGFlow's `doc_aggs`: how many records each document has, the highest count first."""
    names = {}
    counts: Counter[str] = Counter()
    for record in records:
        document_id = record["segment"]["document_id"]
        names[document_id] = document_name(record)
        counts[document_id] += 1
    return [
        {"count": count, "doc_id": document_id, "doc_name": names[document_id]}
        for document_id, count in counts.most_common()
    ]


def _record(record: Json) -> Json:
    segment = record["segment"]
    return {
        "answer": segment.get("answer"),
        "content": segment.get("content") or "",
        "document": {"id": segment["document_id"], "name": document_name(record)},
        "score": score(record),
    }


def _retrieved_chunk(record: Json) -> Json:
    similarity = min(max(score(record), 0.0), 1.0)
    row = chunk_row(record["segment"], document_name(record))
    return {**row, "similarity": similarity, "term_similarity": similarity, "vector_similarity": similarity}
