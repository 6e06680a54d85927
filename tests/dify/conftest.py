from typing import Iterator

import pytest
import responses

from route_api.dify import Dify

from ..support.dify_client import dify_client
from ..support.recordings import DIFY, VERSIONS, play


@pytest.fixture
def mock_dify() -> Iterator[responses.RequestsMock]:
    """A Dify that gives the answers of a test in their order. Any other request fails."""
    with responses.RequestsMock(registry=responses.registries.OrderedRegistry) as mock:
        yield mock


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """Each recorded version of Dify in turn."""
    return str(request.param)


@pytest.fixture
def dify() -> Dify:
    return dify_client(
        DIFY, apps={"small": "app-small"}, console_email="admin@example.com", console_password="Secret123"
    )


@pytest.fixture
def console_dify(dify: Dify, mock_dify: responses.RequestsMock, version: str) -> Dify:
    """A client whose next console call logs in first."""
    dify.transport.dify_version = version
    play(mock_dify, version, "auth/login")
    return dify
