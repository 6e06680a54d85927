"""Several documents as one zip: from every version, streamed, with each file whole and under a name of its own."""

import random
import zipfile
from io import BytesIO
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient

from route_api.errors import DifyUnreachable
from route_api.knowledge.zips import locate_documents, read_zip

from ..support.fake_dify import FakeDify
from ..support.recordings import DIFY, load
from ..support.scenes import play_login

KB_ID = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"
IDS = [f"00000000-0000-4000-8000-00000000000{number}" for number in range(1, 4)]
CONTENTS = ["第一回 甄士隐".encode() * 1000, b"", random.Random(1).randbytes(300_000)]


def play_documents(dify: FakeDify, names: list[str], contents: list[bytes] = CONTENTS) -> None:
    """A kb with documents whose files can be had in the way of this version of Dify."""
    dify.mock.assert_all_requests_are_fired = False
    no_route = load("1.12.1", "documents/upload-file")["response"]["body"]
    play_login(dify)
    for document_id, name, content in zip(IDS, names, contents, strict=True):
        address = {"url": f"/files/{document_id}/file-preview?as_attachment=true"}
        base = f"/v1/datasets/{KB_ID}/documents/{document_id}"
        if dify.version == "1.16.1":
            dify.answer("GET", f"{base}/download", address)
        else:
            dify.mock.get(f"{DIFY}{base}/download", body=no_route, status=404)
        if dify.version == "1.8.1":
            dify.answer("GET", f"{base}/upload-file", {**address, "download_url": address["url"]})
        if dify.version == "1.12.1":
            dify.mock.get(f"{DIFY}{base}/upload-file", body=no_route, status=404)
            dify.answer("GET", f"/console/api{base[3:]}/download", address)
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
        dify.mock.get(f"{DIFY}/files/{document_id}/file-preview", body=content, headers=headers)


def download(client: FlaskClient, **more: Any) -> Any:
    return client.post("/document/download", json={"kb_id": KB_ID, "document_id": IDS, **more})


def test_several_documents_come_as_one_zip(console_client: FlaskClient, dify: FakeDify) -> None:
    play_documents(dify, ["红楼梦.txt", "empty.md", "scan.pdf"])
    answer = download(console_client)
    assert (answer.status_code, answer.mimetype) == (200, "application/zip")
    assert "documents.zip" in answer.headers["Content-Disposition"] and answer.headers["Accept-Ranges"] == "none"
    with zipfile.ZipFile(BytesIO(answer.data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == dict(
            zip(["红楼梦.txt", "empty.md", "scan.pdf"], CONTENTS, strict=True)
        )
        # Java's ZipInputStream reads an entry whose size comes after it only if it is compressed.
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_DEFLATED}


@pytest.mark.parametrize("name", ["doc_id", "doc_ids", "document_ids"])
def test_the_ids_may_have_their_other_names(client: FlaskClient, any_dify: FakeDify, name: str) -> None:
    play_documents(any_dify, ["a", "b", "c"])
    answer = client.post("/document/download", json={"kb_id": KB_ID, name: IDS})
    assert answer.mimetype == "application/zip"


def test_equal_names_get_numbers_and_folders_are_cut_off(client: FlaskClient, any_dify: FakeDify) -> None:
    play_documents(any_dify, ["a.txt", "A.txt", "../../a.txt"])
    with zipfile.ZipFile(BytesIO(download(client).data)) as archive:
        assert archive.namelist() == ["a.txt", "A(1).txt", "a(2).txt"]


def test_an_unknown_document_is_told_and_no_zip_begins(client: FlaskClient, any_dify: FakeDify) -> None:
    play_documents(any_dify, ["a", "b", "c"])
    any_dify.mock.remove("GET", f"{DIFY}/v1/datasets/{KB_ID}/documents/{IDS[2]}/download")
    any_dify.play("documents/service-download-unknown", f"/v1/datasets/{KB_ID}/documents/{IDS[2]}/download")
    answer = download(client)
    assert (answer.status_code, answer.json["error"]) == (404, "document_not_found")
    assert IDS[2] in answer.json["message"]


def test_an_address_that_has_expired_is_asked_for_again(client: FlaskClient, any_dify: FakeDify) -> None:
    """It is valid for five minutes, and the files before it may take longer."""
    any_dify.mock.get(
        f"{DIFY}/files/{IDS[1]}/file-preview",
        json=load("1.16.1", "documents/download-expired")["response"]["body"],
        status=404,
    )
    play_documents(any_dify, ["a", "b", "c"])
    with zipfile.ZipFile(BytesIO(download(client).data)) as archive:
        assert archive.read("b") == CONTENTS[1] and archive.testzip() is None


def test_a_first_file_that_fails_is_an_answer_and_a_later_one_leaves_the_zip_without_an_end(
    app: Flask, client: FlaskClient, any_dify: FakeDify
) -> None:
    play_documents(any_dify, ["a", "b", "c"])
    broken = f"{DIFY}/files/{IDS[1]}/file-preview"
    any_dify.mock.remove("GET", broken)
    any_dify.fail("GET", broken.removeprefix(DIFY), ConnectionResetError())
    answer = client.post("/document/download", json={"kb_id": KB_ID, "document_id": [IDS[1], IDS[0]]})
    assert (answer.status_code, answer.json["error"]) == (502, "dify_unreachable")
    with app.app_context():
        received = bytearray()
        with pytest.raises(DifyUnreachable):
            for piece in read_zip(KB_ID, locate_documents(KB_ID, IDS)):
                received += piece
    assert b"PK\x03\x04" in received and b"PK\x05\x06" not in received


def test_the_zip_leaves_while_it_is_written(app: Flask, any_dify: FakeDify) -> None:
    play_documents(any_dify, ["a", "b", "c"], [random.Random(2).randbytes(3_000_000)] * 3)
    with app.app_context():
        pieces = read_zip(KB_ID, locate_documents(KB_ID, IDS))
        sizes = [len(piece) for piece in pieces]
    assert sum(sizes) > 9_000_000 and max(sizes) < 500_000


def test_head_gets_the_headers_alone(client: FlaskClient, any_dify: FakeDify) -> None:
    play_documents(any_dify, ["a", "b", "c"])
    answer = client.head("/document/download", query_string={"kb_id": KB_ID, "document_id": ",".join(IDS)})
    assert (answer.status_code, answer.mimetype, answer.data) == (200, "application/zip", b"")
    assert "Content-Length" not in answer.headers
    assert not [call for call in any_dify.calls if "/files/" in call]
