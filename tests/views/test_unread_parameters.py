"""Parameters that nothing reads are named in `warnings`, or refused, as UNKNOWN_PARAMETERS says."""

import json
from io import BytesIO
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from config import Config, ConfigError
from route_api.app import create_app
from route_api.extensions import db
from route_api.storage.models import Message

from ..support.bad_values import describe
from ..support.fake_dify import FakeDify
from ..support.gateway_client import MakeApp
from ..support.routes import PAGES
from ..support.scenes import FILE_CONTENT, FILE_NAME
from ..support.settings import OPEN
from ..support.talk import asks_for_the_mode, counts, decoded, without_variables

KB_ID = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"
CREATE = f"/datasets/{KB_ID}/document/create-by-file"
UNUSED = "this endpoint has no such parameter, so it was not used"
TYPO = [f"keyword: {UNUSED}; did you mean keywords?"]
ASK = {"user_id": "alice", "message": "葫芦庙在哪里？"}
PARAMETERS = describe(create_app(Config.load(**OPEN, DATABASE_URL="sqlite://")))
ENDPOINTS = sorted({(parameter.path, parameter.method) for parameter in PARAMETERS})


@pytest.fixture
def listing(any_dify: FakeDify) -> FakeDify:
    any_dify.play("datasets/list-default")
    return any_dify


@pytest.mark.parametrize(
    "sent",
    [
        {"method": "GET", "query_string": {"keyword": "红"}},
        {"method": "POST", "query_string": {"keyword": "红"}},
        {"method": "POST", "json": {"keyword": "红"}},
        {"method": "POST", "data": {"keyword": "红"}},
        {"method": "POST", "data": {"keyword": (BytesIO(b"x"), "a.txt")}},
        {"method": "POST", "json": {"keyword": ""}},
        {"method": "POST", "json": {"keyword[]": ["红"]}},
        {"method": "GET", "query_string": {"keyword[a]": "红", "keyword[b]": "楼"}},
    ],
)
def test_an_unknown_parameter_is_named_with_the_nearest_one(
    client: FlaskClient, listing: FakeDify, sent: dict[str, Any]
) -> None:
    answer = client.open("/kb/list", **sent)
    assert (answer.status_code, answer.json["warnings"]) == (200, TYPO)


def test_without_unknown_parameters_there_are_no_warnings(client: FlaskClient, listing: FakeDify) -> None:
    answer = client.post("/kb/list?page=1&keywords=&_=1765400000000", json={"page_size": 5, "unknown": None})
    assert answer.status_code == 200 and "warnings" not in answer.json


@pytest.mark.parametrize(("path", "method"), ENDPOINTS)
def test_every_endpoint_names_them_also_in_a_failure_that_they_cause(
    client: FlaskClient, path: str, method: str
) -> None:
    if path.endswith("/upload"):
        answer = client.post(path, data={"zzz": "1", "file": (BytesIO(b"x"), "a.txt")})
    else:
        answer = client.open(path, method=method, json={"zzz": 1, "page": "x", "user_id": {}, "model_type": "x"})
    assert (answer.status_code, answer.json["code"]) == (400, -1), answer.text
    assert f"zzz: {UNUSED}." in answer.json["warnings"]


@pytest.mark.parametrize(
    ("sent", "hint"),
    [
        ("kb", "kb_id"),
        ("embd_id", None),
        ("kbId", "kb_id"),
        ("KB-ID", "kb_id"),
        ("kb_Id", "kb_id"),
        ("knowledge", None),
        ("kbid", "kb_id"),
        ("", None),
    ],
)
def test_a_required_parameter_with_a_wrong_name_is_both_missing_and_named(
    client: FlaskClient, sent: str, hint: str | None
) -> None:
    answer = client.get("/kb/detail", query_string={sent: KB_ID})
    assert (answer.status_code, answer.json["message"]) == (400, "kb_id is required.")
    assert answer.json["warnings"] == [f"{sent}: {UNUSED}; did you mean {hint}?" if hint else f"{sent}: {UNUSED}."]


def test_a_view_without_parameters_names_all(client: FlaskClient) -> None:
    for answer in (
        client.get("/prompt/list?name=x"),
        client.post("/prompt/list", json={"name": 1}),
        client.post("/v1/prompt/list", data={"name": "x"}),
        client.get("/healthz?name=x"),
    ):
        assert (answer.status_code, answer.json["warnings"]) == (200, [f"name: {UNUSED}."])


def test_every_view_in_the_envelope_looks_at_the_parameters_that_it_has_not(app: Flask) -> None:
    reading = {parameter.path for parameter in PARAMETERS}
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        declared = getattr(view, "_apidoc", {}).get("arguments", {}).get("parameters")
        if not rule.endpoint.startswith(PAGES) and rule.endpoint != "health.get_metrics":
            assert declared or getattr(view, "has_no_parameters", False), rule.endpoint
    assert len(reading) > 20


def test_names_are_bounded_in_number_and_in_length(client: FlaskClient, listing: FakeDify) -> None:
    warnings = client.post("/kb/list", json={**{f"z{n}": 1 for n in range(900)}, "y" * 100_000: 1}).json["warnings"]
    assert len(warnings) == 11 and warnings[-1] == "891 more parameters are unknown here."
    long = client.get("/kb/detail", query_string={"y" * 5000: 1}).json["warnings"]
    assert long == [f"{'y' * 50}…: {UNUSED}."]


def test_a_stream_has_them_in_its_complete_answer(client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    any_dify.play("chat/streaming-first-turn")
    answer = client.post("/conversation/completion", json={**ASK, "streaming": True, "kb_id": KB_ID})
    *pieces, last, end = decoded(answer.data)
    assert last["warnings"] == [f"kb_id: {UNUSED}."]
    assert end["data"] is True and not any("warnings" in event for event in (*pieces, end))


def test_a_stream_that_fails_has_them_in_its_failure(client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    any_dify.play("chat/error-mid-stream")
    answer = client.post("/conversation/completion", json={**ASK, "streaming": True, "tempreature": 1})
    events = decoded(answer.data)
    assert events[-1]["code"] == -1
    assert events[-1]["warnings"] == [f"tempreature: {UNUSED}; did you mean temperature?"]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_repeated_turn_has_its_own_warnings_too(client: FlaskClient, any_dify: FakeDify, streaming: bool) -> None:
    without_variables(any_dify)
    any_dify.play("chat/streaming-first-turn")

    def ask(**more: Any) -> TestResponse:
        headers = {"Idempotency-Key": "a-key"}
        return client.post("/conversation/completion", json={**ASK, "streaming": streaming, **more}, headers=headers)

    def warnings(answer: TestResponse) -> Any:
        return (decoded(answer.data)[-2] if streaming else answer.json).get("warnings")

    assert warnings(ask(one=1)) == [f"one: {UNUSED}."]
    repeat = ask(one=1)
    assert (repeat.headers["Idempotent-Replayed"], warnings(repeat)) == ("true", [f"one: {UNUSED}."])
    assert warnings(ask(two=2)) == [f"one: {UNUSED}.", f"two: {UNUSED}."]


def test_a_repeated_upload_has_its_own_warnings_too(client: FlaskClient, any_dify: FakeDify) -> None:
    any_dify.answer("GET", f"/v1/datasets/{KB_ID}/documents", {"data": [], "total": 0})
    any_dify.play("documents/create-by-file-txt-chinese-name", f"/v1/datasets/{KB_ID}/document/create-by-file")
    file = FileStorage(BytesIO(FILE_CONTENT), FILE_NAME)
    boundary, body = encode_multipart({"data": "{}", "file": file}, boundary="b")
    for name in ("kb", "kbs"):
        answer = client.post(
            f"{CREATE}?{name}=x",
            data=body,
            content_type=f"multipart/form-data; boundary={boundary}",
            headers={"Idempotency-Key": "a-key"},
        )
        assert answer.status_code == 200, answer.text
        assert ("Idempotent-Replayed" in answer.headers) == (name == "kbs")
        assert json.loads(answer.headers["X-Warnings"]) == [f"{name}: {UNUSED}."] and "warnings" not in answer.json


def test_the_header_has_a_bounded_length(client: FlaskClient, any_dify: FakeDify) -> None:
    any_dify.answer("GET", f"/v1/datasets/{KB_ID}/documents", {"data": [], "total": 0})
    any_dify.play("documents/create-by-file-txt-chinese-name", f"/v1/datasets/{KB_ID}/document/create-by-file")
    query = {f"{'参' * 60}{number}": "x" for number in range(9)}
    data = {"data": "{}", "file": (BytesIO(FILE_CONTENT), FILE_NAME)}
    header = client.post(CREATE, query_string=query, data=data).headers["X-Warnings"]
    assert header.isascii() and len(header) <= 2000 and json.loads(header)[0].startswith("参" * 50)


def test_refuse_changes_nothing(make_app: MakeApp, any_dify: FakeDify) -> None:
    app = make_app(UNKNOWN_PARAMETERS="refuse")
    client = app.test_client()
    form = {"kb_id": KB_ID, "seperator": "。", "file": (BytesIO(b"x"), "a.txt")}
    for answer, name in (
        (client.post("/conversation/completion", json={**ASK, "kb_id": KB_ID}), "kb_id"),
        (client.post("/conversation/completion", json={**ASK, "x": 1}, headers={"Idempotency-Key": "k"}), "x"),
        (client.post("/kb/create", json={"name": "a", "desc": "b"}), "desc"),
        (client.post("/document/upload", data=form), "seperator"),
        (client.post("/document/upload", data={"kb_id": KB_ID, "files": (BytesIO(b"x"), "a.txt")}), "files"),
        (client.post(f"{CREATE}?x=1", data={"data": "{}", "file": (BytesIO(b"x"), "a.txt")}), "x"),
        (client.get("/prompt/list?x=1"), "x"),
        (client.post("/chat/chat", json={**ASK, "history": [{"role": "user", "content": "a", "id": 1}]}), "history"),
        (client.post("/kb/list?page=1", json={"page": 2}), "page"),
        (client.post("/conversation/completion", json={**ASK, "query": "另一个"}), "query"),
    ):
        assert (answer.status_code, answer.json["error"], answer.json["data"]) == (400, "validation_failed", None)
        assert answer.json["message"].startswith(f"{name}: ") and "warnings" not in answer.json
    assert any_dify.calls == [] and counts(app) == (0, 0, 0)
    with app.app_context():
        assert db.session.query(Message).count() == 0


def test_ignore_says_nothing(make_app: MakeApp, listing: FakeDify) -> None:
    answer = make_app(UNKNOWN_PARAMETERS="ignore").test_client().post("/kb/list?keyword=x&page=1", json={"page": 2})
    assert answer.status_code == 200 and "warnings" not in answer.json


def test_a_wrong_setting_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNKNOWN_PARAMETERS", "strict")
    with pytest.raises(ConfigError, match="UNKNOWN_PARAMETERS is wrong: Must be one of: warn, refuse, ignore."):
        Config.load()


def test_a_second_value_of_a_parameter_is_told(client: FlaskClient, listing: FakeDify) -> None:
    answer = client.post("/kb/list?page=1&page_size=7", json={"page": 2, "page_size": "7"})
    told = ["page: it is in the query string and in the body; the value in the body was used."]
    assert answer.json["warnings"] == told


def test_two_names_of_a_parameter_with_two_values_are_told(client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    any_dify.play("chat/streaming-first-turn")
    answer = client.post(
        "/conversation/completion", json={**ASK, "query": "另一个", "stream": False, "streaming": False}
    )
    told = ["query: it is another name of message, which was given too, so its value was not used."]
    assert answer.json["warnings"] == told


def test_unused_parts_of_a_history_are_told(client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    asks_for_the_mode(any_dify)
    any_dify.play("chat/streaming-first-turn")
    entry = {"role": "user", "content": "甲", "id": "1", "doc_ids": [], "a\nb": 1}
    answer = client.post("/conversation/completion", json={**ASK, "history": [entry, entry]})
    told = ["history: the entries have more than role and content, which was not used: a\ufffdb, doc_ids, id."]
    assert answer.json["warnings"] == told


def test_what_ragflows_ui_sends_is_named_unless_the_table_says_that_it_has_no_effect(
    client: FlaskClient, any_dify: FakeDify
) -> None:
    (kb_id,) = any_dify.play("retrieve/semantic")
    sent = {"kb_id": [kb_id], "question": "?", "use_kg": False, "highlight": True, "doc_ids": [], "rerank_id": "x"}
    assert client.post("/chunk/retrieval_test", json=sent).json["warnings"] == [f"rerank_id: {UNUSED}."]


@pytest.mark.parametrize("name", ["file", "file[]", "file[0]"])
def test_files_may_have_a_name_with_brackets(client: FlaskClient, any_dify: FakeDify, name: str) -> None:
    any_dify.answer("GET", f"/v1/datasets/{KB_ID}/documents", {"message": "Dataset not found."}, 404)
    files = {"kb_id": KB_ID, name: [(BytesIO(b"x"), "a.txt")], "attachment": (BytesIO(b"y"), "b.txt")}
    answer = client.post("/document/upload", data=files)
    assert answer.json["error"] == "kb_not_found"
    assert answer.json["warnings"] == [f"attachment: {UNUSED}."]
