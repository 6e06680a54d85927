"""Which documents a metadata filter lets through."""

from typing import Any

import pytest

from route_api.sandbox.errors import SandboxError
from route_api.sandbox.knowledge.metadata_filter import COMPARISON_OPERATORS, parse_filter

VALUES = {"name": "第二份.txt", "pages": "12", "date": 1795152830.0, "note": ""}


def condition(name: str, operator: str, value: Any = None) -> dict[str, Any]:
    return {"name": name, "comparison_operator": operator, "value": value}


@pytest.mark.parametrize(
    ("name", "operator", "value", "passes"),
    [
        ("name", "is", "第二份.txt", True),
        ("name", "is not", "第二份.txt", False),
        ("name", "contains", "二", True),
        ("name", "not contains", "二", False),
        ("name", "start with", "第", True),
        ("name", "end with", ".md", False),
        ("name", "in", ["a", "第二份.txt"], True),
        ("name", "in", "a,第二份.txt", True),
        ("name", "not in", ["第二份.txt"], False),
        ("name", "is", "a'b\"c", False),
        ("pages", "=", 12, True),
        ("pages", "≠", 12, False),
        ("pages", ">", 11, True),
        ("pages", "<", "11", False),
        ("pages", "≥", 12, True),
        ("pages", "≤", 11, False),
        ("date", "before", 1795152831, True),
        ("date", "after", 1795152831, False),
        ("note", "empty", None, True),
        ("name", "not empty", None, True),
        ("unknown", "is", "x", False),
        ("unknown", "is not", "x", False),
        ("unknown", "empty", None, True),
        ("name", ">", 1, False),
    ],
)
def test_an_operator_compares(name: str, operator: str, value: Any, passes: bool) -> None:
    condition_met = parse_filter({"logical_operator": "and", "conditions": [condition(name, operator, value)]})
    assert condition_met is not None
    assert condition_met(VALUES) is passes


def test_and_wants_all_and_or_wants_one() -> None:
    conditions = [condition("name", "is", "第二份.txt"), condition("pages", "=", 13)]
    both = parse_filter({"logical_operator": "and", "conditions": conditions})
    either = parse_filter({"logical_operator": "or", "conditions": conditions})
    assert both is not None and either is not None
    assert (both(VALUES), either(VALUES)) == (False, True)


@pytest.mark.parametrize("conditions", [[], [condition("name", "is", None)]])
def test_a_filter_without_a_value_to_compare_with_is_none(conditions: list[dict[str, Any]]) -> None:
    assert parse_filter({"conditions": conditions}) is None


@pytest.mark.parametrize("operator", ["like", None, ["is"]])
def test_an_unknown_operator_is_refused(operator: Any) -> None:
    with pytest.raises(SandboxError) as caught:
        parse_filter({"conditions": [condition("name", operator, "x")]})
    assert caught.value.status == 400


def test_every_operator_is_carried_out() -> None:
    for operator in COMPARISON_OPERATORS:
        condition_met = parse_filter({"conditions": [condition("pages", operator, "12")]})
        assert condition_met is not None and isinstance(condition_met(VALUES), bool)
