"""A Dify that nobody has used yet, for the commands that set it up."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.fresh_dify import FreshDify, fresh_dify


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[FreshDify]:
    with fresh_dify(tmp_path / "dify") as running:
        yield running
