"""Gateway and sandbox as a user starts them: in separate processes, each on its own port."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from ..support.browser import chromium
from ..support.databases import NAME, fresh_database
from ..support.running_gateway import Gateway


@pytest.fixture(scope="session", params=["gevent", "gthread"])
def worker_class(request: pytest.FixtureRequest) -> str:
    """Each value of WORKER_CLASS. A test or a file for which the class makes no difference names one of them."""
    return str(request.param)


@pytest.fixture(
    scope="module",
    params=[
        ("gevent", "sqlite"),
        pytest.param(("gevent", "postgresql"), marks=pytest.mark.server),
        pytest.param(("gthread", "mysql"), marks=pytest.mark.server),
    ],
    ids=lambda given: "-".join(given),
)
def class_and_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """A WORKER_CLASS and the DATABASE_URL of an empty database: each class, each kind of database, in three pairs. What
    most run is among them: SQLite and PostgreSQL with the default class."""
    worker_class, server = request.param
    if server == "sqlite":
        yield worker_class, f"sqlite:///{tmp_path_factory.mktemp('database') / 'gateway.sqlite3'}"
    else:
        with fresh_database(server, f"{NAME}_end_to_end") as url:
            yield worker_class, url


@pytest.fixture(scope="session")
def running_gateways() -> Iterator[dict[str, Gateway]]:
    """The shared gateways by worker class. Both stay until the last test, because each start takes four seconds."""
    running: dict[str, Gateway] = {}
    yield running
    assert [gateway.stop() for gateway in running.values()] == [0] * len(running)


@pytest.fixture(scope="session")
def gateway(
    worker_class: str, running_gateways: dict[str, Gateway], tmp_path_factory: pytest.TempPathFactory
) -> Gateway:
    """One gateway with its sandbox, shared by all tests that do not stop it."""
    if worker_class not in running_gateways:
        started = Gateway(tmp_path_factory.mktemp("gateway"), WORKER_CLASS=worker_class)
        started.start()
        running_gateways[worker_class] = started
    return running_gateways[worker_class]


@pytest.fixture
def own_gateway(worker_class: str, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway that the test may stop and start again."""
    running = Gateway(tmp_path, WORKER_CLASS=worker_class)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium without access to the internet, for all tests of a module."""
    with chromium() as running:
        yield running
