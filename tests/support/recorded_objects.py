"""Finds objects in the recordings of both versions of Dify, and compares our rows of them with an example."""

from collections.abc import Callable, Iterator
from typing import Any

from .api_document import differences
from .recordings import VERSIONS, cases, load

KB_ID = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"
Found = list[tuple[str, dict[str, Any]]]


def objects(areas: str, *keys: str) -> Found:
    """Find every object with these keys in the recorded successes of an area.

    :returns: each with the version and case that it comes from
    """

    def walk(value: Any) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict):
            if all(key in value for key in keys):
                yield value
            for inner in value.values():
                yield from walk(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from walk(inner)

    found = []
    for version in VERSIONS:
        for case in cases(version, areas):
            response = load(version, case)["response"]
            if response["status"] == 200 and not isinstance(response["body"], str):
                found += [(f"{version} {case}", value) for value in walk(response["body"])]
    assert len(found) > 20, f"The recordings of {areas} hold only {len(found)} objects with {keys}."
    return found


def wrong(example: Any, found: Found, present: Callable[[dict[str, Any]], Any]) -> list[str]:
    """Compare the row that `present` makes of each recorded object with the example.

    :returns: the differences
    """
    return [f"{where}: {line}" for where, value in found for line in differences(example, present(value))]
