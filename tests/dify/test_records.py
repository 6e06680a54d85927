"""Reading datasets, segments and retrieval records as Dify writes them."""

from typing import Any

import pytest

from route_api.dify.records import document_name, embedding_model, score, segment_text

from ..support.recorded_objects import objects


@pytest.mark.parametrize(
    ("segment", "text"),
    [
        ({"content": "问", "answer": None}, "问"),
        ({"content": "问", "answer": "答"}, "问\n答"),
        ({"content": None}, ""),
    ],
)
def test_the_text_of_a_segment_has_the_answer_below_the_question(segment: dict[str, Any], text: str) -> None:
    assert segment_text(segment) == text


def test_every_recorded_passage_has_a_score_and_a_document() -> None:
    for where, record in objects("retrieve", "segment", "score"):
        assert isinstance(score(record), float) and document_name(record), where
    assert score({"score": None}) == 0
    assert document_name({"segment": {}}) == document_name({"segment": {"document": None}}) == ""


def test_a_dataset_without_an_embedding_model_has_none() -> None:
    named = {"embedding_model": "bge-m3:latest", "embedding_model_provider": "langgenius/ollama/ollama"}
    assert embedding_model(named) == ("bge-m3:latest", "langgenius/ollama/ollama")
    assert embedding_model({**named, "embedding_model_provider": None}) is None
    assert embedding_model({}) is None
