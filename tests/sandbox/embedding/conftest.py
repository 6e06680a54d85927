"""A running server for vectors."""

from collections.abc import Iterator

import pytest

from ...support.embedding_server import FakeEmbeddingServer


@pytest.fixture
def server() -> Iterator[FakeEmbeddingServer]:
    """A running fake."""
    fake = FakeEmbeddingServer()
    yield fake
    fake.stop()
