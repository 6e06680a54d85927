from typing import Any

import pytest

from route_api.prompts import (
    CONTEXT_BUDGET,
    app_inputs,
    app_query,
    context_budget,
    declared_variables,
    passages_within,
    split_thinking,
)

from .dify.recordings import VERSIONS, load


def record(content: str, name: str = "红楼梦.txt") -> dict[str, Any]:
    return {
        "segment": {"id": content, "content": content, "document_id": "d", "document": {"name": name}},
        "score": 0.5,
    }


@pytest.mark.parametrize(
    ("answer", "thinking", "content"),
    [
        ("<think>\n想\n</think>\n\n说", "想", "说"),
        ("想\n</think>\n\n说", "想", "说"),  # the API document's own example: without the opening tag
        ("<think>\n\n</think>\n\n说", "", "说"),
        ("说", "", "说"),
        ("", "", ""),
        ("<think>\n只想", "只想", ""),
        ("<think>想</think>说</think>完", "想", "说</think>完"),
        ("  <think>想</think>  说  ", "想", "说  "),
    ],
)
def test_an_answer_is_split_at_the_end_of_its_thinking(answer: str, thinking: str, content: str) -> None:
    assert split_thinking(answer) == (thinking, content)


def test_the_best_passages_that_fit_are_kept_whole() -> None:
    records = [record("甲" * 50), record("乙" * 50), record("丙" * 50)]
    kept, context = passages_within(records, 140)
    assert kept == records[:2] and len(context) <= 140
    assert context.startswith("[1] 红楼梦.txt\n甲") and "[2] 红楼梦.txt\n乙" in context and "丙" not in context


def test_context_length_counts_what_is_sent() -> None:
    records = [record("甲" * 50), record("乙" * 50)]
    whole = passages_within(records, 1000)[1]
    assert passages_within(records, len(whole))[1] == whole
    assert len(passages_within(records, len(whole) - 1)[0]) == 1


def test_the_variables_of_an_app_come_with_their_limits() -> None:
    for version in VERSIONS:
        form = declared_variables(load(version, "chat/parameters-with-variables")["response"]["body"])
        assert form == {"instructions": None, "context": None, "history": None}
        assert declared_variables(load(version, "chat/parameters-without-variables")["response"]["body"]) == {}
    limited = {"user_input_form": [{"text-input": {"variable": "context", "max_length": 48}}]}
    assert declared_variables(limited) == {"context": 48}


@pytest.mark.parametrize(
    ("form", "budget"),
    [
        ({}, CONTEXT_BUDGET),
        ({"context": None}, CONTEXT_BUDGET),
        ({"context": 48}, 48),
        ({"context": 10**9}, CONTEXT_BUDGET),
    ],
)
def test_passages_stay_within_what_the_app_takes(form: dict[str, int | None], budget: int) -> None:
    assert context_budget(form) == budget


def test_every_declared_variable_gets_a_value_and_no_other() -> None:
    assert app_inputs({"context": None, "city": 5}, "资料") == {"context": "资料", "city": ""}
    assert app_inputs({"instructions": None}, "") == {"instructions": ""}


def test_the_question_stands_alone_or_after_the_passages() -> None:
    assert app_query({"context": None}, "问", "资料") == "问"
    assert app_query({}, "问", "") == "问"
    query = app_query({}, "问", "资料 {question}")
    assert query.index("资料 {question}") < query.index("问题：问") and query.endswith("问")
