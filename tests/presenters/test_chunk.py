"""Every recorded segment and retrieval record -> the answers of `chunk/…`."""

from route_api.presenters.chunk import chunk_row, document_counts, retrieval_result
from route_api.schemas.chunk import CHUNK_ROW, RECORD, RETRIEVED_CHUNK

from ..support.api_document import differences
from ..support.recorded_objects import objects, wrong

SEGMENTS = objects("segments", "id", "document_id", "content", "status", "position")
RECORDS = objects("retrieve", "segment", "score")


def test_every_recorded_segment_makes_a_row() -> None:
    assert wrong(CHUNK_ROW, SEGMENTS, lambda segment: chunk_row(segment, "a.txt")) == []


def test_every_recorded_answer_to_a_search_is_presented_in_both_forms() -> None:
    for where, record in RECORDS:
        shown = retrieval_result("?", [record], 1)
        assert differences({"records": [RECORD], "chunks": [RETRIEVED_CHUNK]}, shown) == [], where
        assert 0 <= shown["chunks"][0]["similarity"] <= 1


def test_documents_are_counted_with_the_most_passages_first() -> None:
    record = RECORDS[0][1]
    several = [
        {**record, "segment": {**record["segment"], "document_id": owner, "document": {"name": f"{owner}.txt"}}}
        for owner in ("a", "b", "b")
    ]
    assert document_counts(several) == [
        {"count": 2, "doc_id": "b", "doc_name": "b.txt"},
        {"count": 1, "doc_id": "a", "doc_name": "a.txt"},
    ]
