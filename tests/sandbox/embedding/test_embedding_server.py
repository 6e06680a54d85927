"""Vectors from an OpenAI-compatible server: what is sent, and what becomes of its failures."""

from typing import Any

import numpy as np
import pytest

from route_api.sandbox.embedding.embedder import MAX_CHARACTERS, EmbeddingError
from route_api.sandbox.embedding.embedding_server import EmbeddingServer

from ...support.embedding_server import FakeEmbeddingServer


def test_the_server_gets_the_model_the_texts_and_the_key(server: FakeEmbeddingServer) -> None:
    rows = EmbeddingServer(f"{server.url}/", "bge-m3", "secret").passages(["工资", "a taxi"])
    assert server.received == [{"model": "bge-m3", "input": ["工资", "a taxi"], "encoding_format": "float"}]
    assert server.keys == ["Bearer secret"]
    assert rows.shape == (2, 5)
    assert np.argmax(rows, axis=1).tolist() == [1, 3], "the rows are in the order of the texts"


def test_a_whole_document_as_one_chunk_is_sent_in_part(server: FakeEmbeddingServer) -> None:
    EmbeddingServer(server.url, "bge-m3", "").passages(["工资" * 20_000])
    assert server.received[0]["input"] == ["工资" * (MAX_CHARACTERS // 2)]


def test_vectors_have_length_one(server: FakeEmbeddingServer) -> None:
    embedder = EmbeddingServer(server.url, "bge-m3", "")
    assert np.linalg.norm(embedder.question("salary salary password")) == pytest.approx(1)
    assert server.keys == [None]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({"error": "no"}, "no list of vectors"),
        ({"data": [{"index": 0, "embedding": "AAAA"}]}, "no list of vectors"),
        ({"data": [{"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": [1]}]}, "no list of vectors"),
        ({"data": []}, "asked for 1 vectors"),
        ({"data": [{"index": 0, "embedding": [float("nan"), 1]}]}, "asked for 1 vectors"),
        ({"data": [{"index": 0, "embedding": []}]}, "asked for 1 vectors"),
        ([1], "no list of vectors"),
    ],
)
def test_an_answer_without_vectors_is_an_error(server: FakeEmbeddingServer, answer: Any, sentence: str) -> None:
    server.answer = answer
    with pytest.raises(EmbeddingError, match=sentence):
        EmbeddingServer(server.url, "bge-m3", "").question("工资")


def test_the_server_s_own_words_are_in_the_error(server: FakeEmbeddingServer) -> None:
    server.status = 503
    with pytest.raises(EmbeddingError, match="status 503: .*the model is not loaded"):
        EmbeddingServer(server.url, "bge-m3", "").question("工资")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "no url", "http://"])
def test_a_server_that_is_away_is_an_error(url: str) -> None:
    with pytest.raises(EmbeddingError, match="The embedding server"):
        EmbeddingServer(url, "bge-m3", "").question("工资")


def test_passages_are_sent_again_to_a_busy_server_and_a_question_is_not(server: FakeEmbeddingServer) -> None:
    server.failures = [503, 429]
    embedder = EmbeddingServer(server.url, "bge-m3", "")
    assert len(embedder.passages(["工资"])) == 1
    assert len(server.received) == 3
    server.failures = [503]
    with pytest.raises(EmbeddingError, match="status 503"):
        embedder.question("工资")
    assert len(server.received) == 4


def test_vectors_of_another_length_than_the_first_are_an_error(server: FakeEmbeddingServer) -> None:
    """Such a document would be completed, and no search by meaning would find it."""
    embedder = EmbeddingServer(server.url, "bge-m3", "")
    embedder.passages(["工资"])
    server.answer = {"data": [{"index": 0, "embedding": [0.5, 0.5]}]}
    with pytest.raises(EmbeddingError, match="sent vectors of 2 numbers; those before had 5"):
        embedder.passages(["工资"])
