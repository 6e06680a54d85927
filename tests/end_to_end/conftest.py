"""The whole thing as a user starts it: gateway and sandbox, in processes of their own, on ports of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.running_gateway import Gateway


@pytest.fixture(scope="session", params=["gevent", "gthread"])
def worker_class(request: pytest.FixtureRequest) -> str:
    """Each setting of WORKER_CLASS: every test that starts a gateway passes with both."""
    return str(request.param)


@pytest.fixture(scope="session")
def gateway(worker_class: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One gateway with its sandbox, for all the tests that do not stop it."""
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
