"""Every recorded document and upload -> the answers of `document/…`."""

import pytest

from route_api.presenters.document import (
    document_row,
    document_row_from_detail,
    file_extension,
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
        assert (row["run"] == "3") == (row["progress"] == 1) or row["run"] == "1"
        assert (row["run"] == "4") == (row["progress"] == -1)


@pytest.mark.parametrize(
    ("status", "completed", "total", "expected"),
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
def test_progress_is_what_is_done_of_the_whole(status: str, completed: int, total: int, expected: float) -> None:
    assert progress(status, completed, total) == expected


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
