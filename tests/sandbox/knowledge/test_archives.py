"""Archives of documents for dataset keys, which only 1.16.1 has. The console's are recorded."""

import io
from pathlib import Path
from zipfile import ZipFile

from ...support.sandbox_chat import Template
from ...support.sandbox_knowledge import Knowledge

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def test_an_archive_has_the_files_in_order_and_no_name_twice(template: Template, tmp_path: Path) -> None:
    knowledge = Knowledge(template.copy_to(tmp_path / "data", "1.16.1"))
    dataset_id = knowledge.create_dataset()
    documents = []
    for content in ("甲", "乙"):
        documents.append(knowledge.upload(dataset_id, "a.txt", content))
        # An upload with the name of an enabled document would replace it.
        path = f"/datasets/{dataset_id}/documents/status/disable"
        assert knowledge.service("PATCH", path, json={"document_ids": documents}).status_code == 200
    path = f"/datasets/{dataset_id}/documents/download-zip"
    answer = knowledge.service("POST", path, json={"document_ids": documents})
    assert (answer.status_code, answer.mimetype) == (200, "application/zip")
    archive = ZipFile(io.BytesIO(answer.data))
    assert [(name, archive.read(name).decode()) for name in archive.namelist()] == [
        ("a.txt", "甲"),
        ("a (1).txt", "乙"),
    ]

    for ids, status, message in (
        ([*documents, UNKNOWN], 404, "Document not found."),
        (["nope"], 400, "must be a valid UUID"),
        ([UNKNOWN] * 101, 400, "List should have at most 100 items after validation, not 101"),
    ):
        refused = knowledge.service("POST", path, json={"document_ids": ids})
        assert (refused.status_code, message in refused.json["message"]) == (status, True)
    patched = knowledge.service("PATCH", f"/datasets/{dataset_id}/documents/{documents[0]}")
    assert patched.json["document"]["id"] == documents[0]
    knowledge.stop()
