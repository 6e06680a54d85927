"""Cutting long questions into queries that Dify takes."""

from itertools import pairwise

import pytest

from route_api.knowledge.retrieval import MOST_PARTS, QUERY_LENGTH, query_parts


@pytest.mark.parametrize("question", ["问", "问" * 250, "  两  个\n词 "])
def test_a_short_question_is_one_query(question: str) -> None:
    assert query_parts(question) == [" ".join(question.split())]


@pytest.mark.parametrize("question", ["", "  \n\u3000"])
def test_a_question_of_nothing_is_no_query(question: str) -> None:
    assert query_parts(question) == []


@pytest.mark.parametrize(
    "question", ["问" * 251, "一句话。" * 100, "one sentence. " * 50, "长" * 600 + "。" + "短。" * 50, "a b " * 200]
)
def test_a_long_question_is_cut_into_queries_that_dify_takes_and_nothing_is_lost(question: str) -> None:
    parts = query_parts(question)
    assert 1 < len(parts) <= MOST_PARTS and max(map(len, parts)) <= QUERY_LENGTH
    assert "".join("".join(parts).split()) == "".join(question.split())


def test_sentences_stay_whole_where_they_can() -> None:
    assert all(part.endswith("。") for part in query_parts("这是一句话。" * 80))


def test_of_a_very_long_question_the_beginning_and_the_end_are_asked() -> None:
    question = "".join(f"这是第{number:03}句话。" for number in range(400))
    parts = query_parts(question)
    assert len(parts) == MOST_PARTS
    assert question.startswith(parts[0]) and question.endswith(parts[-1])
    assert all(first != second for first, second in pairwise(parts))
