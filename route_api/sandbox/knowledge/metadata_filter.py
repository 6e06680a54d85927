"""The `metadata_filtering_conditions` of a retrieval. Pure functions."""

from collections.abc import Callable, Mapping
from typing import Any

from ..request_fields import RequestFields

COMPARISON_OPERATORS = (
    "contains",
    "not contains",
    "start with",
    "end with",
    "is",
    "is not",
    "empty",
    "not empty",
    "in",
    "not in",
    "=",
    "≠",
    ">",
    "<",
    "≥",
    "≤",
    "before",
    "after",
)
"""All operators, in the order of the error text in retrieve/metadata-filter-bad-operator."""

_ON_TEXT: dict[str, Callable[[str, str], bool]] = {
    "contains": lambda value, wanted: wanted in value,
    "not contains": lambda value, wanted: wanted not in value,
    "start with": str.startswith,
    "end with": str.endswith,
    "is": str.__eq__,
    "is not": str.__ne__,
}
_ON_NUMBERS: dict[str, Callable[[float, float], bool]] = {
    "=": float.__eq__,
    "≠": float.__ne__,
    ">": float.__gt__,
    "<": float.__lt__,
    "≥": float.__ge__,
    "≤": float.__le__,
    "before": float.__lt__,
    "after": float.__gt__,
}

Condition = Callable[[Mapping[str, Any]], bool]


def parse_filter(conditions: Mapping[str, Any]) -> Condition | None:
    """Make the function that decides whether a document's values fulfil the conditions.

    :returns: the function, or None if there is no condition
    :raises SandboxError: 400, for an unknown operator, or a condition without a name
    """
    parsed = [_parse_condition(number, item) for number, item in enumerate(conditions.get("conditions") or [])]
    wanted = [condition for condition in parsed if condition is not None]
    if not wanted:
        return None
    combine = any if conditions.get("logical_operator") == "or" else all
    return lambda values: combine(condition(values) for condition in wanted)


def _parse_condition(number: int, item: Mapping[str, Any]) -> Condition | None:
    """Make the function of one condition, or None if the condition has no value: Dify skips it."""
    prefix = f"conditions.{number}."
    fields = RequestFields("MetadataFilteringCondition", {f"{prefix}{name}": value for name, value in item.items()})
    name = fields.text(f"{prefix}name")
    operator = fields.choice(f"{prefix}comparison_operator", COMPARISON_OPERATORS)
    wanted = item.get("value")
    if operator in ("empty", "not empty"):
        return lambda values: (values.get(name) in (None, "")) is (operator == "empty")
    if wanted is None:
        return None
    if operator in ("in", "not in"):
        listed = {str(value) for value in (wanted if isinstance(wanted, list) else str(wanted).split(","))}
        return lambda values: name in values and (str(values[name]) in listed) is (operator == "in")
    if operator in _ON_TEXT:
        compare_texts = _ON_TEXT[operator]
        return lambda values: name in values and compare_texts(str(values[name]), str(wanted))
    number_wanted = _number(wanted)
    compare_numbers = _ON_NUMBERS[operator]

    def compare(values: Mapping[str, Any]) -> bool:
        value = _number(values.get(name))
        return value is not None and number_wanted is not None and compare_numbers(value, number_wanted)

    return compare


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
