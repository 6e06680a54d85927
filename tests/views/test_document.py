"""`/document`: lists, switches, deletions, states of indexing, files."""

import gzip
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import Any
from urllib.parse import quote, unquote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from requests import PreparedRequest
from sqlalchemy.exc import OperationalError
from werkzeug.http import parse_options_header

from route_api.knowledge import documents
from route_api.knowledge.documents import LOCK_S, SMALL_KB
from route_api.presenters.formats import http_date

from ..support.fake_dify import Answer, FakeDify, recorded
from ..support.patience import PATIENCE_S
from ..support.recordings import DIFY, load
from ..support.scenes import FILE_CONTENT, FILE_NAME, play_file, play_file_address, play_login

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def rows_of(client: FlaskClient, kb_id: str, **more: Any) -> list[dict[str, Any]]:
    answer = client.get("/document/list", query_string={"kb_id": kb_id, **more})
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json["data"]["docs"]
    return rows


# ------------------------------------------------------------------ list


def test_a_row_tells_what_dify_knows(client: FlaskClient, dify: FakeDify) -> None:
    (kb_id,) = dify.play("documents/list-default")
    rows = rows_of(client, kb_id)
    for row, document in zip(rows, dify.body("documents/list-default")["data"], strict=True):
        assert (row["id"], row["name"], row["kb_id"]) == (document["id"], document["name"], kb_id)
        assert row["token_num"] == (document["tokens"] or 0)
        assert row["size"] == document["data_source_detail_dict"]["upload_file"]["size"]
        assert row["create_time"] == document["created_at"]
        assert row["create_date"].endswith(" GMT")
        done = {"completed": ("3", 1), "error": ("4", -1)}
        assert (row["run"], row["progress"]) == done[document["indexing_status"]]
        assert row["status"] == ("1" if document["enabled"] and not document["archived"] else "0")
    assert len(dify.calls) == 1


def test_page_and_keywords_reach_dify(client: FlaskClient, any_dify: FakeDify) -> None:
    (kb_id,) = any_dify.play("documents/list-keyword")
    rows_of(client, kb_id, page=2, page_size=3, keywords=" 红楼 ")
    assert any_dify.calls == [f"GET /v1/datasets/{kb_id}/documents?page=2&limit=3&keyword=红楼"]


def test_a_percent_sign_in_keywords_is_a_text(client: FlaskClient, dify: FakeDify) -> None:
    """For Dify it is a wildcard, and finds every document (recording documents/list-keyword-percent; not of 1.8.1)."""
    case = "documents/list-keyword-percent" if dify.version != "1.8.1" else "documents/list-default"
    (kb_id,) = dify.play(case)
    assert dify.body(case)["data"] and rows_of(client, kb_id, keywords="%") == []
    page = dify.body("documents/list-default")
    page["data"][1]["name"] = "100%_new.txt"
    dify.mock.remove("GET", f"{DIFY}/v1/datasets/{kb_id}/documents")
    dify.answer("GET", f"/v1/datasets/{kb_id}/documents", {**page, "total": len(page["data"])})
    assert [row["name"] for row in rows_of(client, kb_id, keywords="0%_N")] == ["100%_new.txt"]


def test_a_document_on_its_way_is_running(client: FlaskClient, dify: FakeDify) -> None:
    (kb_id,) = dify.play("documents/list-while-indexing")
    running = [row for row in rows_of(client, kb_id) if row["run"] == "1"]
    assert running and all(row["progress"] == 0 for row in running)


def test_a_waiting_document_has_not_started(client: FlaskClient, dify: FakeDify) -> None:
    (kb_id,) = dify.play("documents/list-waiting")
    assert {(row["run"], row["progress"], row["token_num"]) for row in rows_of(client, kb_id)} == {("0", 0, 0)}


def test_with_a_console_a_row_has_its_chunks_and_times(console_client: FlaskClient, dify: FakeDify) -> None:
    (kb_id,) = dify.play("documents/list-default")
    dify.play("auth/login")
    (status,) = dify.body("documents/indexing-status-large-completed")["data"]
    documents = dify.body("documents/list-default")["data"]
    counted = [{**status, "id": document["id"], "total_segments": n} for n, document in enumerate(documents)]
    dify.answer("GET", f"/console/api/datasets/{kb_id}/indexing-status", {"data": counted})
    rows = rows_of(console_client, kb_id)
    assert [row["chunk_num"] for row in rows] == [count["total_segments"] for count in counted]
    began, ended = status["processing_started_at"], status["completed_at"]
    assert {(row["process_begin_at"], row["process_duation"]) for row in rows} == {(http_date(began), ended - began)}


@pytest.mark.parametrize("query", [{}, {"keywords": "txt"}], ids=["all", "keywords"])
def test_the_chunks_of_a_large_kb_are_asked_for_page_by_page(
    console_client: FlaskClient, dify: FakeDify, query: dict[str, str]
) -> None:
    kb_id = dify.ids("documents/list-default")[0]
    documents = dify.body("documents/list-default")["data"]
    counted = [{"id": d["id"], "completed_segments": n, "total_segments": n + 1} for n, d in enumerate(documents)]
    for _ in range(2):  # The first time the gateway does not know yet how large the kb is.
        dify.answer("GET", f"/v1/datasets/{kb_id}/documents", {"data": documents, "total": SMALL_KB + 1})
        dify.answer("GET", f"/console/api/datasets/{kb_id}/documents", {"data": counted, "total": SMALL_KB + 1})
    play_login(dify)
    # Otherwise it depends on the order of the two threads whether the login has to ask for Dify's version.
    console_client.application.extensions["route_api"].dify.transport.server_version()
    for _ in range(2):
        rows = console_client.get("/document/list", query_string={"kb_id": kb_id, **query}).json["data"]["docs"]
        assert [row["chunk_num"] for row in rows] == [count["total_segments"] for count in counted]
        assert {row["process_begin_at"] for row in rows} == {None}
    path = f"/console/api/datasets/{kb_id}/documents?page=1&limit=20{'&keyword=txt' if query else ''}&fetch=true"
    assert dify.calls.count(f"GET {path}") == 2


def test_the_documents_and_their_chunks_are_asked_for_at_the_same_time(
    console_client: FlaskClient, any_dify: FakeDify
) -> None:
    """Each of the two answers comes only when Dify has got the other request too. In the first list, the second call
    depends on the answer to the first."""
    (kb_id,) = any_dify.play("documents/list-default")
    any_dify.play("auth/login")
    any_dify.answer("GET", f"/console/api/datasets/{kb_id}/indexing-status", {"data": []})
    assert len(rows_of(console_client, kb_id)) == len(any_dify.body("documents/list-default")["data"])
    both_asked = Barrier(2, timeout=PATIENCE_S)

    def give(case: str) -> Callable[[PreparedRequest], Answer]:
        def answer(_: PreparedRequest) -> Answer:
            both_asked.wait()
            return recorded(any_dify.version, case)

        return answer

    any_dify.call_back("GET", f"/v1/datasets/{kb_id}/documents", give("documents/list-default"))
    status = f"/console/api/datasets/{kb_id}/indexing-status"
    any_dify.call_back("GET", status, give("documents/console-dataset-indexing-status"))
    rows = rows_of(console_client, kb_id)
    assert len(rows) == len(any_dify.body("documents/list-default")["data"])


@pytest.mark.parametrize("failure", [401, 403, 500])
def test_a_console_that_fails_costs_the_counts_and_not_the_list(
    console_client: FlaskClient, any_dify: FakeDify, failure: int, log: pytest.LogCaptureFixture
) -> None:
    (kb_id,) = any_dify.play("documents/list-default")
    any_dify.answer("POST", "/console/api/login", {"code": "authentication_failed"}, failure)
    rows = rows_of(console_client, kb_id)
    assert rows and {row["chunk_num"] for row in rows} == {0}
    assert "without chunk counts" in log.text


# ------------------------------------------------------------------ remove and switch


def test_a_document_is_deleted(client: FlaskClient, dify: FakeDify) -> None:
    kb_id, document_id = dify.play("documents/delete")
    answer = client.post("/v1/document/rm", json={"kb_id": kb_id, "doc_id": [document_id]})
    assert (answer.status_code, answer.json["data"]) == (200, "")


def test_a_deletion_that_fails_half_way_says_what_was_deleted(client: FlaskClient, dify: FakeDify) -> None:
    kb_id, document_id = dify.play("documents/delete")
    dify.play("documents/delete-again", f"/v1/datasets/{kb_id}/documents/{UNKNOWN}")
    answer = client.delete("/document/rm", json={"kb_id": kb_id, "doc_id": [document_id, UNKNOWN]})
    assert (answer.status_code, answer.json["error"]) == (404, "document_not_found")
    assert answer.json["data"] == [document_id] and UNKNOWN in answer.json["message"]


def test_deleting_in_an_unknown_kb_is_told_so_by_both_versions(client: FlaskClient, dify: FakeDify) -> None:
    """1.8.1 calls it a 400, 1.12.1 a 404 (tests/contract/DIFFERENCES.md, 14)."""
    kb_id, document_id = dify.play("documents/delete-unknown-dataset")
    answer = client.delete("/document/rm", json={"kb_id": kb_id, "doc_id": document_id})
    assert (answer.status_code, answer.json["error"]) == (404, "kb_not_found")


@pytest.mark.parametrize("spelling", [{"action": "disable"}, {"status": 0}, {"status": "0"}])
def test_a_document_is_switched_off(client: FlaskClient, dify: FakeDify, spelling: dict[str, Any]) -> None:
    kb_id, document_id = dify.play("documents/get-one")
    dify.play("documents/status-disable")
    answer = client.post("/document/change_status", json={"kb_id": kb_id, "doc_id": document_id, **spelling})
    assert (answer.status_code, answer.json["message"]) == (200, "Document disable successful!")
    assert dify.sent() == {"document_ids": [document_id]}


def test_switching_an_unknown_document_is_told(client: FlaskClient, dify: FakeDify) -> None:
    """Dify itself answers with success (recording documents/status-unknown-document)."""
    kb_id, _ = dify.play("documents/get-one-unknown")
    body = {"kb_id": kb_id, "doc_id": UNKNOWN, "action": "enable"}
    answer = client.post("/document/change_status", json=body)
    assert (answer.status_code, answer.json["error"]) == (404, "document_not_found")
    assert len(dify.calls) == 1


@pytest.mark.parametrize("action", ["enable", "disable"])
def test_an_archived_document_is_not_switched_and_the_answer_says_so(
    client: FlaskClient, dify: FakeDify, action: str
) -> None:
    """Dify would answer with success, and no search would find the document all the same."""
    kb_id, document_id = dify.play("documents/get-one-archived")
    body = {"kb_id": kb_id, "doc_id": document_id, "action": action}
    answer = client.post("/document/change_status", json=body)
    assert (answer.status_code, answer.json["error"]) == (409, "document_archived")
    assert dify.body("documents/get-one-archived")["name"] in answer.json["message"]
    assert len(dify.calls) == 1


def test_a_switch_that_comes_too_soon_is_tried_again(client: FlaskClient, dify: FakeDify, pauses: list[float]) -> None:
    kb_id, document_id = dify.play("documents/get-one")
    dify.play("documents/status-disable-right-after-enable")
    dify.play("documents/status-disable")
    body = {"kb_id": kb_id, "doc_id": document_id, "action": "disable"}
    assert client.post("/document/change_status", json=body).status_code == 200
    assert len(pauses) == 1


@pytest.mark.parametrize("case", ["documents/status-disable-right-after-enable", "documents/status-disable-waiting"])
def test_a_document_that_stays_busy_is_a_conflict(
    client: FlaskClient, dify: FakeDify, pauses: list[float], case: str
) -> None:
    kb_id, document_id = dify.play("documents/get-one")
    for _ in range(4 if "right-after" in case else 1):
        dify.play(case, f"/v1/datasets/{kb_id}/documents/status/disable")
    body = {"kb_id": kb_id, "doc_id": document_id, "action": "disable"}
    answer = client.post("/document/change_status", json=body)
    assert (answer.status_code, answer.json["error"]) == (409, "document_busy")
    assert sum(pauses) < 5


def play_locked(dify: FakeDify, updated_at: float) -> tuple[str, str]:
    """A document that Dify refuses to switch, although it is completed."""
    kb_id, document_id = dify.ids("documents/get-one")
    document = {**dify.body("documents/get-one"), "updated_at": updated_at}
    dify.answer("GET", f"/v1/datasets/{kb_id}/documents/{document_id}", document)
    for _ in range(4):
        dify.play("documents/status-disable-right-after-enable")
    return kb_id, document_id


def test_a_locked_document_says_when_the_lock_ends_and_the_list_shows_it(
    client: FlaskClient, dify: FakeDify, pauses: list[float]
) -> None:
    """Dify's mark of a switch lives for ten minutes (tests/contract/DIFFERENCES-1.16.md, C)."""
    switched_at = int(time.time()) - 100
    kb_id, document_id = play_locked(dify, switched_at)
    body = {"kb_id": kb_id, "doc_id": document_id, "action": "disable"}
    answer = client.post("/document/change_status", json=body)
    assert (answer.status_code, answer.json["error"]) == (409, "document_busy")
    end = datetime.fromtimestamp(switched_at + LOCK_S, UTC)
    assert f"{end:%Y-%m-%dT%H:%M:%SZ}" in answer.json["message"] and answer.headers["Retry-After"] == "30"

    page = dify.body("documents/list-default")
    page["data"][1]["id"] = document_id
    dify.answer("GET", f"/v1/datasets/{kb_id}/documents", page)
    locked = {row["id"]: row["locked_until"] for row in rows_of(client, kb_id)}
    assert locked.pop(document_id) == switched_at + LOCK_S and set(locked.values()) == {None}

    dify.mock.remove("PATCH", f"{DIFY}/v1/datasets/{kb_id}/documents/status/disable")
    dify.play("documents/status-disable", f"/v1/datasets/{kb_id}/documents/status/disable")
    assert client.post("/document/change_status", json=body).status_code == 200
    assert {row["locked_until"] for row in rows_of(client, kb_id)} == {None}


def test_a_refusal_long_after_the_last_change_is_no_lock(
    client: FlaskClient, any_dify: FakeDify, pauses: list[float]
) -> None:
    kb_id, document_id = play_locked(any_dify, time.time() - LOCK_S - 60)
    body = {"kb_id": kb_id, "doc_id": document_id, "action": "disable"}
    answer = client.post("/document/change_status", json=body)
    assert answer.json["error"] == "document_busy" and "at the latest" not in answer.json["message"]


def test_a_database_that_is_away_costs_the_locks_and_not_the_list(
    client: FlaskClient, any_dify: FakeDify, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise OperationalError("SELECT", {}, Exception("away"))

    monkeypatch.setattr(documents, "locks_of", fail)
    (kb_id,) = any_dify.play("documents/list-default")
    assert {row["locked_until"] for row in rows_of(client, kb_id)} == {None}
    assert "without the locks" in log.text


@pytest.fixture
def pauses(app: Flask) -> list[float]:
    """The seconds that the gateway would have waited for Dify's indexing worker. Nothing really waits."""
    waited: list[float] = []
    app.extensions["route_api"].dify.knowledge._sleep = waited.append
    return waited


# ------------------------------------------------------------------ status


def test_progress_is_what_is_done_of_the_whole(client: FlaskClient, dify: FakeDify) -> None:
    (kb_id,) = dify.play("documents/indexing-status-indexing-progress")
    batch = load(dify.version, "documents/indexing-status-indexing-progress")["request"]["path"].split("/")[-2]
    answer = client.get("/document/status", query_string={"kb_id": kb_id, "batch": batch}).json
    (document,) = answer["data"]["data"]
    (theirs,) = dify.body("documents/indexing-status-indexing-progress")["data"]
    assert document["progress"] == round(theirs["completed_segments"] / theirs["total_segments"], 4)
    assert 0 < document["progress"] < 1
    assert (answer["code"], answer["status_code"], answer["info"]) == (0, 0, "request document status successful!")


@pytest.mark.parametrize(
    ("case", "progress"),
    [
        ("documents/indexing-status-completed", 1),
        ("documents/indexing-status-error", -1),
        ("documents/indexing-status-parsing", 0),
        ("documents/indexing-status-waiting", 0),
    ],
)
def test_progress_is_told_in_every_state(client: FlaskClient, dify: FakeDify, case: str, progress: float) -> None:
    (kb_id,) = dify.play(case)
    batch = load(dify.version, case)["request"]["path"].split("/")[-2]
    answer = client.post("/document/status", json={"kb_id": kb_id, "batch": batch}).json
    assert {document["progress"] for document in answer["data"]["data"]} == {progress}


def test_an_unknown_batch_is_told_apart_from_an_unknown_kb(client: FlaskClient, dify: FakeDify) -> None:
    for case, error in (
        ("documents/indexing-status-unknown-batch", "batch_not_found"),
        ("documents/indexing-status-unknown-dataset", "kb_not_found"),
    ):
        (kb_id,) = dify.play(case)
        batch = load(dify.version, case)["request"]["path"].split("/")[-2]
        answer = client.post("/document/status", json={"kb_id": kb_id, "batch": batch})
        assert (answer.status_code, answer.json["error"]) == (404, error)


# ------------------------------------------------------------------ files


def test_a_file_is_saved_below_the_root_alone(console_client: FlaskClient, dify: FakeDify, tmp_path: Path) -> None:
    kb_id, document_id = play_file(dify, with_details=True)
    query = {"kb_id": kb_id, "document_id": document_id, "download_dir": "reports/2026"}
    data = console_client.get("/document/get", query_string=query).json["data"]
    saved = tmp_path / "downloads" / "reports" / "2026" / kb_id / document_id / FILE_NAME
    assert saved.read_bytes() == FILE_CONTENT
    assert [path for path in (tmp_path / "downloads").rglob("*") if path.is_file()] == [saved]
    assert data["file_path"] == str(saved)
    assert data["file_info"]["name"] == FILE_NAME and data["file_info"]["url"].startswith("/files/")


def test_a_file_is_saved_apart_from_another_documents_file_of_the_same_name(
    client: FlaskClient, any_dify: FakeDify, tmp_path: Path
) -> None:
    saved = {}
    for number in (1, 2):
        kb_id = document_id = f"00000000-0000-4000-8000-00000000000{number}"
        link = f"/files/{number}"
        found = {"name": FILE_NAME, "size": 1, "url": link, "download_url": link}
        any_dify.answer("GET", f"/v1/datasets/{kb_id}/documents/{document_id}/download", found)
        any_dify.mock.get(DIFY + link, body=str(number).encode())
        answer = client.get("/document/get", query_string={"kb_id": kb_id, "document_id": document_id})
        saved[answer.json["data"]["file_path"]] = str(number)
    assert {path: Path(path).read_text() for path in saved} == saved and len(saved) == 2


def test_a_file_with_more_bytes_than_dify_says_is_not_saved(
    client: FlaskClient, any_dify: FakeDify, tmp_path: Path
) -> None:
    """A file without an end would fill the disk."""
    kb_id = document_id = UNKNOWN
    found = {"name": FILE_NAME, "size": 8, "url": "/files/f", "download_url": "/files/f"}
    any_dify.answer("GET", f"/v1/datasets/{kb_id}/documents/{document_id}/download", found)
    any_dify.mock.get(DIFY + "/files/f", body=b"123456789")
    answer = client.get("/document/get", query_string={"kb_id": kb_id, "document_id": document_id})
    assert (answer.status_code, answer.json["error"]) == (502, "dify_failed")
    assert not [path for path in (tmp_path / "downloads").rglob("*") if path.is_file()]


def test_the_address_of_a_saved_file_is_ours_and_leads_to_it(console_client: FlaskClient, dify: FakeDify) -> None:
    kb_id, document_id = play_file(dify, with_details=True)
    query = {"kb_id": kb_id, "document_id": document_id}
    url = console_client.get("/document/get", query_string=query).json["data"]["download_url"]
    if dify.version != "1.8.1":
        play_file_address(dify)
    answer = console_client.get(url)
    assert (answer.status_code, answer.data) == (200, FILE_CONTENT)


def test_a_file_is_streamed_to_the_caller_under_its_name(console_client: FlaskClient, dify: FakeDify) -> None:
    kb_id, document_id = play_file(dify, with_details=False)
    answer = console_client.post("/document/download", json={"kb_id": kb_id, "doc_id": document_id})
    assert (answer.status_code, answer.data) == (200, FILE_CONTENT)
    assert (answer.mimetype, answer.content_length) == ("text/plain", len(FILE_CONTENT))
    disposition = answer.headers["Content-Disposition"]
    assert re.fullmatch(r"attachment; filename=\"___ ___.txt\"; filename\*=UTF-8''%E7[%0-9A-F]+\.txt", disposition)
    assert "dify" not in str(answer.headers)


BINARY = bytes(range(256)) * 1024
"""Larger than the pieces in which a file is read from Dify."""

Play = Callable[..., dict[str, str]]


@pytest.fixture
def play_binary(any_dify: FakeDify) -> Play:
    """A function that prepares a download and returns the parameters of the request."""

    def play(name: str = "a.bin", content: bytes = BINARY, **headers: str) -> dict[str, str]:
        found = {"name": name, "size": len(content), "url": "/files/f", "download_url": "/files/f?sign=1"}
        any_dify.answer("GET", f"/v1/datasets/{UNKNOWN}/documents/{UNKNOWN}/download", found)
        disposition = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
        length = {"Content-Length": str(len(content))}
        any_dify.mock.get(f"{DIFY}/files/f", body=content, headers={**disposition, **length, **headers})
        return {"kb_id": UNKNOWN, "document_id": UNKNOWN}

    return play


@pytest.mark.parametrize(
    ("name", "in_ascii"),
    [
        ("a.txt", "a.txt"),
        ("水厂 巡检.txt", "__ __.txt"),
        ('say "hi".txt', 'say "hi".txt'),
        ("back\\slash.txt", "back\\slash.txt"),
        ("a;b=c,d.txt", "a;b=c,d.txt"),
        ("two\r\nX-Evil: lines.txt", "two__X-Evil: lines.txt"),
        ("😀.txt", "_.txt"),
    ],
)
def test_a_files_name_is_there_in_ascii_too(client: FlaskClient, play_binary: Play, name: str, in_ascii: str) -> None:
    headers = client.get("/document/download", query_string=play_binary(name)).headers
    kind, parts = parse_options_header(headers["Content-Disposition"].partition("; filename*=")[0])
    assert (kind, parts) == ("attachment", {"filename": in_ascii})
    assert unquote(headers["Content-Disposition"].partition("filename*=UTF-8''")[2]) == name
    assert headers["Content-Disposition"].isascii() and "X-Evil" not in headers


END = len(BINARY)


@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, END),
        ("bytes=100000-100099", 100000, 100100),
        ("bytes=65535-65536", 65535, 65537),
        (f"bytes={END - 1}-", END - 1, END),
        (f"bytes=5-{END * 2}", 5, END),
        ("bytes=-10", END - 10, END),
        (f"bytes=-{END * 2}", 0, END),
        ("Bytes = 3-4", 3, 5),
    ],
)
def test_a_part_of_a_file_can_be_had(client: FlaskClient, play_binary: Play, asked: str, begin: int, end: int) -> None:
    answer = client.get("/document/download", query_string=play_binary(), headers={"Range": asked})
    assert (answer.status_code, answer.headers["Content-Range"]) == (206, f"bytes {begin}-{end - 1}/{END}")
    assert answer.content_length == end - begin and answer.headers["Accept-Ranges"] == "bytes"
    assert answer.data == BINARY[begin:end]


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=1-2", "bytes=x", "bytes=5-1", "bytes=-0", "nonsense"])
def test_a_range_that_cannot_be_read_gets_the_whole_file(client: FlaskClient, play_binary: Play, asked: str) -> None:
    answer = client.get("/document/download", query_string=play_binary(), headers={"Range": asked})
    assert (answer.status_code, answer.content_length, answer.data) == (200, END, BINARY)
    assert "Content-Range" not in answer.headers and answer.headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize(("content", "asked"), [(BINARY, f"bytes={END}-"), (b"", "bytes=0-"), (b"", "bytes=-5")])
def test_a_part_after_the_end_of_the_file_is_refused(
    client: FlaskClient, play_binary: Play, content: bytes, asked: str
) -> None:
    answer = client.get("/document/download", query_string=play_binary(content=content), headers={"Range": asked})
    assert (answer.status_code, answer.json["error"]) == (416, "range_not_satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{len(content)}" and asked in answer.json["message"]


def test_a_download_that_broke_off_can_be_continued_only_with_the_same_file(
    client: FlaskClient, play_binary: Play
) -> None:
    etag = client.get("/document/download", query_string=play_binary()).headers["ETag"]
    assert re.fullmatch('"[0-9a-f]{32}"', etag)
    for if_range, status in ((etag, 206), ('"other"', 200), (f"W/{etag}", 200), ("Sun, 29 Nov 2026 00:00:00 GMT", 200)):
        headers = {"Range": "bytes=100-", "If-Range": if_range}
        answer = client.get("/document/download", query_string=play_binary(), headers=headers)
        assert (answer.status_code, answer.data) == (status, BINARY[100:] if status == 206 else BINARY)


def test_a_file_of_unknown_size_has_no_parts(client: FlaskClient, any_dify: FakeDify) -> None:
    found = {"name": "a", "size": 3, "url": "/files/f", "download_url": "/files/f"}
    any_dify.answer("GET", f"/v1/datasets/{UNKNOWN}/documents/{UNKNOWN}/download", found)
    any_dify.mock.get(f"{DIFY}/files/f", body=gzip.compress(b"abc"), headers={"Content-Encoding": "gzip"})
    query = {"kb_id": UNKNOWN, "document_id": UNKNOWN}
    answer = client.get("/document/download", query_string=query, headers={"Range": "bytes=1-1"})
    assert (answer.status_code, answer.data) == (200, b"abc")
    assert not {"Accept-Ranges", "Content-Range", "ETag"} & set(answer.headers.keys())


def test_head_has_the_headers_of_get_and_no_body(client: FlaskClient, play_binary: Play) -> None:
    got = client.get("/document/download", query_string=play_binary())
    asked = client.head("/document/download", query_string=play_binary(), headers={"Range": "bytes=1-2"})
    assert (asked.status_code, asked.data) == (200, b"")
    for name in ("Content-Length", "Content-Type", "Content-Disposition", "Accept-Ranges", "ETag"):
        assert asked.headers[name] == got.headers[name]


def test_head_saves_no_file(client: FlaskClient, any_dify: FakeDify, tmp_path: Path) -> None:
    asked = client.head("/document/get", query_string={"kb_id": UNKNOWN, "document_id": UNKNOWN})
    assert (asked.status_code, asked.headers["Allow"]) == (405, "GET, POST")
    assert any_dify.calls == [] and not (tmp_path / "downloads").exists()


def test_a_newer_dify_without_a_console_says_what_the_operator_can_do(client: FlaskClient, any_dify: FakeDify) -> None:
    kb_id, document_id = any_dify.ids("documents/get-one")
    document = f"{DIFY}/v1/datasets/{kb_id}/documents/{document_id}"
    for way in ("download", "upload-file"):
        any_dify.mock.get(f"{document}/{way}", body="<!doctype html>", status=404)
    answer = client.get("/document/get", query_string={"kb_id": kb_id, "document_id": document_id})
    assert (answer.status_code, answer.json["error"]) == (503, "console_not_configured")
    assert "DIFY_CONSOLE_EMAIL" in answer.json["message"]


@pytest.mark.parametrize("path", ["/document/get", "/document/download"])
def test_the_file_of_an_unknown_document_is_a_404(client: FlaskClient, any_dify: FakeDify, path: str) -> None:
    any_dify.version = "1.8.1"
    kb_id, _ = any_dify.play("documents/upload-file-unknown-document")
    any_dify.mock.get(f"{DIFY}/v1/datasets/{kb_id}/documents/{UNKNOWN}/download", body="<!doctype html>", status=404)
    answer = client.get(path, query_string={"kb_id": kb_id, "document_id": UNKNOWN})
    assert (answer.status_code, answer.json["error"]) == (404, "document_not_found")
