"""Gateway and sandbox as a user starts them: in separate processes, each on its own port."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.running_gateway import Gateway


@pytest.fixture(scope="session", params=["gevent", "gthread"])
def worker_class(request: pytest.FixtureRequest) -> str:
    """Each value of WORKER_CLASS. Every test that starts a gateway runs with both."""
    return str(request.param)


@pytest.fixture(scope="session")
def gateway(worker_class: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One gateway with its sandbox, shared by all tests that do not stop it."""
    running = Gateway(tmp_path_factory.mktemp("gateway"), WORKER_CLASS=worker_class)
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture
def own_gateway(worker_class: str, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway that the test may stop and start again."""
    running = Gateway(tmp_path, WORKER_CLASS=worker_class)
    running.start()
    yield running
    running.stop()
