"""Every recorded document and upload -> the answers of `document/…`."""

from email.utils import parsedate_to_datetime

import pytest

from route_api.presenters.document import (
    NO_CHUNKS,
    NO_PAIRS,
    document_row,
    document_row_from_detail,
    file_extension,
    indexing_status,
    meta_fields,
    progress,
    uploaded_document,
)
from route_api.schemas.document import DOCUMENT_ROW, UPLOADED_DOCUMENT

from ..support.recorded_objects import KB_ID, objects, wrong
from ..support.recordings import VERSIONS, load

DOCUMENTS = objects("documents", "id", "name", "indexing_status", "data_source_type", "created_at")
CREATED = objects("documents", "document", "batch")
STATES = objects("documents", "indexing_status", "completed_segments", "total_segments", "splitting_completed_at")


def test_every_recorded_document_makes_a_row() -> None:
    assert wrong(DOCUMENT_ROW, DOCUMENTS, lambda document: document_row(document, KB_ID)) == []
    assert wrong(DOCUMENT_ROW, DOCUMENTS, lambda document: document_row_from_detail(document, KB_ID)) == []


def test_every_recorded_upload_makes_a_row() -> None:
    assert wrong(UPLOADED_DOCUMENT, CREATED, lambda created: uploaded_document(created, KB_ID)) == []


def test_run_and_progress_never_leave_what_the_ui_knows() -> None:
    for where, document in [*DOCUMENTS, *STATES]:
        row = document_row({"id": "", "name": "", **document}, KB_ID, document)
        assert row["run"] in {"0", "1", "2", "3", "4"} and row["status"] in {"0", "1"}, where
        assert row["progress"] == -1 or 0 <= row["progress"] <= 1
        assert (row["run"] == "3") == (row["progress"] == 1)
        assert (row["run"] == "4") == (row["progress"] == -1)


@pytest.mark.parametrize(
    ("status", "completed", "total", "expected"),
    [
        ("waiting", 0, 0, 0),
        ("indexing", 0, 0, 0),
        ("indexing", 1, 3, 0.3333),
        ("indexing", 3, 3, 0.9999),
        ("indexing", 99_999, 100_000, 0.9999),
        ("paused", 1, 2, 0.5),
        ("completed", 0, 0, 1),
        ("error", 2, 3, -1),
    ],
)
def test_progress_is_what_is_done_of_the_whole(status: str, completed: int, total: int, expected: float) -> None:
    assert progress(status, completed, total) == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_the_times_of_the_processing_are_those_that_dify_tells(version: str) -> None:
    (status,) = load(version, "documents/indexing-status-large-completed")["response"]["body"]["data"]
    row = document_row({"name": "长篇.txt", **status}, KB_ID, status)
    assert parsedate_to_datetime(row["process_begin_at"]).timestamp() == status["processing_started_at"]
    assert row["process_duation"] == row["process_duration"] == status["completed_at"] - status["processing_started_at"]
    detail = load(version, "documents/get-one")["response"]["body"]
    row = document_row_from_detail(detail, KB_ID)
    assert parsedate_to_datetime(row["process_begin_at"]).timestamp() == detail["completed_at"]  # It took 0.2 seconds.
    assert row["process_duation"] == row["process_duration"] == round(detail["indexing_latency"], 4) > 0


@pytest.mark.parametrize("version", VERSIONS)
def test_a_document_that_failed_was_processed_until_it_stopped(version: str) -> None:
    (status,) = load(version, "documents/indexing-status-error")["response"]["body"]["data"]
    row = document_row({"name": "a.txt", **status}, KB_ID, status)
    assert row["process_begin_at"] and row["process_duation"] == status["stopped_at"] - status["processing_started_at"]
    assert row["progress_msg"] == status["error"] != ""


@pytest.mark.parametrize("version", VERSIONS)
def test_a_document_whose_times_dify_does_not_tell_has_none(version: str) -> None:
    for case in ("documents/list-default", "documents/list-waiting"):
        for document in load(version, case)["response"]["body"]["data"]:
            row = document_row(document, KB_ID)
            assert (row["process_begin_at"], row["process_duation"]) == (None, 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_document_without_chunks_says_so(version: str) -> None:
    listed = load(version, "documents/list-default")["response"]["body"]["data"]
    (empty,) = [document for document in listed if document["name"] == "empty.txt"]
    (counts,) = load(version, "documents/indexing-status-empty-file")["response"]["body"]["data"]
    qa = load(version, "documents/get-one-qa-model")["response"]["body"]
    assert document_row(empty, KB_ID)["progress_msg"] == NO_CHUNKS
    assert document_row(empty, KB_ID, counts)["progress_msg"] == NO_CHUNKS
    assert document_row_from_detail(qa, KB_ID)["progress_msg"] == NO_PAIRS
    (row,) = indexing_status([counts])
    assert row["progress_msg"].startswith(NO_CHUNKS) and "qa_model" in row["progress_msg"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_document_in_work_or_with_chunks_says_nothing_of_them(version: str) -> None:
    for case in ("waiting", "parsing", "splitting", "indexing", "completed"):
        (status,) = load(version, f"documents/indexing-status-{case}")["response"]["body"]["data"]
        assert document_row({"name": "a.txt", **status}, KB_ID, status)["progress_msg"] == "", case
        assert indexing_status([status])[0]["progress_msg"] == "", case
    with_chunks = load(version, "documents/get-one")["response"]["body"]
    assert document_row_from_detail(with_chunks, KB_ID)["progress_msg"] == ""
    assert document_row_from_detail({**with_chunks, "segment_count": None}, KB_ID)["progress_msg"] == ""


def test_an_archived_document_is_off() -> None:
    (document,) = [d for w, d in DOCUMENTS if w == "1.8.1 documents/get-one-archived"]
    assert document["enabled"] is True
    assert document_row(document, KB_ID)["status"] == "0"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_size_of_a_file_is_found_wherever_a_version_keeps_it(version: str) -> None:
    for case in ("documents/get-one", "documents/console-get-one"):
        document = load(version, case)["response"]["body"]
        assert document_row(document, KB_ID)["size"] == 252, case


@pytest.mark.parametrize(
    ("name", "extension"), [("a.TXT", "txt"), ("a.tar.gz", "gz"), ("a", ""), (".env", ""), ("红.md", "md")]
)
def test_the_type_of_a_document_is_its_extension(name: str, extension: str) -> None:
    assert file_extension(name) == extension


def test_metadata_become_an_object() -> None:
    entries = [{"id": "1", "name": "author", "value": "曹雪芹"}, {"id": "2", "name": "year", "value": None}]
    assert meta_fields(entries) == {"author": "曹雪芹", "year": None}
    assert meta_fields(None) == meta_fields([]) == {}
