"""Fixtures of the knowledge half of the sandbox."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .chat_fixtures import bootstrapped
from .knowledge import Knowledge

__all__ = ["bootstrapped"]


@pytest.fixture
def knowledge(bootstrapped: tuple[Path, dict[str, str]], tmp_path: Path) -> Iterator[Knowledge]:
    """An empty sandbox of the test's own."""
    template, credentials = bootstrapped
    shutil.copytree(template, tmp_path / "data")
    sandbox = Knowledge(tmp_path / "data", credentials)
    yield sandbox
    sandbox.stop()
