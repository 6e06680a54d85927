"""`/readyz`: the database, Dify, and a gateway that is being stopped."""

import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import flask_migrate
import pytest
from alembic.script import ScriptDirectory
from flask import Flask
from flask.testing import FlaskClient
from requests import exceptions as network
from sqlalchemy import create_engine

from route_api import health
from route_api.dify.breaker import FAILURES
from route_api.extensions import db
from route_api.storage import database

from ..support.fake_dify import FakeDify
from ..support.patience import PATIENCE_S
from ..support.recordings import DIFY

INDEX = "/v1/"


@pytest.fixture
def ready(app: Flask) -> FlaskClient:
    """A gateway whose tables are those of this version."""
    with app.app_context():
        flask_migrate.stamp()
    return app.test_client()


def not_ready(answer: Any, **data: str) -> str:
    assert (answer.status_code, answer.json["code"], answer.json["error"]) == (503, -1, "not_ready"), answer.text
    assert answer.json["data"] == (data or None)
    return str(answer.json["message"])


@pytest.mark.parametrize("path", ["/readyz", "/v1/readyz"])
def test_with_a_database_and_a_dify_the_gateway_is_ready(ready: FlaskClient, dify: FakeDify, path: str) -> None:
    dify.play("general/service-index")
    answer = ready.get(path)
    assert (answer.status_code, answer.json["data"]) == (200, {"database": "ok", "dify": "ok"})
    assert "Authorization" not in dify.mock.calls[0].request.headers


def test_the_result_of_a_check_is_returned_again_for_a_second(
    ready: FlaskClient, any_dify: FakeDify, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_dify.play("general/service-index")
    assert [ready.get("/readyz").status_code for _ in range(5)] == [200] * 5
    assert any_dify.calls == ["GET /v1/"]
    later = monotonic() + health.CACHE_S
    monkeypatch.setattr(health, "monotonic", lambda: later)
    any_dify.fail("GET", INDEX, network.ConnectionError())
    assert [ready.get("/readyz").status_code for _ in range(5)] == [503] * 5


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (network.ConnectionError(), "Dify cannot be reached, or broke the connection."),
        (network.ReadTimeout(), "Dify did not answer in time."),
    ],
)
def test_a_dify_that_is_away_is_named(ready: FlaskClient, any_dify: FakeDify, failure: Exception, words: str) -> None:
    any_dify.fail("GET", INDEX, failure)
    assert not_ready(ready.get("/readyz"), database="ok", dify="failed") == words


@pytest.mark.parametrize("status", [502, 500, 301])
def test_a_proxy_without_its_dify_is_named(ready: FlaskClient, any_dify: FakeDify, status: int) -> None:
    any_dify.answer("GET", INDEX, {}, status)
    assert not_ready(ready.get("/readyz"), database="ok", dify="failed") == "Dify answers with an error."


def test_another_server_is_not_taken_for_dify(ready: FlaskClient, any_dify: FakeDify) -> None:
    any_dify.mock.get(DIFY + INDEX, body="<html>404 Not Found</html>", status=404)
    message = not_ready(ready.get("/readyz"), database="ok", dify="failed")
    assert message == "What answers is not Dify. The operator should check that DIFY_BASE_URL is Dify's API."


def fail_in_a_row(app: Flask, kind: str) -> None:
    for _ in range(FAILURES):
        call = app.extensions["route_api"].dify.transport.breaker.begin(kind)
        call.failed()
        call.end()


def test_if_dify_answers_but_one_kind_of_calls_fails_the_gateway_stays_ready_and_says_so(
    ready: FlaskClient, any_dify: FakeDify
) -> None:
    """Otherwise a search that fails in Dify would take all gateways out of service."""
    any_dify.play("general/service-index")
    ready.application.extensions[
        "route_api"
    ].dify.transport.breaker.close()  # Its thread would ping the mocked Dify too.
    fail_in_a_row(ready.application, "retrieval")
    answer = ready.get("/readyz")
    assert (answer.status_code, answer.json["data"]) == (200, {"database": "ok", "dify": "ok"})
    assert answer.json["message"] == "Calls to Dify of these kinds fail at once until Dify answers them: retrieval."


def test_if_dify_is_away_the_reason_names_the_calls_that_fail_at_once(ready: FlaskClient, any_dify: FakeDify) -> None:
    any_dify.fail("GET", INDEX, network.ReadTimeout())
    ready.application.extensions["route_api"].dify.transport.breaker.close()
    fail_in_a_row(ready.application, "read")
    message = not_ready(ready.get("/readyz"), database="ok", dify="failed")
    assert message.startswith("Dify did not answer in time. Calls to Dify") and "read" in message


def test_a_database_without_tables_is_named(client: FlaskClient, any_dify: FakeDify) -> None:
    any_dify.play("general/service-index")
    assert "`flask db upgrade`" in not_ready(client.get("/readyz"), database="failed", dify="ok")


def test_a_database_of_an_older_version_is_named(ready: FlaskClient, any_dify: FakeDify, tmp_path: Path) -> None:
    any_dify.play("general/service-index")
    app = ready.application
    ours = app.extensions["migrate"].directory
    of_tomorrow = tmp_path / "migrations"
    shutil.copytree(ours, of_tomorrow)
    (head,) = ScriptDirectory(ours).get_heads()
    (of_tomorrow / "versions" / "9999_next.py").write_text(f'revision = "9999"\ndown_revision = "{head}"\n')
    with app.app_context():
        app.extensions["migrate"].directory = str(of_tomorrow)
        app.extensions["route_api"].health_check = health.health_check_of(
            app, db.engine, app.config["DIFY_BASE_URL"], app.extensions["route_api"].dify.transport.breaker
        )
    assert "`flask db upgrade`" in not_ready(ready.get("/readyz"), database="failed", dify="ok")


def test_a_database_of_a_newer_version_still_serves(app: Flask, any_dify: FakeDify) -> None:
    """While a newer version is being deployed, all processes of the older one must stay in service."""
    any_dify.play("general/service-index")
    with app.app_context():
        flask_migrate.stamp()
        with db.engine.connect() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'of-tomorrow'")
    assert app.test_client().get("/readyz").status_code == 200


def test_what_is_wrong_with_both_is_said_without_addresses_and_sql(
    app: Flask, any_dify: FakeDify, log: pytest.LogCaptureFixture
) -> None:
    any_dify.fail("GET", INDEX, network.ConnectionError("Failed to connect to dify.test:80"))
    with app.app_context():
        db.engine.dispose()
        database = Path(str(db.engine.url.database))
    database.unlink()
    database.mkdir()
    message = not_ready(app.test_client().get("/readyz"), database="failed", dify="failed")
    assert message == "The database does not answer. Dify cannot be reached, or broke the connection."
    assert "unable to open database file" in log.text


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that accepts connections and never answers, like a database that is paused."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "mysql+pymysql"])
def test_a_database_and_a_dify_that_are_paused_delay_nobody(
    ready: FlaskClient, silent: socket.socket, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "ANSWER_S", 0.2)
    monkeypatch.setattr(health, "CACHE_S", 0.0)
    app, port = ready.application, silent.getsockname()[1]
    uri = f"{driver}://nobody@127.0.0.1:{port}/nothing"
    engine = create_engine(uri, **database.engine_options(uri))
    parts = app.extensions["route_api"]
    parts.health_check = health.health_check_of(app, engine, f"http://127.0.0.1:{port}", parts.dify.transport.breaker)
    for _ in range(3):
        message = not_ready(ready.get("/readyz"), database="failed", dify="failed")
        assert message == "The database does not answer. Dify did not answer in time."
    threads = [thread for thread in threading.enumerate() if thread.name == "health-check"]
    assert len(threads) == 2, "the answers waited for no longer limit of a connection, nor did each ask anew"
    silent.close()
    for thread in threads:
        thread.join(PATIENCE_S)


def test_a_bug_in_a_check_is_not_taken_for_readiness(
    ready: FlaskClient, any_dify: FakeDify, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    any_dify.play("general/service-index")
    monkeypatch.setattr(health.MigrationContext, "configure", lambda _: 1 / 0)
    assert "the log says why" in not_ready(ready.get("/readyz"), database="failed", dify="ok")
    assert "ZeroDivisionError" in log.text


def test_a_gateway_that_is_being_stopped_wants_no_more_requests(ready: FlaskClient) -> None:
    ready.application.extensions["route_api"].turn_monitor.is_stopping = True
    assert not_ready(ready.get("/readyz")) == "The gateway is stopping."
    assert ready.get("/healthz").status_code == 200
