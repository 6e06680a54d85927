"""Uploads: names that do not overwrite, failures that are named and do not undo the others, bytes that arrive."""

import re
from io import BytesIO
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient
from requests import PreparedRequest
from requests import exceptions as network

from route_api.knowledge.document_names import stored_name
from route_api.monitoring import tracing

from ..support.fake_dify import Answer, FakeDify
from ..support.recordings import DIFY
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
        form = bytes(request.body or b"")  # type: ignore[arg-type]
        self.forms.append(form)
        created = self.dify.body("documents/create-by-file-txt-chinese-name")
        created["document"]["name"] = sent_name(form)
        return 200, {"X-Version": self.dify.version}, orjson.dumps(created)


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


def test_replace_does_not_look_and_lets_dify_overwrite(client: FlaskClient, dify: FakeDify) -> None:
    uploads = Uploads(dify, ["name.txt"])
    assert names_in(upload(client, (b"x", "name.txt"), on_duplicate="replace")) == ["name.txt"]
    assert len(uploads.forms) == 1
    assert [call for call in dify.calls if "/documents" in call] == []


def test_reject_refuses_a_taken_name_before_the_upload(client: FlaskClient, any_dify: FakeDify) -> None:
    uploads = Uploads(any_dify, ["name.txt"])
    answer = upload(client, (b"x", "name.txt"), on_duplicate="reject")
    assert (answer.status_code, answer.json["error"], uploads.forms) == (409, "document_name_taken", [])


@pytest.mark.parametrize(
    "given", ["C:\\Users\\me\\a.txt", "folder/a.txt", "/etc/a.txt", "../a.txt", " a.txt ", "a.txt"]
)
def test_the_folders_of_a_browsers_path_are_cut_off(given: str) -> None:
    trace = tracing.begin("")
    assert stored_name(given) == "a.txt"
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
    uploads = Uploads(dify, [])
    quoted = given.replace('"', "%22").replace("\n", "%0A")
    answer = upload(client, (b"x", quoted))
    assert (names_in(answer), sent_name(uploads.forms[0])) == ([stored], stored)
    (warning,) = answer.json["warnings"]
    assert f"is stored as '{stored}'" in warning and reason in warning and warning.isprintable()


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
    assert stored_name(given) == stored


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
    assert words in answer.json["message"]


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


def test_with_a_console_the_number_is_the_servers_own(console_client: FlaskClient, dify: FakeDify) -> None:
    refuse(dify, "documents/create-by-file-too-large")
    play_login(dify)
    limits = {**dify.body("documents/console-upload-limits"), "file_size_limit": 2}
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
    dify.mock.get(f"{DIFY}/v1/", json={}, headers={"X-Version": dify.version})
    (unknown,) = dify.play("documents/create-by-file-unknown-dataset")
    answer = upload(client, (b"x", "a.txt"), kb_id=unknown, on_duplicate="replace")
    assert (answer.status_code, answer.json["error"]) == (404, "kb_not_found")


def test_after_a_dead_connection_the_other_files_are_not_tried(client: FlaskClient, any_dify: FakeDify) -> None:
    any_dify.fail("GET", DOCUMENTS, network.ConnectionError())
    answer = upload(client, (b"1", "a.txt"), (b"2", "b.txt"), (b"3", "c.txt"))
    assert (answer.status_code, answer.json["error"]) == (502, "dify_unreachable")
    assert [line.split(": ")[0] for line in answer.json["message"].split("\n")] == ["a.txt", "b.txt", "c.txt"]
    assert len(any_dify.calls) == 1
