"""Cutting long questions into queries that Dify takes."""

from itertools import pairwise

import pytest

from route_api.knowledge.retrieval import MAX_QUERIES, MAX_QUERY_LENGTH, split_question


@pytest.mark.parametrize("question", ["问", "问" * 250, "  两  个\n词 "])
def test_a_short_question_is_one_query(question: str) -> None:
    assert split_question(question) == [" ".join(question.split())]


@pytest.mark.parametrize("question", ["", "  \n\u3000"])
def test_a_question_of_nothing_is_no_query(question: str) -> None:
    assert split_question(question) == []


@pytest.mark.parametrize(
    "question", ["问" * 251, "一句话。" * 100, "one sentence. " * 50, "长" * 600 + "。" + "短。" * 50, "a b " * 200]
)
def test_a_long_question_is_cut_into_queries_that_dify_takes_and_nothing_is_lost(question: str) -> None:
    queries = split_question(question)
    assert 1 < len(queries) <= MAX_QUERIES and max(map(len, queries)) <= MAX_QUERY_LENGTH
    assert "".join("".join(queries).split()) == "".join(question.split())


def test_sentences_stay_whole_where_they_can() -> None:
    assert all(part.endswith("。") for part in split_question("这是一句话。" * 80))


def test_of_a_very_long_question_the_beginning_and_the_end_are_asked() -> None:
    question = "".join(f"这是第{number:03}句话。" for number in range(400))
    queries = split_question(question)
    assert len(queries) == MAX_QUERIES
    assert question.startswith(queries[0]) and question.endswith(queries[-1])
    assert all(first != second for first, second in pairwise(queries))
