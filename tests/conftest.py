"""Fixtures for tests of the gateway in this process, with a mocked Dify that answers from the recordings."""

import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import responses
from flask import Flask
from flask.testing import FlaskClient

from config import Config
from route_api.app import create_app
from route_api.dify import Breaker
from route_api.extensions import db
from route_api.monitoring.repeated_task import RepeatedTask

from .support.fake_dify import FakeDify
from .support.gateway_client import GatewayClient, MakeApp
from .support.lazy_routes import install as install_lazy_routes
from .support.recordings import VERSIONS
from .support.settings import LOCKED, OPEN

for setting in fields(Config):
    os.environ.pop(setting.name, None)  # Settings in the environment of the person who runs the tests.
# Vectors take 50 ms of CPU for each segment. The tests of vectors switch them on.
os.environ["SANDBOX_EMBEDDING_MODEL"] = "sandbox-bm25"

install_lazy_routes()

IN_MEMORY = Path("/dev/shm")
if (
    IN_MEMORY.is_dir()
    and shutil.disk_usage(IN_MEMORY).free > 4 << 30
    and not os.statvfs(IN_MEMORY).f_flag & os.ST_NOEXEC
):
    # Each test makes an SQLite file, and a slow disk would cost more than the test.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))


@pytest.fixture(autouse=True)
def repeated_tasks_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The threads of an application end with the test: hundreds of them would keep the machine busy with nothing, and
    write into the logs that later tests read. An application that is used again starts new ones."""
    started: set[RepeatedTask] = set()
    start = RepeatedTask.start

    def start_and_remember(task: RepeatedTask) -> None:
        start(task)
        started.add(task)

    monkeypatch.setattr(RepeatedTask, "start", start_and_remember)
    yield
    for task in started:
        task.stop()


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """Each recorded version of Dify in turn."""
    return str(request.param)


@pytest.fixture
def mock() -> Iterator[responses.RequestsMock]:
    """Mocked HTTP answers, given in the order in which they were added. The test fails if one of them is not used."""
    with responses.RequestsMock() as requests_mock:
        yield requests_mock


@pytest.fixture
def dify(mock: responses.RequestsMock, version: str) -> FakeDify:
    """A mocked Dify of each recorded version."""
    return FakeDify(mock, version)


@pytest.fixture
def any_dify(mock: responses.RequestsMock) -> FakeDify:
    """A mocked Dify, for tests in which its version does not matter."""
    return FakeDify(mock, VERSIONS[-1])


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[MakeApp]:
    """A function that makes an application with its own database and download folder. It accepts settings."""
    made: list[Flask] = []
    breakers: list[Breaker] = []
    last_resort = logging.lastResort

    def make(**settings: Any) -> Flask:
        defaults = {
            **OPEN,
            "DATABASE_URL": f"sqlite:///{tmp_path / f'{len(made)}.sqlite3'}",
            "DOWNLOAD_ROOT": tmp_path / "downloads",
            "DEAD_LETTERS_DIR": tmp_path / "dead_letters",
        }
        app = create_app(Config.load(**{**defaults, **settings}))
        app.test_client_class = GatewayClient
        with app.app_context():
            db.create_all()
        made.append(app)
        breakers.append(app.extensions["route_api"].dify.transport.breaker)
        return app

    yield make
    for breaker in breakers:
        breaker.close()  # Its thread would ping the mocked Dify of the next test.
    for app in made:
        with app.app_context():
            db.engine.dispose()
    logging.getLogger("route_api").handlers.clear()
    logging.lastResort = last_resort


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    """The gateway without a console login, open to every caller."""
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def locked(make_app: MakeApp) -> Flask:
    """The gateway that authenticates its callers, as in production."""
    return make_app(**LOCKED)


@pytest.fixture
def gate(locked: Flask) -> FlaskClient:
    return locked.test_client()


@pytest.fixture
def console_client(make_app: MakeApp) -> FlaskClient:
    """A client of the gateway with a console login."""
    return make_app(DIFY_CONSOLE_EMAIL="admin@example.com", DIFY_CONSOLE_PASSWORD="Secret123").test_client()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The gateway's log records. Without this fixture pytest would not see them: they do not reach the root logger."""
    logger = logging.getLogger("route_api")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)
