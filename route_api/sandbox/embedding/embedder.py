"""What makes vectors, and how it fails."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from flask import current_app

from ..errors import SandboxError

if TYPE_CHECKING:
    import numpy as np


MAX_CHARACTERS = 16_000
"""What follows in a text has no part in its vector. No chunk is as long, except a whole document as one chunk
(parent_mode full-doc): one of 1 MB would occupy the packaged model for minutes, which cannot be interrupted."""


class EmbeddingError(SandboxError):
    """No vectors could be made. A request then gets the answer that Dify gives (retrieve/embedding-fails).

    :param message: why, to a person
    """

    def __init__(self, message: str) -> None:
        super().__init__(400, "invalid_param", message)


class Embedder(Protocol):
    """Makes vectors of length 1. Threads may share it."""

    name: str
    """The name of the model. Vectors of two models cannot be compared."""
    batch_size: int
    """The number of texts that one call should get."""

    def passages(self, texts: Sequence[str]) -> "np.ndarray":
        """Return one row of float32 for each text that is searched in.

        :raises EmbeddingError: if the model fails
        """

    def question(self, text: str) -> "np.ndarray":
        """Return the vector of a text that is searched for.

        :raises EmbeddingError: if the model fails
        """


@dataclass(frozen=True)
class Vectors:
    """The vectors of some texts, one row for each, and the name of the model that made them."""

    model: str
    rows: "np.ndarray"


def current_embedder() -> Embedder | None:
    """Return what makes the vectors of the current application; None if it searches by words alone."""
    embedder: Embedder | None = current_app.extensions["sandbox_embedder"]
    return embedder


def similarity_of(embedder: Embedder | None) -> Callable[[str, Sequence[str]], list[float]] | None:
    """Return a function that gives the cosine of each text with a question; None without a model.

    The function raises EmbeddingError if the model fails.
    """
    if embedder is None:
        return None

    def similarity(question: str, texts: Sequence[str]) -> list[float]:
        size, vector = embedder.batch_size, embedder.question(question)
        parts = (embedder.passages(texts[start : start + size]) for start in range(0, len(texts), size))
        return [float(cosine) for part in parts for cosine in part @ vector]

    return similarity
