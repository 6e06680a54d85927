"""Chooses what makes the vectors: a server that the settings name, the packaged model, or nothing.

numpy and the model are imported with the first text, so that a sandbox starts as fast as without them.
"""

from importlib.util import find_spec

from . import packaged_model
from .embedder import Embedder, EmbeddingError
from .embedding_server import EmbeddingServer

WORDS_ONLY = "sandbox-bm25"
"""The name of the search by words alone, in the setting SANDBOX_EMBEDDING_MODEL and in the list of models."""
REQUIREMENTS = "requirements-vectors.txt"


def make_embedder(url: str, model: str, key: str) -> Embedder | None:
    """Choose the model.

    :param url: base URL of an OpenAI-compatible server; empty: none
    :param model: the name of the model on the server. Without a server: the packaged model if its package is installed,
        or one of `packaged_model.NAME` and `WORDS_ONLY`
    :param key: the API key of the server; empty: none
    :returns: None, if the search shall use words alone
    :raises EmbeddingError: if these settings cannot be carried out
    """
    if url:
        if not model:
            raise EmbeddingError("SANDBOX_EMBEDDING_URL needs the name of a model in SANDBOX_EMBEDDING_MODEL.")
        if find_spec("numpy") is None:
            raise EmbeddingError(f"SANDBOX_EMBEDDING_URL needs numpy: pip install -r {REQUIREMENTS}")
        return EmbeddingServer(url, model, key)
    if model not in ("", WORDS_ONLY, packaged_model.NAME):
        names = f"{packaged_model.NAME} or {WORDS_ONLY}"
        raise EmbeddingError(f"SANDBOX_EMBEDDING_MODEL is {model}: without SANDBOX_EMBEDDING_URL it may be {names}.")
    if model == WORDS_ONLY:
        return None
    if problem := packaged_model.why_unusable():
        if model:
            raise EmbeddingError(f"SANDBOX_EMBEDDING_MODEL is {model}, but {problem}.")
        return None
    return packaged_model.PackagedModel()
