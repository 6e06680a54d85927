"""A Dify that nobody has used yet, for the commands that set it up."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.fresh_dify import FreshDify, fresh_dify


@pytest.fixture
def masking(tmp_path: Path) -> Iterator[FreshDify]:
    """The same, but its lists mask keys as Dify 1.17 and later do."""
    with fresh_dify(tmp_path / "dify", masks_keys=True) as running:
        yield running


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[FreshDify]:
    with fresh_dify(tmp_path / "dify") as running:
        yield running
