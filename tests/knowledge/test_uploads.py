"""Uploads: names that do not overwrite, failures that are named and do not undo the others, bytes that arrive."""

import re
import time
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient
from requests import PreparedRequest
from requests import exceptions as network
from werkzeug.datastructures import FileStorage

from route_api.knowledge import document_names
from route_api.knowledge.document_names import stored_name
from route_api.knowledge.uploads import upload_files
from route_api.monitoring import tracing

from ..support.fake_dify import Answer, FakeDify, recorded
from ..support.recordings import DIFY, load
from ..support.scenes import play_login

KB_ID = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"
DOCUMENTS = f"/v1/datasets/{KB_ID}/documents"
CREATE = f"/v1/datasets/{KB_ID}/document/create-by-file"
MB = 1024 * 1024


class Uploads:
    """A kb with documents of some names, which takes every file and remembers its form."""

    def __init__(self, dify: FakeDify, names: list[str]) -> None:
        self.dify = dify
        self.names = names
        self.forms: list[bytes] = []
        dify.mock.assert_all_requests_are_fired = False
        dify.mock.get(f"{DIFY}/v1/", json={}, headers={"X-Version": dify.version})
        dify.call_back("GET", DOCUMENTS, self._list)
        dify.call_back("POST", CREATE, self._create)

    def _list(self, request: PreparedRequest) -> Answer:
        keyword = str(request.params.get("keyword") or "")  # type: ignore[attr-defined]
        found = [{"id": name, "name": name} for name in self.names if keyword in name]
        page, limit = int(request.params["page"]), int(request.params["limit"])  # type: ignore[attr-defined]
        rows = found[(page - 1) * limit : page * limit]
        return 200, {"X-Version": self.dify.version}, orjson.dumps({"data": rows, "total": len(found)})

    def _create(self, request: PreparedRequest) -> Answer:
        form = sent_form(request)
        self.forms.append(form)
        created = self.dify.body("documents/create-by-file-txt-chinese-name")
        created["document"]["name"] = sent_name(form)
        return 200, {"X-Version": self.dify.version}, orjson.dumps(created)


def sent_form(request: PreparedRequest) -> bytes:
    body: Any = request.body
    return body if isinstance(body, bytes) else b"".join(body)


def sent_name(form: bytes) -> str:
    found = re.search(rb'filename="([^"]*)"', form)
    assert found
    return found[1].decode()


def upload(client: FlaskClient, *files: tuple[bytes, str], **form: Any) -> Any:
    return client.post(
        "/document/upload",
        data={"kb_id": KB_ID, "file": [(BytesIO(content), name) for content, name in files], **form},
    )


def names_in(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["name"] for row in answer.json["data"]]


# ------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("taken", "given", "stored"),
    [
        ([], "name.txt", "name.txt"),
        (["name.txt"], "name.txt", "name(1).txt"),
        (["name.txt", "name(1).txt"], "name.txt", "name(2).txt"),
        (["name.txt", "name(2).txt"], "name.txt", "name(1).txt"),
        (["other name.txt"], "name.txt", "name.txt"),
        (["红楼梦.txt"], "红楼梦.txt", "红楼梦(1).txt"),
        (["archive.tar.md"], "archive.tar.md", "archive.tar(1).md"),
        ([f"x{number}.txt" for number in range(150)] + ["x.txt"], "x.txt", "x(1).txt"),
        (["name.txt", *[f"name({number}).txt" for number in range(1, 120)]], "name.txt", "name(120).txt"),
    ],
)
def test_a_second_upload_of_a_name_is_renamed(
    client: FlaskClient, any_dify: FakeDify, taken: list[str], given: str, stored: str
) -> None:
    uploads = Uploads(any_dify, taken)
    assert names_in(upload(client, (b"x", given))) == [stored]
    assert sent_name(uploads.forms[0]) == stored


def test_a_long_name_is_cut_where_dify_cuts_it_so_that_it_is_compared_with_what_is_stored(
    client: FlaskClient, any_dify: FakeDify
) -> None:
    """Dify cuts at 200 characters by itself, and would overwrite (tests/contract/README.md, 13 and 16)."""
    Uploads(any_dify, ["长" * 200 + ".txt"])
    answer = upload(client, ("x".encode(), "长" * 300 + ".TXT"))
    (name,) = names_in(answer)
    assert name.endswith("(1).txt") and len(name) <= 200
    assert "has 304 characters" in answer.json["warnings"][0]


class OneDocument(Uploads):
    """A kb with one document of the name `name.txt`, which has one state after the other, and stays in the last."""

    ID = "5f7bd3a1-a0b0-47d2-a72b-3cbb97cfbe9f"

    def __init__(self, dify: FakeDify, *states: dict[str, Any]) -> None:
        super().__init__(dify, ["name.txt"])
        self.states = list(states)

    def _list(self, request: PreparedRequest) -> Answer:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        rows = [{"id": self.ID, "name": "name.txt", "archived": False, **state}]
        return 200, {"X-Version": self.dify.version}, orjson.dumps({"data": rows, "total": 1})

    def deletes(self) -> list[str]:
        return [call for call in self.dify.calls if call.startswith("DELETE")]


DONE = {"indexing_status": "completed", "enabled": True}
INDEXING = {"indexing_status": "indexing", "enabled": True}
WAITING = {"indexing_status": "waiting", "enabled": True}


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that uploads would have waited for Dify's indexing worker. The clock goes on by them."""
    waited: list[float] = []
    monkeypatch.setattr(document_names.time, "sleep", waited.append)
    monkeypatch.setattr(document_names, "monotonic", lambda: sum(waited))
    return waited


def raw_upload(client: FlaskClient, name: str) -> Any:
    data = {"data": "{}", "file": (BytesIO(b"x"), name)}
    return client.post(f"/datasets/{KB_ID}/document/create-by-file", data=data)


def replace(client: FlaskClient, way: str) -> Any:
    """Upload `name.txt` in one of the two forms that replace a document."""
    if way == "raw":
        return raw_upload(client, "name.txt")
    return upload(client, (b"x", "name.txt"), on_duplicate="replace")


WAYS = pytest.mark.parametrize("way", ["ours", "raw"])


@WAYS
@pytest.mark.parametrize("status", ["completed", "error"])
def test_replace_lets_dify_overwrite_an_enabled_document(
    client: FlaskClient, dify: FakeDify, way: str, status: str
) -> None:
    kb = OneDocument(dify, {"indexing_status": status, "enabled": True})
    assert replace(client, way).status_code == 200
    assert (len(kb.forms), sent_name(kb.forms[0]), kb.deletes()) == (1, "name.txt", [])


@WAYS
def test_replace_puts_the_file_in_the_place_of_a_disabled_document(
    client: FlaskClient, dify: FakeDify, way: str
) -> None:
    """Dify by itself adds a second document (tests/contract/README.md, 13)."""
    kb = OneDocument(dify, {"indexing_status": "completed", "enabled": False})
    dify.play("documents/delete", f"{DOCUMENTS}/{kb.ID}")
    answer = replace(client, way)
    assert answer.status_code == 200
    assert dify.calls[-1] == f"DELETE {DOCUMENTS}/{kb.ID}" and len(kb.forms) == 1


@WAYS
def test_a_disabled_document_stays_if_the_upload_fails(client: FlaskClient, dify: FakeDify, way: str) -> None:
    kb = OneDocument(dify, {"indexing_status": "completed", "enabled": False})
    dify.mock.remove("POST", DIFY + CREATE)
    dify.play("documents/create-by-file-bad-extension", CREATE)
    assert replace(client, way).status_code in (400, 415)
    assert kb.deletes() == []


def test_a_disabled_document_that_cannot_be_deleted_is_told(client: FlaskClient, any_dify: FakeDify) -> None:
    kb = OneDocument(any_dify, {"indexing_status": "completed", "enabled": False})
    any_dify.answer("DELETE", f"{DOCUMENTS}/{kb.ID}", {"code": "unknown", "message": "x"}, 500)
    answer = replace(client, "ours")
    assert answer.status_code == 200
    assert kb.ID in answer.json["warnings"][0] and "could not be deleted" in answer.json["warnings"][0]


class ArrivedBesideDisabled(OneDocument):
    """An earlier upload has stored the file in the place of a disabled document, and its answer was lost."""

    NEW_ID = "0b7f6a7e-96a7-4f6e-8a0f-3f3c2c8e4f11"

    def _list(self, request: PreparedRequest) -> Answer:
        stored = {"data_source_detail_dict": {"upload_file": {"size": 1}}, "created_at": int(time.time())}
        new = {"id": self.NEW_ID, "name": "name.txt", "archived": False, "enabled": True, **stored}
        old = {"id": self.ID, "name": "name.txt", "archived": False, "enabled": False, "created_at": 1}
        return 200, {"X-Version": self.dify.version}, orjson.dumps({"data": [new, old], "total": 2})


def test_a_repeated_upload_whose_file_arrived_deletes_the_disabled_document_that_it_replaces(
    app: Flask, any_dify: FakeDify
) -> None:
    kb = ArrivedBesideDisabled(any_dify)
    any_dify.play("documents/delete", f"{DOCUMENTS}/{kb.ID}")
    any_dify.mock.assert_all_requests_are_fired = False
    with app.test_request_context():
        file = FileStorage(BytesIO(b"x"), "name.txt")
        [row] = upload_files(KB_ID, [file], "replace", {}, datetime.now(UTC).replace(tzinfo=None))
    assert (row["id"], kb.forms, kb.deletes()) == (kb.NEW_ID, [], [f"DELETE {DOCUMENTS}/{kb.ID}"])


@WAYS
def test_replace_waits_until_dify_has_indexed_the_document(
    client: FlaskClient, dify: FakeDify, pauses: list[float], way: str
) -> None:
    """Replaced before that, it would have old and new chunks."""
    kb = OneDocument(dify, WAITING, INDEXING, INDEXING, DONE)
    assert replace(client, way).status_code == 200
    assert (len(kb.forms), len(pauses)) == (1, 3)


@WAYS
def test_a_document_that_dify_does_not_get_indexed_is_not_replaced(
    client: FlaskClient, dify: FakeDify, pauses: list[float], way: str
) -> None:
    kb = OneDocument(dify, WAITING)
    answer = replace(client, way)
    assert (answer.status_code, answer.json["error"], kb.forms) == (409, "document_busy", [])
    assert "nothing was uploaded" in answer.json["message"] and answer.headers["Retry-After"] == "10"
    assert 10 < sum(pauses) < 30


@WAYS
@pytest.mark.parametrize("enabled", [True, False])
def test_an_archived_document_is_not_replaced(client: FlaskClient, dify: FakeDify, way: str, enabled: bool) -> None:
    kb = OneDocument(dify, {"indexing_status": "completed", "enabled": enabled, "archived": True})
    answer = replace(client, way)
    assert (answer.status_code, answer.json["error"], kb.forms) == (409, "document_archived", [])


def test_replace_keeps_a_document_whose_name_may_be_another_one(client: FlaskClient, any_dify: FakeDify) -> None:
    """RestTemplate without a multipart charset sends 水厂.txt and 报告.txt both as ??.txt."""
    uploads = Uploads(any_dify, [])
    for name in ("??.txt", "??(1).txt"):
        answer = upload(client, (b"x", "??.txt"), on_duplicate="replace")
        assert names_in(answer) == [name] == [sent_name(uploads.forms[-1])]
        uploads.names.append(name)
    assert "is stored as '??(1).txt' and replaces no document" in answer.json["warnings"][1]


def test_reject_refuses_a_taken_name_before_the_upload(client: FlaskClient, any_dify: FakeDify) -> None:
    uploads = Uploads(any_dify, ["name.txt"])
    answer = upload(client, (b"x", "name.txt"), on_duplicate="reject")
    assert (answer.status_code, answer.json["error"], uploads.forms) == (409, "document_name_taken", [])


@pytest.mark.parametrize(
    "given", ["C:\\Users\\me\\a.txt", "folder/a.txt", "/etc/a.txt", "../a.txt", " a.txt ", "a.txt"]
)
def test_the_folders_of_a_browsers_path_are_cut_off(given: str) -> None:
    trace = tracing.begin("")
    assert stored_name(given, lambda: True) == "a.txt"
    assert trace.warnings == []
    tracing.end()


@pytest.mark.parametrize(
    ("given", "stored", "reason"),
    [
        ("a:b*c.txt", "a_b_c.txt", "characters that Dify does not store"),
        ('a"<|>.txt', "a____.txt", "characters that Dify does not store"),
        ("a\0b\x7f\x85\n.txt", "a_b___.txt", "characters that Dify does not store"),
        ("????????.txt", "________.txt", "setMultipartCharset(StandardCharsets.UTF_8)"),
    ],
)
def test_a_character_that_dify_refuses_becomes_an_underscore_and_the_caller_is_told(
    client: FlaskClient, dify: FakeDify, given: str, stored: str, reason: str
) -> None:
    """1.8.1 and 1.12.1 refuse `: * ? " < > |`, 1.16.1 takes them (recording documents/create-by-file-quote-in-name)."""
    is_kept = dify.version == "1.16.1" and "\0" not in given
    uploads = Uploads(dify, [])
    quoted = given.replace('"', "%22").replace("\n", "%0A")
    answer = upload(client, (b"x", quoted))
    expected = quoted if is_kept else stored
    assert (names_in(answer), sent_name(uploads.forms[0]), len(uploads.forms)) == ([expected], expected, 1)
    warnings = answer.json.get("warnings", [])
    if is_kept and "?" not in given:
        assert warnings == []
        return
    (warning,) = warnings
    assert reason in warning and warning.isprintable()
    assert is_kept or f"is stored as '{stored}'" in warning


SPECIAL_NAME = "a:b.txt"


class Refusing(Uploads):
    """A Dify of a version that was not recorded, which refuses such names as the recorded ones do."""

    def __init__(self, dify: FakeDify, names: list[str], version: str = "1.14.0") -> None:
        dify.version = version
        self.refused = 0
        super().__init__(dify, names)

    def _create(self, request: PreparedRequest) -> Answer:
        body = sent_form(request)
        if self._refuses(sent_name(body)):
            self.refused += 1
            status, headers, refusal = recorded("1.12.1", "documents/create-by-file-slash-in-name")
            return status, {**headers, "X-Version": self.dify.version}, refusal
        self.forms.append(body)
        created = load("1.12.1", TAKEN)["response"]["body"]
        created["document"]["name"] = sent_name(body)
        return 200, {"X-Version": self.dify.version}, orjson.dumps(created)

    def _refuses(self, name: str) -> bool:
        return ":" in name


class Taking(Refusing):
    """A Dify of a version that was not recorded, which takes such names."""

    def _refuses(self, name: str) -> bool:
        return False


@pytest.mark.parametrize("on_duplicate", ["rename", "reject", "replace"])
def test_a_server_whose_answer_is_not_known_decides_and_the_bytes_are_sent_again(
    client: FlaskClient, any_dify: FakeDify, on_duplicate: str
) -> None:
    uploads = Refusing(any_dify, [])
    content = bytes(range(256)) * 4000
    answer = upload(client, (content, SPECIAL_NAME), on_duplicate=on_duplicate)
    assert (names_in(answer), len(uploads.forms), uploads.refused) == (["a_b.txt"], 1, 1)
    assert content in uploads.forms[0]
    assert "'a:b.txt' is stored as 'a_b.txt'" in answer.json["warnings"][0]
    # From now on the server's answer is known.
    assert names_in(upload(client, (b"x", "c:d.txt"), on_duplicate=on_duplicate)) == ["c_d.txt"]
    assert uploads.refused == 1


def test_a_name_without_the_refused_characters_is_looked_up_too(client: FlaskClient, any_dify: FakeDify) -> None:
    uploads = Refusing(any_dify, ["a_b.txt"])
    assert names_in(upload(client, (b"x", SPECIAL_NAME))) == ["a_b(1).txt"]
    assert len(uploads.forms) == 1


def test_a_raw_upload_keeps_such_a_name_only_for_a_server_that_is_known_to_take_it(
    client: FlaskClient, any_dify: FakeDify
) -> None:
    """Its bytes pass through once, so they could not be sent again."""
    uploads = Taking(any_dify, [])
    uploads.dify.mock.assert_all_requests_are_fired = False
    assert raw_upload(client, SPECIAL_NAME).status_code == 200
    assert sent_name(uploads.forms[-1]) == "a_b.txt"
    assert names_in(upload(client, (b"x", SPECIAL_NAME))) == [SPECIAL_NAME]
    assert raw_upload(client, SPECIAL_NAME).status_code == 200
    assert sent_name(uploads.forms[-1]) == SPECIAL_NAME


def test_a_raw_upload_keeps_such_a_name_for_a_server_of_a_version_that_was_seen_to_take_it(
    client: FlaskClient, any_dify: FakeDify
) -> None:
    uploads = Taking(any_dify, [], "1.14.2")
    answer = raw_upload(client, SPECIAL_NAME)
    assert (answer.status_code, sent_name(uploads.forms[-1])) == (200, SPECIAL_NAME)
    assert "X-Warnings" not in answer.headers


def test_a_raw_upload_whose_name_is_refused_is_told_to_come_again(client: FlaskClient, any_dify: FakeDify) -> None:
    """A version after the recorded ones might refuse such names again."""
    uploads = Refusing(any_dify, [], "1.99.0")
    answer = raw_upload(client, SPECIAL_NAME)
    assert (answer.status_code, answer.json["error"], uploads.forms) == (400, "validation_failed", [])
    assert "again" in answer.json["message"]
    assert raw_upload(client, SPECIAL_NAME).status_code == 200
    assert sent_name(uploads.forms[-1]) == "a_b.txt"


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("a" * 196 + ".txt", "a" * 196 + ".txt"),
        ("1.2 " + "a" * 300 + ".docx", "1.2 " + "a" * 191 + ".docx"),
        ("a" * 300, "a" * 200),
        ("." + "a" * 300, "." + "a" * 199),
    ],
)
def test_a_long_name_keeps_its_beginning_and_its_extension(given: str, stored: str) -> None:
    assert stored_name(given, lambda: True) == stored


def test_a_name_in_nfd_is_stored_and_compared_in_nfc(client: FlaskClient, any_dify: FakeDify) -> None:
    Uploads(any_dify, ["\u00e9t\u00e9.txt"])
    assert names_in(upload(client, (b"x", "e\u0301te\u0301.txt"))) == ["\u00e9t\u00e9(1).txt"]


# ------------------------------------------------------------------ forms as clients send them


def send(client: FlaskClient, *files: bytes, end: bytes = b"--b--\r\n", content_type: str = "boundary=b") -> Any:
    field = f'--b\r\nContent-Disposition: form-data; name="kb_id"\r\n\r\n{KB_ID}\r\n'.encode()
    body = field + b"".join(b"--b\r\nContent-Disposition: form-data; " + file + b"\r\n" for file in files) + end
    return client.post("/document/upload", data=body, content_type=f"multipart/form-data; {content_type}")


@pytest.mark.parametrize(
    ("file", "stored", "content"),
    [
        (b'name="file"; filename="=?UTF-8?B?5rC0LnR4dA==?="\r\n\r\nx', "水.txt", b"x"),
        (b"name=file; filename*=UTF-8''%E6%B0%B4.txt\r\n\r\nx", "水.txt", b"x"),
        ('name="file"; filename="水厂.txt"\r\n\r\nx'.encode("gbk"), "水厂.txt", b"x"),
        (b'name="file"; filename="a.txt"\r\nContent-Transfer-Encoding: base64\r\n\r\nw7w=', "a.txt", "ü".encode()),
        (b'name="file"; filename="C:\\x\\a.txt"\r\n\r\nx\r\n', "a.txt", b"x\r\n"),
    ],
)
def test_a_file_is_stored_whatever_form_its_part_has(
    client: FlaskClient, any_dify: FakeDify, file: bytes, stored: str, content: bytes
) -> None:
    uploads = Uploads(any_dify, [])
    assert names_in(send(client, file)) == [stored]
    (form,) = uploads.forms
    assert sent_name(form) == stored and b"\r\n\r\n" + content + b"\r\n--" in form


WHOLE = b'name="file"; filename="a.txt"\r\n\r\nx'


@pytest.mark.parametrize(
    ("files", "options", "words"),
    [
        ([WHOLE], {"end": b""}, "ends without its last line, --b--"),
        ([WHOLE, b'name="file"; filename="b.txt"\r\n\r\nhalf'], {"end": b""}, "ends without its last line, --b--"),
        ([b'name="file"; filename="a.txt\r\n\r\nx'], {}, "a header Content-Disposition that cannot be read"),
        ([b'name="file"\r\n\r\nx'], {}, "file was sent as a text field"),
        ([b'name="file"\r\n\r\n '], {}, "file is required"),
        ([b'name="file"; filename=""\r\n\r\nx'], {}, "file must have a name"),
        ([b'name="file"; filename=""\r\n\r\n'], {}, "file is required"),
        ([b'filename="a.txt"\r\n\r\nx'], {}, "must name the field"),
        ([WHOLE + b"\r\n--b--", WHOLE], {}, "parts after its last line"),
        ([WHOLE], {"content_type": ""}, "without a boundary"),
        ([WHOLE], {"content_type": "boundary=c"}, "The body has no part: the line --c"),
    ],
)
def test_a_form_that_cannot_be_read_is_refused_for_what_it_is_and_nothing_is_uploaded(
    client: FlaskClient, any_dify: FakeDify, files: list[bytes], options: dict[str, Any], words: str
) -> None:
    uploads = Uploads(any_dify, [])
    answer = send(client, *files, **options)
    assert (answer.status_code, answer.json["error"], uploads.forms) == (400, "validation_failed", [])
    assert words in answer.json["message"] and not answer.json["message"].startswith(":")


def test_a_large_file_that_is_sent_as_a_text_field_is_told_as_such(client: FlaskClient) -> None:
    answer = send(client, b'name="file"\r\n\r\n' + b"x" * 600_000)
    assert (answer.status_code, answer.json["error"]) == (413, "request_too_large")
    assert "The field file has more than 500,000 bytes" in answer.json["message"]


# ------------------------------------------------------------------ what is sent


def test_the_bytes_arrive_as_they_were_with_the_settings(client: FlaskClient, dify: FakeDify) -> None:
    uploads = Uploads(dify, [])
    content = bytes(range(256)) * 4000  # over half a megabyte: werkzeug keeps it on disk
    upload(client, (content, "数据.txt"), separator="=", max_tokens=300, chunk_overlap=0, doc_form="qa_model")
    (form,) = uploads.forms
    assert content in form and sent_name(form) == "数据.txt"
    data = orjson.loads(form.split(b"\r\n\r\n", 1)[1].split(b"\r\n--", 1)[0])
    assert (data["doc_form"], data["doc_language"], data["indexing_technique"]) == (
        "qa_model",
        "Chinese",
        "high_quality",
    )
    segmentation = data["process_rule"]["rules"]["segmentation"]
    assert segmentation == {"separator": "=", "max_tokens": 300, "chunk_overlap": 0}


def test_automatic_splitting_sends_no_rules(client: FlaskClient, any_dify: FakeDify) -> None:
    uploads = Uploads(any_dify, [])
    upload(client, (b"x", "a.txt"), mode="automatic")
    assert b'"process_rule":{"mode":"automatic"}' in uploads.forms[0]


def test_a_chinese_separator_is_written_as_each_version_reads_it(client: FlaskClient, dify: FakeDify) -> None:
    """1.12.1 finds it only if it is escaped (tests/contract/DIFFERENCES.md, 39)."""
    uploads = Uploads(dify, [])
    upload(client, (b"x", "a.txt"), separator="。")
    expected = "。".encode() if dify.version == "1.8.1" else b"\\\\u3002"
    assert b'"separator":"' + expected + b'"' in uploads.forms[0]


# ------------------------------------------------------------------ failures


def refuse(dify: FakeDify, *cases: str) -> None:
    """A kb without documents whose Dify refuses the files one after the other, or takes them."""
    dify.mock.assert_all_requests_are_fired = False
    dify.answer("GET", DOCUMENTS, {"data": [], "total": 0})
    for case in cases:
        dify.play(case, CREATE)


TAKEN = "documents/create-by-file-txt-chinese-name"


def test_a_failed_file_does_not_undo_the_others_and_is_named(client: FlaskClient, dify: FakeDify) -> None:
    refuse(dify, TAKEN, "documents/create-by-file-bad-extension", TAKEN)
    answer = upload(client, (b"1", "a.txt"), (b"2", "b.exe"), (b"3", "c.txt"))
    assert (answer.status_code, answer.json["code"], answer.json["error"]) == (400, -1, "upload_failed")
    assert [row["kb_id"] for row in answer.json["data"]] == [KB_ID, KB_ID]
    assert answer.json["message"] == "b.exe: Dify does not take files of the type 'exe'."


def test_each_failed_file_has_a_line(client: FlaskClient, any_dify: FakeDify) -> None:
    refuse(any_dify, "documents/create-by-file-bad-extension", "documents/create-by-file-bad-doc-form")
    answer = upload(client, (b"1", "b.exe"), (b"2", "c.txt"))
    assert [line.split(": ")[0] for line in answer.json["message"].split("\n")] == ["b.exe", "c.txt"]
    assert (answer.status_code, answer.json["error"], answer.json["data"]) == (400, "upload_failed", None)


@pytest.mark.parametrize("case", ["documents/create-by-file-bad-extension", "documents/create-by-file-no-extension"])
def test_an_empty_refusal_of_a_small_file_is_about_its_type(client: FlaskClient, dify: FakeDify, case: str) -> None:
    refuse(dify, case)
    answer = upload(client, (b"MZ", "setup.exe"))
    assert (answer.status_code, answer.json["error"]) == (415, "file_type_not_supported")
    assert "exe" in answer.json["message"]


def test_an_empty_refusal_of_a_big_file_is_about_its_size(client: FlaskClient, dify: FakeDify) -> None:
    refuse(dify, "documents/create-by-file-too-large")
    answer = upload(client, (b"x" * (15 * MB + 1), "big.txt"))
    assert (answer.status_code, answer.json["error"]) == (413, "file_too_large")
    assert "has 15,728,641 bytes; Dify takes 15 MB, which is 15,728,640 bytes" in answer.json["message"]


def test_a_small_file_that_is_too_large_for_a_proxy_is_not_compared_with_difys_limit(
    client: FlaskClient, any_dify: FakeDify
) -> None:
    refuse(any_dify)
    any_dify.answer("POST", CREATE, {}, 413)
    answer = upload(client, (b"x" * 1234, "a.txt"))
    assert (answer.status_code, answer.json["error"]) == (413, "file_too_large")
    assert "1,234 bytes" in answer.json["message"] and "15" not in answer.json["message"]


@pytest.mark.parametrize("own", [{"file_size_limit": 2}, {"file_size_limit": 1, "knowledge_file_size_limit": 2}])
def test_with_a_console_the_number_is_the_servers_own(
    console_client: FlaskClient, dify: FakeDify, own: dict[str, int]
) -> None:
    """Dify 1.17 and later have a limit for knowledge bases. This was read in Dify's code, not recorded."""
    refuse(dify, "documents/create-by-file-too-large")
    play_login(dify)
    limits = {**dify.body("documents/console-upload-limits"), **own}
    dify.answer("GET", "/console/api/files/upload", limits)
    answer = upload(console_client, (b"x" * (2 * MB + 1), "big.txt"))
    assert (answer.status_code, answer.json["error"]) == (413, "file_too_large")
    assert "takes 2 MB" in answer.json["message"]


def test_an_unknown_kb_is_told_by_both_versions(client: FlaskClient, dify: FakeDify) -> None:
    (unknown,) = dify.play("documents/list-unknown-dataset")
    answer = upload(client, (b"x", "a.txt"), kb_id=unknown)
    assert (answer.status_code, answer.json["error"]) == (404, "kb_not_found")


def test_an_unknown_kb_is_told_by_both_versions_at_the_upload_itself(client: FlaskClient, dify: FakeDify) -> None:
    """Dify 1.8.1 answers 400 (tests/contract/DIFFERENCES.md, 14)."""
    (unknown,) = dify.play("documents/create-by-file-unknown-dataset")
    dify.answer("GET", f"/v1/datasets/{unknown}/documents", {"data": [], "total": 0})
    answer = upload(client, (b"x", "a.txt"), kb_id=unknown, on_duplicate="replace")
    assert (answer.status_code, answer.json["error"]) == (404, "kb_not_found")


def test_after_a_dead_connection_the_other_files_are_not_tried(client: FlaskClient, any_dify: FakeDify) -> None:
    any_dify.fail("GET", DOCUMENTS, network.ConnectionError())
    answer = upload(client, (b"1", "a.txt"), (b"2", "b.txt"), (b"3", "c.txt"))
    assert (answer.status_code, answer.json["error"]) == (502, "dify_unreachable")
    assert [line.split(": ")[0] for line in answer.json["message"].split("\n")] == ["a.txt", "b.txt", "c.txt"]
    assert len(any_dify.calls) == 1


@pytest.mark.parametrize(
    ("dataset", "status", "error"),
    [
        ((404, {"code": "not_found", "message": "Dataset not found.", "status": 404}), 404, "kb_not_found"),
        ((200, {"id": KB_ID, "name": "红楼梦"}), 502, "dify_failed"),
        ((500, {"code": "unknown", "message": "x"}), 502, "dify_failed"),
    ],
)
def test_a_kb_that_is_deleted_during_an_upload_is_told_as_missing(
    client: FlaskClient, any_dify: FakeDify, dataset: tuple[int, Any], status: int, error: str
) -> None:
    """A live 1.14.2 answered the upload with a mere 500."""
    any_dify.answer("GET", f"/v1/datasets/{KB_ID}/documents", {"data": [], "total": 0})
    any_dify.answer("POST", CREATE, {"message": "Internal Server Error", "code": "unknown"}, 500)
    any_dify.answer("GET", f"/v1/datasets/{KB_ID}", dataset[1], dataset[0])
    answer = upload(client, (b"x", "name.txt"))
    assert (answer.status_code, answer.json["error"]) == (status, error)
    assert answer.json["message"].startswith("name.txt: ")
