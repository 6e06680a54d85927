"""Claims on names, as uploads of one process and of others take them."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import BytesIO
from typing import Any

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient
from requests import PreparedRequest
from sqlalchemy import Engine, event, select, text, update

from route_api.extensions import db
from route_api.knowledge import name_claims as module
from route_api.knowledge.name_claims import NameClaims
from route_api.storage.models import NameClaim, utc_now
from route_api.storage.name_claims import Claim, TakenBy, claim_name, release_claim

from ..support.fake_dify import Answer, FakeDify
from ..support.recordings import DIFY
from ..support.stored import count_rows

KB_ID = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"
DOCUMENTS = f"/v1/datasets/{KB_ID}/documents"
CREATE = f"/v1/datasets/{KB_ID}/document/create-by-file"


@pytest.fixture
def engine(app: Flask) -> Engine:
    with app.app_context():
        return db.engine


@pytest.fixture
def statements(engine: Engine) -> Iterator[list[str]]:
    """The statements that the database gets."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(" ".join(statement.split()[:3]))

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


class Kb:
    """A kb of a Dify that takes every file, and lists it after it has answered.

    :ivar names: of its documents
    """

    def __init__(self, dify: FakeDify, names: list[str]) -> None:
        self.dify = dify
        self.names = names
        dify.mock.assert_all_requests_are_fired = False
        dify.mock.get(f"{DIFY}/v1/", json={}, headers={"X-Version": dify.version})
        dify.call_back("GET", DOCUMENTS, self._list)
        dify.call_back("POST", CREATE, self._create)

    def _list(self, request: PreparedRequest) -> Answer:
        keyword = request.params.get("keyword") or ""  # type: ignore[attr-defined]
        found = [{"id": name, "name": name} for name in self.names if keyword in name]
        return 200, {"X-Version": self.dify.version}, orjson.dumps({"data": found, "total": len(found)})

    def _create(self, request: PreparedRequest) -> Answer:
        body = request.body if isinstance(request.body, bytes) else b"".join(request.body or ())  # type: ignore
        name = body.partition(b'filename="')[2].partition(b'"')[0].decode()
        created = self.dify.body("documents/create-by-file-txt-chinese-name")
        created["document"]["name"] = name
        self.names.append(name)
        return 200, {"X-Version": self.dify.version, "Content-Type": "application/json"}, orjson.dumps(created)


def upload(client: FlaskClient, *names: str, **form: Any) -> Any:
    files = [(BytesIO(b"x"), name) for name in names]
    return client.post("/document/upload", data={"kb_id": KB_ID, "file": files, **form})


def upload_raw(client: FlaskClient, name: str) -> Any:
    return client.post(f"/datasets/{KB_ID}/document/create_by_file", data={"file": (BytesIO(b"x"), name)})


def names_in(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["name"] for row in answer.json["data"]]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.2)


def test_an_upload_makes_two_queries_and_leaves_no_row(
    client: FlaskClient, any_dify: FakeDify, engine: Engine, statements: list[str]
) -> None:
    Kb(any_dify, [])
    assert names_in(upload(client, "a.txt")) == ["a.txt"]
    assert statements == ["INSERT INTO name_claim", "DELETE FROM name_claim"]
    statements.clear()
    assert upload_raw(client, "a.txt").status_code == 200
    assert statements == ["INSERT INTO name_claim", "DELETE FROM name_claim"]
    statements.clear()
    assert names_in(upload(client, "a.txt")) == ["a(1).txt"]
    assert len(statements) == 5
    assert count_rows(engine, NameClaim) == (0,)


def test_while_another_upload_has_the_name_rename_takes_the_next_one_and_reject_refuses(
    client: FlaskClient, any_dify: FakeDify, engine: Engine
) -> None:
    kb = Kb(any_dify, ["a(1).txt"])
    assert isinstance(claim_name(engine, KB_ID, "a.txt"), Claim)
    assert isinstance(claim_name(engine, KB_ID, "a(2).txt"), Claim)
    assert names_in(upload(client, "a.txt")) == ["a(3).txt"]
    refused = upload(client, "a.txt", on_duplicate="reject")
    assert (refused.status_code, refused.json["error"]) == (409, "document_name_taken")
    assert "Another upload of a document named 'a.txt' is running" in refused.json["message"]
    assert kb.names == ["a(1).txt", "a(3).txt"]


def test_replace_and_raw_uploads_wait_for_the_upload_that_has_the_name(
    app: Flask, any_dify: FakeDify, engine: Engine
) -> None:
    kb = Kb(any_dify, [])
    other = claim_name(engine, KB_ID, "a.txt")
    assert isinstance(other, Claim)
    with ThreadPoolExecutor(2) as pool:
        replacing = pool.submit(upload, app.test_client(), "a.txt", on_duplicate="replace")
        raw = pool.submit(upload_raw, app.test_client(), "a.txt")
        time.sleep(0.3)
        assert kb.names == []
        release_claim(engine, other)
        assert (replacing.result().status_code, raw.result().status_code) == (200, 200)
    assert kb.names == ["a.txt", "a.txt"]


@pytest.mark.usefixtures("impatient")
def test_an_upload_that_does_not_end_is_not_waited_for_without_end(
    client: FlaskClient, any_dify: FakeDify, engine: Engine
) -> None:
    kb = Kb(any_dify, [])
    assert isinstance(claim_name(engine, KB_ID, "a.txt"), Claim)
    for answer in (upload(client, "a.txt", on_duplicate="replace"), upload_raw(client, "a.txt")):
        assert (answer.status_code, answer.json["error"]) == (409, "document_upload_running")
        assert "'a.txt' is still running" in answer.json["message"] and answer.headers["Retry-After"]
    assert kb.names == []


@pytest.mark.parametrize("mode", ["rename", "reject"])
def test_a_name_that_only_some_dify_takes_for_equal_is_waited_for_and_then_kept(
    app: Flask, any_dify: FakeDify, engine: Engine, mode: str
) -> None:
    Kb(any_dify, [])
    other = claim_name(engine, KB_ID, "README.md")
    assert isinstance(other, Claim)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(upload, app.test_client(), "readme.md", on_duplicate=mode)
        time.sleep(0.2)
        release_claim(engine, other)
        assert names_in(answer.result()) == ["readme.md"]


def test_the_name_of_a_killed_process_is_free_when_its_lease_has_ended(
    client: FlaskClient, any_dify: FakeDify, engine: Engine
) -> None:
    Kb(any_dify, [])
    claim_name(engine, KB_ID, "a.txt")
    with engine.connect() as connection:
        connection.execute(update(NameClaim).values(leased_until=utc_now() - timedelta(seconds=1)))
    assert names_in(upload(client, "a.txt")) == ["a.txt"]


@pytest.mark.parametrize("status", [400, 503])
def test_a_failed_upload_releases_its_name(
    client: FlaskClient, any_dify: FakeDify, engine: Engine, status: int
) -> None:
    any_dify.mock.assert_all_requests_are_fired = False
    any_dify.mock.get(f"{DIFY}/v1/", json={}, headers={"X-Version": any_dify.version})
    any_dify.answer("GET", DOCUMENTS, {"data": [], "total": 0})
    any_dify.answer("POST", CREATE, {"code": "x", "message": "no"}, status)
    assert upload(client, "a.txt").status_code >= 400
    assert upload_raw(client, "a.txt").status_code >= 400
    assert count_rows(engine, NameClaim) == (0,)


def test_a_long_upload_renews_its_lease(engine: Engine) -> None:
    claims = NameClaims(engine)
    claim = claims.take(KB_ID, "a.txt")
    assert isinstance(claim, Claim)
    with engine.connect() as connection:
        connection.execute(update(NameClaim).values(leased_until=utc_now() - timedelta(seconds=1)))
    claims.keep()
    assert claim_name(engine, KB_ID, "a.txt") is TakenBy.SAME_NAME
    claims.release(claim)
    claims.keep()
    with engine.connect() as connection:
        assert connection.execute(select(NameClaim.id)).all() == []


def test_without_the_database_nothing_is_uploaded_because_workers_could_overwrite_each_other(
    client: FlaskClient, any_dify: FakeDify, engine: Engine
) -> None:
    kb = Kb(any_dify, [])
    with engine.connect() as connection:
        connection.execute(text("DROP TABLE name_claim"))
    for answer in (
        upload(client, "a.txt"),
        upload(client, "a.txt", on_duplicate="replace"),
        upload_raw(client, "a.txt"),
    ):
        assert (answer.status_code, answer.json["error"]) == (503, "database_unavailable")
    assert kb.names == []


def test_if_the_database_goes_away_between_two_files_the_answer_has_the_first(
    client: FlaskClient, any_dify: FakeDify, engine: Engine
) -> None:
    kb = Kb(any_dify, [])

    def drop_after_first(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO name_claim") and kb.names:
            raise_unavailable(engine)

    event.listen(engine, "before_cursor_execute", drop_after_first)
    answer = upload(client, "a.txt", "b.txt", "c.txt")
    event.remove(engine, "before_cursor_execute", drop_after_first)
    assert (answer.status_code, answer.json["error"]) == (400, "upload_failed")
    assert [row["name"] for row in answer.json["data"]] == ["a.txt"] == kb.names
    assert [line.split(": ")[0] for line in answer.json["message"].split("\n")] == ["b.txt", "c.txt"]


def raise_unavailable(engine: Engine) -> None:
    """Fail as the driver does if the server has gone."""
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT * FROM a_table_that_does_not_exist")
