"""Fixtures of the knowledge half of the sandbox."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..support.sandbox_chat import Template, template
from ..support.sandbox_knowledge import Knowledge

__all__ = ["template"]


@pytest.fixture
def knowledge(template: Template, tmp_path: Path) -> Iterator[Knowledge]:
    """An empty sandbox of the test's own."""
    sandbox = Knowledge(template.copy_to(tmp_path / "data"))
    yield sandbox
    sandbox.stop()


@pytest.fixture
def reopen(knowledge: Knowledge) -> Iterator[Callable[[], Knowledge]]:
    """Makes a sandbox over the data of `knowledge`, as after a restart."""
    made: list[Knowledge] = []

    def make() -> Knowledge:
        knowledge.stop()
        made.append(knowledge.again())
        return made[-1]

    yield make
    for sandbox in made:
        sandbox.stop()
