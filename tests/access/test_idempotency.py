"""The header Idempotency-Key in one process: what is stored, what a repeat gets, what is compared, who shares a key."""

import re
import time
from datetime import timedelta
from io import BytesIO
from typing import Any
from uuid import uuid4

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient
from requests import PreparedRequest
from requests import exceptions as network
from sqlalchemy import event, select, update
from sqlalchemy.exc import OperationalError
from werkzeug.test import TestResponse

from route_api.access.idempotency import KeyLeases
from route_api.chat import storing
from route_api.extensions import db
from route_api.storage import idempotency
from route_api.storage.idempotency import KeyLease, StoredAnswer
from route_api.storage.models import IdempotentRequest, utc_now
from route_api.storage.stop_requests import request_stop

from ..support.callers import bearer, registered
from ..support.fake_dify import Answer, FakeDify, recorded
from ..support.gateway_client import MakeApp
from ..support.recordings import DIFY
from ..support.routes import assert_failure
from ..support.scenes import FILE_CONTENT, FILE_NAME, play_free_names
from ..support.settings import KEY, LOCKED, OLD_KEY
from ..support.talk import CHAT, asks_for_the_mode, counts, decoded, messages, without_variables

ID = "8e03978e-40d5-43dd-bc93-6894a57f9324"
BODY = {"user_id": "alice", "message": "葫芦庙在哪里？"}
KB_ID = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"
DOCUMENTS = f"/v1/datasets/{KB_ID}/documents"
CREATE = f"/v1/datasets/{KB_ID}/document/create-by-file"


def ask(client: FlaskClient, key: str = ID, path: str = "completion", *, headers: Any = (), **more: Any) -> Any:
    return client.post(
        f"/v1/conversation/{path}", json={**BODY, **more}, headers={"Idempotency-Key": key, **dict(headers)}
    )


def rows(app: Flask) -> list[Any]:
    with app.app_context(), db.engine.connect() as connection:
        return list(connection.execute(select(IdempotentRequest.__table__)))


def change(app: Flask, **columns: Any) -> None:
    with app.app_context(), db.engine.connect() as connection:
        connection.execute(update(IdempotentRequest).values(**columns))


def assert_replayed(repeat: TestResponse, first: TestResponse) -> None:
    assert repeat.headers["Idempotent-Replayed"] == "true" and "Idempotent-Replayed" not in first.headers
    assert (repeat.status_code, repeat.content_type) == (first.status_code, first.content_type)
    assert without_seconds(repeat.json) == without_seconds(first.json)


def without_seconds(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "elapsed_s"}


# ------------------------------------------------------------------ turns


@pytest.mark.parametrize("path", ["completion", "completion_db"])
def test_a_repeated_question_gets_the_same_answer_and_the_model_is_asked_once(
    app: Flask, client: FlaskClient, dify: FakeDify, path: str
) -> None:
    without_variables(dify)
    dify.play("chat/streaming-first-turn")
    first = ask(client, path=path)
    for _ in range(2):
        assert_replayed(ask(client, path=path), first)
    assert dify.calls == ["GET /v1/parameters", f"POST {CHAT}"]
    assert counts(app) == (1, 1, 1)


@pytest.mark.parametrize("options", [{}, {"think": "drop"}, {"think": "separate"}, {"stream_mode": "cumulative"}])
def test_a_repeated_stream_has_the_text_in_one_event_and_the_same_end(
    client: FlaskClient, any_dify: FakeDify, options: dict[str, str]
) -> None:
    without_variables(any_dify)
    any_dify.play("chat/streaming-second-turn")
    *deltas, last, end = decoded(ask(client, streaming=True, **options).data)
    repeat = ask(client, streaming=True, **options)
    assert (repeat.headers["Idempotent-Replayed"], repeat.mimetype) == ("true", "text/event-stream")
    delta, last_again, end_again = decoded(repeat.data)
    assert (without_seconds(last_again), end_again) == (without_seconds(last), end)
    assert delta.keys() == deltas[0].keys() and delta["data"].keys() == deltas[0]["data"].keys()
    for name in delta["data"].keys() - {"answer", "thinking"}:
        assert delta["data"][name] == deltas[0]["data"][name]
    assert delta["data"]["answer"] == last["data"]["answer"] != ""


def test_a_stream_whose_caller_left_after_the_last_token_is_not_generated_again(
    app: Flask, client: FlaskClient, any_dify: FakeDify
) -> None:
    without_variables(any_dify)
    any_dify.play("chat/streaming-second-turn")
    answer = ask(client, streaming=True)
    pieces = b""
    while b'"status":"done"' not in pieces:
        pieces = next(answer.response)
    answer.close()
    assert decoded(ask(client, streaming=True).data)[1]["data"]["status"] == "done"
    assert counts(app)[2] == 1


def test_a_repeat_after_the_caller_has_left_is_a_new_turn_of_the_same_conversation(
    app: Flask, client: FlaskClient, any_dify: FakeDify
) -> None:
    without_variables(any_dify)
    asks_for_the_mode(any_dify)
    any_dify.play("chat/stop")
    any_dify.play("chat/streaming-stopped")
    answer = ask(client, streaming=True)
    for _ in range(4):
        next(answer.response)
    answer.close()
    any_dify.play("chat/streaming-second-turn")
    repeat = ask(client, streaming=True)
    assert "Idempotent-Replayed" not in repeat.headers and decoded(repeat.data)[-1]["data"] is True
    assert [(row.position, row.meta_data["status"]) for row in messages(app)] == [(1, "stopped"), (2, "done")]
    assert counts(app) == (1, 1, 2)


def test_a_stopped_answer_is_the_answer(app: Flask, client: FlaskClient, any_dify: FakeDify) -> None:
    def stop(request: PreparedRequest) -> Answer:
        with app.app_context():
            request_stop(db.engine, messages(app)[0].id)
        return recorded(any_dify.version, "chat/streaming-stopped")

    without_variables(any_dify)
    any_dify.call_back("POST", CHAT, stop)
    first = decoded(ask(client, streaming=True).data)
    assert first[-2]["data"]["status"] == "stopped"
    assert without_seconds(decoded(ask(client, streaming=True).data)[1]) == without_seconds(first[-2])
    assert counts(app)[2] == 1


def test_an_answer_that_cannot_be_written_for_a_repeat_is_stored_with_its_turn(
    app: Flask, client: FlaskClient, any_dify: FakeDify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "answer_for_repeats", lambda *_: 1 / 0)
    without_variables(any_dify)
    any_dify.play("chat/streaming-first-turn")
    assert ask(client).status_code == 200
    assert [(row.meta_data["status"], row.claimed_until) for row in messages(app)] == [("done", None)]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_repeat_after_a_502_asks_again_in_the_conversation_that_the_first_began(
    app: Flask, client: FlaskClient, any_dify: FakeDify, streaming: bool
) -> None:
    without_variables(any_dify)
    any_dify.fail("POST", CHAT, network.ConnectionError())
    failed = ask(client, streaming=streaming)
    assert (failed.status_code, failed.json["error"]) == (502, "dify_unreachable")
    any_dify.play("chat/streaming-second-turn" if streaming else "chat/streaming-first-turn")
    answer = ask(client, streaming=streaming)
    assert answer.status_code == 200 and answer.data and "Idempotent-Replayed" not in answer.headers
    repeat = ask(client, streaming=streaming)
    assert repeat.headers["Idempotent-Replayed"] == "true"
    assert [(row.position, row.meta_data["status"]) for row in messages(app)] == [(1, "failed"), (2, "done")]
    assert counts(app) == (1, 1, 2)
    assert any_dify.calls.count(f"POST {CHAT}") == 2


def test_a_stream_that_failed_in_the_middle_is_tried_again(app: Flask, client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    asks_for_the_mode(any_dify)
    any_dify.play("chat/error-mid-stream")
    with ask(client, streaming=True) as failed:
        assert decoded(failed.data)[-1]["error"] == "model_failed"
    any_dify.play("chat/streaming-second-turn")
    assert decoded(ask(client, streaming=True).data)[-1]["data"] is True
    assert [row.meta_data["status"] for row in messages(app)] == ["failed", "done"]


def test_a_repeat_while_the_first_is_running_is_told_to_wait(client: FlaskClient, any_dify: FakeDify) -> None:
    repeats: list[Any] = []

    def ask_again(request: PreparedRequest) -> Answer:
        repeats.append(ask(client))
        return recorded(any_dify.version, "chat/streaming-first-turn")

    without_variables(any_dify)
    any_dify.call_back("POST", CHAT, ask_again)
    assert ask(client).status_code == 200
    assert_failure(repeats[0], 409, "request_in_progress")
    assert int(repeats[0].headers["Retry-After"]) > 0


def test_a_process_that_died_frees_the_key_when_its_lease_ends(
    app: Flask, client: FlaskClient, any_dify: FakeDify
) -> None:
    without_variables(any_dify)
    any_dify.fail("POST", CHAT, network.ConnectionError())
    ask(client)
    change(app, leased_until=utc_now() + timedelta(seconds=5))
    assert_failure(ask(client), 409, "request_in_progress")
    change(app, leased_until=utc_now() - timedelta(seconds=1))
    any_dify.play("chat/streaming-first-turn")
    assert ask(client).json["data"]["status"] == "done"


@pytest.mark.parametrize(
    "other",
    [{"message": "英莲呢？"}, {"streaming": True}, {"history": 0}, {"think": "drop"}],
    ids=lambda given: str(given),
)
def test_another_question_with_the_key_is_refused(
    client: FlaskClient, any_dify: FakeDify, other: dict[str, Any]
) -> None:
    without_variables(any_dify)
    any_dify.play("chat/streaming-first-turn")
    ask(client)
    assert_failure(ask(client, **other), 400, "idempotency_key_reused")


def test_the_form_and_the_order_of_the_parameters_do_not_matter(client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    any_dify.play("chat/streaming-first-turn")
    first = ask(client)
    headers = {"Idempotency-Key": f'"{ID}"'}
    as_form = client.post(
        "/conversation/completion", data={"query": BODY["message"], "user_id": " alice"}, headers=headers
    )
    assert_replayed(as_form, first)
    both = client.post(
        "/conversation/completion?user_id=alice", json={"stream": "0", "message": BODY["message"]}, headers=headers
    )
    assert_replayed(both, first)


def test_a_refusal_before_anything_was_done_frees_the_key(app: Flask, client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    unknown = ask(client, conversation_id=KB_ID)
    assert_failure(unknown, 404, "conversation_not_found")
    assert_failure(ask(client, history=-5), 400, "validation_failed")
    assert rows(app) == []
    any_dify.play("chat/streaming-first-turn")
    assert ask(client).status_code == 200


def test_a_deleted_conversation_leaves_no_stored_answer(app: Flask, client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    any_dify.play("chat/streaming-first-turn")
    conversation_id = ask(client).json["data"]["conversation_id"]
    any_dify.mock.delete(f"http://dify.test/v1/conversations/{messages(app)[0].meta_data['dify_conversation_id']}")
    client.post("/v1/conversation/rm", json={"user_id": "alice", "conversation_id": conversation_id})
    assert rows(app) == []
    any_dify.play("chat/streaming-first-turn")
    assert ask(client).json["data"]["conversation_id"] != conversation_id


def test_after_a_day_the_key_is_new(app: Flask, client: FlaskClient, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    any_dify.play("chat/streaming-first-turn")
    any_dify.play("chat/streaming-first-turn")
    ask(client)
    change(app, create_time=utc_now() - timedelta(hours=24, seconds=1))
    assert "Idempotent-Replayed" not in ask(client).headers
    assert counts(app)[2] == 2


# ------------------------------------------------------------------ uploads and knowledge bases


class Documents:
    """A kb on Dify. It can store a file and break the connection before it answers.

    :ivar stored: the documents, the newest last
    :ivar breaks: what the next uploads meet: "after" Dify has stored the file, "before" that, or None
    """

    def __init__(self, dify: FakeDify, *names: str) -> None:
        self.dify = dify
        self.stored: list[dict[str, Any]] = []
        self.contents: dict[str, bytes] = {}
        self.breaks: list[str | None] = []
        self.uploads = 0
        dify.mock.assert_all_requests_are_fired = False
        dify.mock.get(f"{DIFY}/v1/", json={}, headers={"X-Version": dify.version})
        dify.call_back("GET", DOCUMENTS, self._list)
        dify.call_back("POST", CREATE, self._create)
        dify.call_back("GET", re.compile(rf"{DOCUMENTS}/[^/]+/(download|upload-file)"), self._locate)
        dify.call_back("GET", re.compile("/files/.*"), self._open)
        for name in names:
            self.store(name, FILE_CONTENT, created_at=time.time() - 86400)

    @property
    def names(self) -> list[str]:
        return [document["name"] for document in self.stored]

    def store(self, name: str, content: bytes, created_at: float) -> dict[str, Any]:
        created = self.dify.body("documents/create-by-file-txt-chinese-name")["document"]
        document = {**created, "id": str(uuid4()), "name": name, "created_at": int(created_at)}
        document["data_source_detail_dict"]["upload_file"]["size"] = len(content)
        self.stored.append(document)
        self.contents[document["id"]] = content
        return document

    def _answer(self, body: Any) -> Answer:
        return 200, {"X-Version": self.dify.version}, orjson.dumps(body)

    def _list(self, request: PreparedRequest) -> Answer:
        keyword = str(request.params.get("keyword") or "")  # type: ignore[attr-defined]
        found = [document for document in reversed(self.stored) if keyword in document["name"]]
        return self._answer({"data": found, "total": len(found)})

    def _create(self, request: PreparedRequest) -> Answer:
        form = bytes(request.body.read() if hasattr(request.body, "read") else request.body or b"")  # type: ignore
        found = re.search(rb'filename="([^"]*)".*?\r\n\r\n(.*)\r\n--', form, re.S)
        assert found
        self.uploads += 1
        breaks = self.breaks.pop(0) if self.breaks else None
        if breaks == "before":
            raise network.ConnectionError()
        document = self.store(found[1].decode(), found[2], time.time())
        if breaks == "after":
            raise network.ConnectionError()
        return self._answer({"document": document, "batch": "20250811071149495508"})

    def _locate(self, request: PreparedRequest) -> Answer:
        document_id = str(request.url).split("/")[-2]
        return self._answer({"url": f"/files/{document_id}", "download_url": f"/files/{document_id}"})

    def _open(self, request: PreparedRequest) -> Answer:
        return 200, {}, self.contents[str(request.url).rsplit("/", 1)[1]]


def upload(client: FlaskClient, *files: tuple[str, bytes], key: str = ID, **form: str) -> TestResponse:
    parts = [(BytesIO(content), name) for name, content in files or [(FILE_NAME, FILE_CONTENT)]]
    data = {"kb_id": KB_ID, "file": parts, **form}
    return client.post("/v1/document/upload", data=data, headers={"Idempotency-Key": key})


def test_a_repeated_upload_gets_the_same_answer_and_is_sent_once(client: FlaskClient, any_dify: FakeDify) -> None:
    documents = Documents(any_dify)
    first = upload(client)
    assert_replayed(upload(client), first)
    assert (documents.uploads, documents.names) == (1, [FILE_NAME])


@pytest.mark.parametrize(
    "other", [[("b.txt", FILE_CONTENT)], [(FILE_NAME, FILE_CONTENT[:-1] + b"!")], [(FILE_NAME, FILE_CONTENT)] * 2]
)
def test_another_file_with_the_key_is_refused(
    client: FlaskClient, any_dify: FakeDify, other: list[tuple[str, bytes]]
) -> None:
    documents = Documents(any_dify)
    upload(client)
    assert_failure(upload(client, *other), 400, "idempotency_key_reused")
    assert_failure(upload(client, mode="automatic"), 400, "idempotency_key_reused")
    assert documents.uploads == 1


@pytest.mark.parametrize(
    ("old", "on_duplicate"), [([], "rename"), ([], "replace"), ([], "reject"), ([FILE_NAME], "rename")]
)
def test_a_file_that_dify_got_before_the_connection_broke_is_not_uploaded_again(
    client: FlaskClient, dify: FakeDify, old: list[str], on_duplicate: str
) -> None:
    documents = Documents(dify, *old)
    documents.breaks = ["after"]
    assert_failure(upload(client, on_duplicate=on_duplicate), 502, "dify_unreachable")
    answer = upload(client, on_duplicate=on_duplicate)
    assert answer.status_code == 200, answer.text
    (row,) = answer.json["data"]
    assert (row["id"], row["name"]) == (documents.stored[-1]["id"], documents.names[-1])
    assert (row["batch"], row["size"], documents.uploads) == ("", len(FILE_CONTENT), 1)
    assert documents.names == ([FILE_NAME, FILE_NAME.replace(".", "(1).")] if old else [FILE_NAME])
    assert_replayed(upload(client, on_duplicate=on_duplicate), answer)


def test_a_file_that_dify_did_not_get_is_uploaded_again(client: FlaskClient, any_dify: FakeDify) -> None:
    documents = Documents(any_dify, FILE_NAME)
    documents.breaks = ["before"]
    assert upload(client).status_code == 502
    assert upload(client).json["data"][0]["batch"] != ""
    assert documents.names == [FILE_NAME, FILE_NAME.replace(".", "(1).")]


def test_a_file_of_another_content_and_the_same_name_and_size_is_not_taken_for_it(
    client: FlaskClient, any_dify: FakeDify
) -> None:
    documents = Documents(any_dify)
    documents.breaks = ["before"]
    upload(client)
    documents.store(FILE_NAME, FILE_CONTENT[::-1], time.time())
    assert upload(client).json["data"][0]["name"] == FILE_NAME.replace(".", "(1).")


def test_a_repeat_uploads_the_files_that_are_missing_and_no_others(client: FlaskClient, any_dify: FakeDify) -> None:
    documents = Documents(any_dify)
    documents.breaks = [None, "after"]
    files = [("a.txt", b"a" * 9), ("a.txt", b"a" * 9), ("b.txt", b"b"), ("c.txt", b"c")]
    partly = upload(client, *files)
    assert (partly.json["error"], [row["name"] for row in partly.json["data"]]) == ("upload_failed", ["a.txt"])
    assert documents.names == ["a.txt", "a(1).txt"]
    complete = upload(client, *files)
    assert sorted(row["name"] for row in complete.json["data"]) == ["a(1).txt", "a.txt", "b.txt", "c.txt"]
    assert sorted(documents.names) == ["a(1).txt", "a.txt", "b.txt", "c.txt"]


def test_two_files_of_one_name_and_content_stay_two_documents(client: FlaskClient, any_dify: FakeDify) -> None:
    documents = Documents(any_dify)
    documents.breaks = ["before"]
    files = [("a.txt", b"a"), ("a.txt", b"a")]
    assert upload(client, *files).status_code == 502
    assert sorted(row["name"] for row in upload(client, *files).json["data"]) == ["a(1).txt", "a.txt"]
    assert documents.names == ["a.txt", "a(1).txt"]


def raw(client: FlaskClient, kb_id: str, content: bytes = FILE_CONTENT, boundary: str = "one") -> TestResponse:
    parts = ("\r\nContent-Disposition: form-data; name=", f'"file"; filename="{FILE_NAME}"\r\n\r\n')
    body = f"--{boundary}{''.join(parts)}".encode() + content + f"\r\n--{boundary}--\r\n".encode()
    kind = f"multipart/form-data; boundary={boundary}"
    path = f"/v1/datasets/{kb_id}/document/create_by_file"
    return client.post(path, data=body, content_type=kind, headers={"Idempotency-Key": ID})


def test_a_repeated_raw_upload_gets_difys_answer_again(client: FlaskClient, any_dify: FakeDify) -> None:
    kb_id = play_free_names(any_dify)
    any_dify.play("documents/create-by-file-txt-chinese-name")
    first = raw(client, kb_id)
    assert first.json == any_dify.body("documents/create-by-file-txt-chinese-name")
    assert_replayed(raw(client, kb_id, boundary="two"), first)
    assert_failure(raw(client, kb_id, FILE_CONTENT * 2), 400, "idempotency_key_reused")
    assert len([call for call in any_dify.calls if call.startswith("POST")]) == 1


def test_a_raw_upload_that_dify_refused_frees_the_key(app: Flask, client: FlaskClient, any_dify: FakeDify) -> None:
    kb_id = play_free_names(any_dify)
    any_dify.play("documents/create-by-file-missing-file", f"/v1/datasets/{kb_id}/document/create-by-file")
    assert raw(client, kb_id).status_code == 400
    assert rows(app) == []


def test_a_repeated_kb_is_created_once(client: FlaskClient, any_dify: FakeDify) -> None:
    def create() -> TestResponse:
        return client.post("/v1/kb/create", json={"name": "鲁迅杂文赏析"}, headers={"Idempotency-Key": ID})

    any_dify.play("datasets/create-all-fields")
    first = create()
    assert_replayed(create(), first)


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_kb_that_dify_created_before_the_connection_broke_is_the_answer(
    client: FlaskClient, dify: FakeDify, is_ours: bool
) -> None:
    name = "鲁迅杂文赏析"

    def create() -> TestResponse:
        return client.post("/v1/kb/create", json={"name": name}, headers={"Idempotency-Key": ID})

    dify.fail("POST", "/v1/datasets", network.ConnectionError())
    assert create().status_code == 502
    dify.play("datasets/create-duplicate-name")
    created_at = time.time() - (0 if is_ours else 86400)
    dataset = {**dify.body("datasets/list-default")["data"][0], "name": name, "created_at": int(created_at)}
    dify.answer("GET", "/v1/datasets", {"data": [dataset], "total": 1})
    answer = create()
    if is_ours:
        assert (answer.json["code"], answer.json["data"]["kb_id"]) == (0, dataset["id"])
        assert_replayed(create(), answer)
    else:
        assert_failure(answer, 409, "kb_name_taken")


# ------------------------------------------------------------------ leases and the database


def test_the_thread_renews_a_lease_and_stores_what_the_database_refused_before(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases: KeyLeases = app.extensions["route_api"].key_leases
    lease = leases.take("k", "h")
    assert isinstance(lease, KeyLease)
    change(app, leased_until=utc_now() - timedelta(seconds=1))
    leases.keep()
    assert rows(app)[0].leased_until > utc_now()
    store = idempotency.store_answer

    def fail(*_: Any) -> None:
        raise OperationalError("UPDATE", {}, Exception("the database is away"))

    monkeypatch.setattr(idempotency, "store_answer", fail)
    answer = StoredAnswer(200, "text/plain", "done")
    leases.store(lease, answer)
    leases.keep()
    assert rows(app)[0].status is None and rows(app)[0].leased_until > utc_now()
    monkeypatch.setattr(idempotency, "store_answer", store)
    leases.keep()
    assert leases.take("k", "h") == answer


def test_the_thread_deletes_keys_after_a_day(app: Flask) -> None:
    leases: KeyLeases = app.extensions["route_api"].key_leases
    leases.release(leases.take("k", "h"), is_certain=False)  # type: ignore[arg-type]
    change(app, create_time=utc_now() - timedelta(hours=24, seconds=1))
    leases.keep()
    assert rows(app) == []


# ------------------------------------------------------------------ keys and callers


@pytest.mark.parametrize("key", ["", '""', "two words", "k" * 256, "schlüssel", "钥匙", "\x7f", '"a b"'])
def test_what_is_no_key_is_refused(client: FlaskClient, key: str) -> None:
    answer = client.post(
        "/v1/conversation/completion",
        json=BODY,
        environ_overrides={"HTTP_IDEMPOTENCY_KEY": key.encode().decode("latin-1")},
    )
    assert_failure(answer, 400, "validation_failed")
    assert "Idempotency-Key" in answer.json["message"]


@pytest.mark.parametrize("key", ["k", "k" * 255, '"quoted"', "!#~{}"])
def test_what_is_a_key(client: FlaskClient, any_dify: FakeDify, key: str) -> None:
    without_variables(any_dify)
    any_dify.play("chat/streaming-first-turn")
    first = ask(client, key)
    assert_replayed(ask(client, key), first)


def test_other_users_other_callers_and_other_endpoints_have_keys_of_their_own(
    locked: Flask, any_dify: FakeDify
) -> None:
    client = locked.test_client()
    without_variables(any_dify)
    someone = registered(locked)
    callers: list[dict[str, Any]] = [
        {"headers": bearer(KEY)},
        {"headers": bearer(KEY), "user_id": "bob"},
        {"headers": bearer(KEY), "path": "completion_db"},
        {"headers": bearer(OLD_KEY)},
        {"headers": someone["headers"], "user_id": someone["user_id"]},
        {"headers": bearer(KEY), "user_id": someone["user_id"]},
    ]
    seen = set()
    for caller in callers:
        any_dify.play("chat/streaming-first-turn")
        answer = ask(client, **caller)
        assert answer.status_code == 200, answer.text
        seen.add(answer.json["data"]["message_id"])
    assert len(seen) == len(callers)


def test_the_header_on_any_other_endpoint_is_ignored(client: FlaskClient, any_dify: FakeDify, app: Flask) -> None:
    for _ in range(2):
        any_dify.play("datasets/list-default")
        answer = client.get("/v1/kb/list", headers={"Idempotency-Key": "no key at all"})
        assert answer.json["code"] == 0 and "Idempotent-Replayed" not in answer.headers
    assert rows(app) == []


def test_without_the_header_no_query_is_added(app: Flask, client: FlaskClient, any_dify: FakeDify) -> None:
    statements: list[str] = []
    with app.app_context():
        event.listen(db.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    without_variables(any_dify)
    any_dify.play("chat/streaming-first-turn")
    client.post("/v1/conversation/completion", json=BODY)
    assert statements and not [statement for statement in statements if "idempotent_request" in statement]
    assert not app.extensions["route_api"].key_leases._thread.has_started


def test_a_browser_may_read_that_an_answer_is_replayed(make_app: MakeApp, any_dify: FakeDify) -> None:
    client = make_app(**{**LOCKED, "CORS_ORIGINS": ["https://app.example.com"]}).test_client()
    headers = {**bearer(KEY), "Origin": "https://app.example.com"}
    any_dify.play("datasets/list-default")
    exposed = client.get("/v1/kb/list", headers=headers).headers["Access-Control-Expose-Headers"]
    assert "Idempotent-Replayed" in exposed
