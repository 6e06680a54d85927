"""Sandboxes for the tests of the sandbox."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from route_api.sandbox.embedding.embedder import Embedder
from route_api.sandbox.gateway_settings import prepare_gateway_settings

from ..support.sandbox_chat import Sandbox, Template
from ..support.sandbox_knowledge import Knowledge


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Made once, since hashing a password is slow by design."""
    data_dir = tmp_path_factory.mktemp("template")
    credentials = prepare_gateway_settings(data_dir)
    first = Sandbox(data_dir, credentials)
    assert first.login().status_code == 200
    cookies = {name: first.cookie(name) for name in ("access_token", "refresh_token", "csrf_token")}
    return Template(data_dir, credentials, cookies)


@pytest.fixture
def sandbox(template: Template, tmp_path: Path) -> Sandbox:
    """A sandbox of the test's own."""
    return template.copy_to(tmp_path / "data")


@pytest.fixture
def knowledge(template: Template, tmp_path: Path) -> Iterator[Knowledge]:
    """An empty sandbox of the test's own."""
    sandbox = Knowledge(template.copy_to(tmp_path / "data"))
    yield sandbox
    sandbox.stop()


@pytest.fixture
def reopen(knowledge: Knowledge) -> Iterator[Callable[..., Knowledge]]:
    """Makes a sandbox over the data of `knowledge`, as after a restart. It accepts an embedder."""
    made: list[Knowledge] = []

    def make(embedder: Embedder | None = None) -> Knowledge:
        for earlier in (knowledge, *made):
            earlier.stop()
        made.append(knowledge.again(embedder))
        return made[-1]

    yield make
    for sandbox in made:
        sandbox.stop()
