"""Dify's JSON -> ours, over every recording of both versions that holds such a thing."""

from collections.abc import Iterator
from typing import Any

import pytest

from route_api import presenters
from route_api.schemas.chunk import CHUNK_ROW, RECORD, RETRIEVED_CHUNK
from route_api.schemas.document import DOCUMENT_ROW, UPLOADED_DOCUMENT
from route_api.schemas.kb import KB_DETAIL, KB_ROW, KB_UPDATED

from ..support.api_document import differences
from ..support.recordings import VERSIONS, cases, load

KB_ID = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"
Found = list[tuple[str, dict[str, Any]]]


def objects(areas: str, *keys: str) -> Found:
    """Every object in the recorded successes of an area that has these keys, with where it is from."""

    def walk(value: Any) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict):
            if all(key in value for key in keys):
                yield value
            for inner in value.values():
                yield from walk(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from walk(inner)

    found = []
    for version in VERSIONS:
        for case in cases(version, areas):
            response = load(version, case)["response"]
            if response["status"] == 200 and not isinstance(response["body"], str):
                found += [(f"{version} {case}", value) for value in walk(response["body"])]
    return found


DATASETS = objects("datasets", "id", "retrieval_model_dict", "document_count")
DOCUMENTS = objects("documents", "id", "name", "indexing_status", "data_source_type", "created_at")
CREATED = objects("documents", "document", "batch")
SEGMENTS = objects("segments", "id", "document_id", "content", "status", "position")
RECORDS = objects("retrieve", "segment", "score")
STATES = objects("documents", "indexing_status", "completed_segments", "total_segments", "splitting_completed_at")


def wrong(example: Any, found: Found, present: Any) -> list[str]:
    """What each recording's row lacks of the example."""
    return [f"{where}: {line}" for where, value in found for line in differences(example, present(value))]


def test_there_is_something_to_present() -> None:
    assert min(map(len, (DATASETS, DOCUMENTS, CREATED, SEGMENTS, RECORDS, STATES))) > 20


def test_every_recorded_dataset_makes_the_rows_of_a_kb() -> None:
    assert wrong(KB_ROW, DATASETS, presenters.kb_row) == []
    detail = {**KB_DETAIL, "manager_list": []}
    assert wrong(detail, DATASETS, presenters.kb_detail) == []
    assert wrong(KB_UPDATED, DATASETS, presenters.kb_updated) == []


def test_every_recorded_document_makes_a_row() -> None:
    assert wrong(DOCUMENT_ROW, DOCUMENTS, lambda document: presenters.document_row(document, KB_ID)) == []
    assert wrong(DOCUMENT_ROW, DOCUMENTS, lambda document: presenters.chunk_document(document, KB_ID)) == []


def test_every_recorded_upload_makes_a_row() -> None:
    assert wrong(UPLOADED_DOCUMENT, CREATED, lambda created: presenters.uploaded_document(created, KB_ID)) == []


def test_every_recorded_segment_makes_a_row() -> None:
    assert wrong(CHUNK_ROW, SEGMENTS, lambda segment: presenters.chunk_row(segment, "a.txt")) == []


def test_every_recorded_answer_to_a_search_is_presented_in_both_forms() -> None:
    for where, record in RECORDS:
        shown = presenters.retrieval("?", [record], 1)
        assert differences({"records": [RECORD], "chunks": [RETRIEVED_CHUNK]}, shown) == [], where
        assert 0 <= shown["chunks"][0]["similarity"] <= 1
        assert presenters.reference(record)["doc_id"] == record["segment"]["document_id"]


def test_run_and_progress_never_leave_what_the_ui_knows() -> None:
    for where, document in [*DOCUMENTS, *STATES]:
        row = presenters.document_row({"id": "", "name": "", **document}, KB_ID, document)
        assert row["run"] in {"0", "1", "2", "3", "4"} and row["status"] in {"0", "1"}, where
        assert row["progress"] == -1 or 0 <= row["progress"] <= 1
        assert (row["run"] == "3") == (row["progress"] == 1) or row["run"] == "1"
        assert (row["run"] == "4") == (row["progress"] == -1)


@pytest.mark.parametrize(
    ("state", "done", "total", "progress"),
    [
        ("waiting", 0, 0, 0),
        ("indexing", 0, 0, 0),
        ("indexing", 1, 3, 0.3333),
        ("indexing", 3, 3, 1),
        ("paused", 1, 2, 0.5),
        ("completed", 0, 0, 1),
        ("error", 2, 3, -1),
    ],
)
def test_progress_is_what_is_done_of_the_whole(state: str, done: int, total: int, progress: float) -> None:
    assert presenters.progress(state, done, total) == progress


def test_an_archived_document_is_off() -> None:
    (document,) = [d for w, d in DOCUMENTS if w == "1.8.1 documents/get-one-archived"]
    assert document["enabled"] is True
    assert presenters.document_row(document, KB_ID)["status"] == "0"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_size_of_a_file_is_found_wherever_a_version_keeps_it(version: str) -> None:
    for case in ("documents/get-one", "documents/console-get-one"):
        document = load(version, case)["response"]["body"]
        assert presenters.document_row(document, KB_ID)["size"] == 252, case


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://dify.test/files/a?sign=1&as=2", "/files/a?sign=1&as=2"),
        ("https://u:p@10.0.0.1:8443/files/a", "/files/a"),
        ("/files/a?x=1", "/files/a?x=1"),
        ("", ""),
    ],
)
def test_an_address_loses_its_host(address: str, shown: str) -> None:
    assert presenters.without_host(address) == shown


@pytest.mark.parametrize(
    ("name", "extension"), [("a.TXT", "txt"), ("a.tar.gz", "gz"), ("a", ""), (".env", ""), ("红.md", "md")]
)
def test_the_type_of_a_document_is_its_extension(name: str, extension: str) -> None:
    assert presenters.file_extension(name) == extension


def test_metadata_become_an_object() -> None:
    entries = [{"id": "1", "name": "author", "value": "曹雪芹"}, {"id": "2", "name": "year", "value": None}]
    assert presenters.meta_fields(entries) == {"author": "曹雪芹", "year": None}
    assert presenters.meta_fields(None) == presenters.meta_fields([]) == {}


def test_documents_are_counted_with_the_most_passages_first() -> None:
    record = RECORDS[0][1]
    several = [
        {**record, "segment": {**record["segment"], "document_id": owner, "document": {"name": f"{owner}.txt"}}}
        for owner in ("a", "b", "b")
    ]
    assert presenters.document_counts(several) == [
        {"count": 2, "doc_id": "b", "doc_name": "b.txt"},
        {"count": 1, "doc_id": "a", "doc_name": "a.txt"},
    ]


def test_dates_are_those_of_http() -> None:
    assert presenters.http_date(1754889105) == "Mon, 11 Aug 2025 05:11:45 GMT"
    assert presenters.http_date(0) == ""
