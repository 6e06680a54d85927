"""The gateway in this process, with a Dify that answers from the recordings."""

import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import responses
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from config import Config
from route_api.app import create_app
from route_api.extensions import db
from route_api.views.blueprint import possible_codes

from .support.fake_dify import FakeDify
from .support.recordings import DIFY, VERSIONS

for setting in fields(Config):
    os.environ.pop(setting.name, None)  # those of whoever runs the tests

KEYS = {"DIFY_BASE_URL": DIFY, "DIFY_DATASET_API_KEY": "dataset-secret", "DIFY_APP_API_KEY": "app-secret"}
OPEN = {**KEYS, "AUTH": "open", "RATE_LIMIT": 0}
"""The settings of a gateway that asks nobody who they are, and counts nobody."""

KEY, OLD_KEY = "a-service-key-of-the-backend", "the-key-that-it-replaces"
SECRET = "what-signs-the-tokens"
LOCKED = {"AUTH": "required", "API_KEYS": [KEY, OLD_KEY], "SECRET_KEY": SECRET}

SECRETS = ("dataset-secret", "app-secret", "Secret123", "admin@example.com")
UNROUTED = ("route_not_found", "method_not_allowed")
INSIDES = re.compile(r"dify\.test|Traceback|sqlalchemy|psycopg|pymysql|sqlite|SELECT |INSERT |<dify>")

MakeApp = Callable[..., Flask]


class GatewayClient(FlaskClient):
    """A client that looks at every JSON answer that a test gets: it tells nothing of our insides, and a failure is one
    that the API reference has."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        answer = super().open(*args, **kwargs)
        if answer.mimetype == "application/json" and not answer.request.path.endswith("/openapi.json"):
            assert_says_nothing_of_our_insides(answer.text)
            self.assert_is_documented(answer)
        return answer

    def assert_is_documented(self, answer: TestResponse) -> None:
        """The route's view names the error; Dify's own answers, and paths without a view, are nobody's to name."""
        code = answer.json.get("error") if isinstance(answer.json, dict) else None
        if code is None or code in UNROUTED or "request_id" not in answer.json:
            return
        adapter = self.application.url_map.bind("localhost")
        endpoint, _ = adapter.match(answer.request.path.removeprefix("/v1"), method=answer.request.method)
        assert code in possible_codes(self.application.view_functions[endpoint]), f"{endpoint} does not name {code}"


def assert_says_nothing_of_our_insides(text: str) -> None:
    """No key, no SQL, no stack trace and no address of Dify's in what a caller gets."""
    assert not INSIDES.search(text), text
    assert not [secret for secret in SECRETS if secret in text]


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """Each recorded version of Dify in turn."""
    return str(request.param)


@pytest.fixture
def mock() -> Iterator[responses.RequestsMock]:
    """Answers in the order in which they were prepared; one that nobody asks for fails the test."""
    with responses.RequestsMock() as requests_mock:
        yield requests_mock


@pytest.fixture
def dify(mock: responses.RequestsMock, version: str) -> FakeDify:
    """A Dify of each recorded version."""
    return FakeDify(mock, version)


@pytest.fixture
def any_dify(mock: responses.RequestsMock) -> FakeDify:
    """A Dify whose version does not matter."""
    return FakeDify(mock, VERSIONS[-1])


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[MakeApp]:
    """Makes an application with a database and a download folder of its own; settings may be given."""
    made: list[Flask] = []
    last_resort = logging.lastResort

    def make(**settings: Any) -> Flask:
        defaults = {
            **OPEN,
            "DATABASE_URL": f"sqlite:///{tmp_path / f'{len(made)}.sqlite3'}",
            "DOWNLOAD_ROOT": tmp_path / "downloads",
        }
        app = create_app(Config.load(**{**defaults, **settings}))
        app.test_client_class = GatewayClient
        with app.app_context():
            db.create_all()
        made.append(app)
        return app

    yield make
    for app in made:
        with app.app_context():
            db.engine.dispose()
    logging.getLogger("route_api").handlers.clear()
    logging.lastResort = last_resort


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    """The gateway with service keys alone."""
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def locked(make_app: MakeApp) -> Flask:
    """The gateway that asks who calls, as with a real Dify."""
    return make_app(**LOCKED)


@pytest.fixture
def gate(locked: Flask) -> FlaskClient:
    return locked.test_client()


@pytest.fixture
def console_client(make_app: MakeApp) -> FlaskClient:
    """The gateway with a console login besides."""
    return make_app(DIFY_CONSOLE_EMAIL="admin@example.com", DIFY_CONSOLE_PASSWORD="Secret123").test_client()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The lines that the gateway logs, which it keeps from the root logger otherwise."""
    logger = logging.getLogger("route_api")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)
