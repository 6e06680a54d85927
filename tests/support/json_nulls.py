"""Compares null in recorded answers. null equals only null, unless the field is listed here with a reason."""

from typing import Any

NullOr = dict[str, tuple[type, str]]
"""For the name of a field: the type that either side may have instead of null, and the reason."""


def differs_from_null(name: str, theirs: Any, ours: Any, null_or: NullOr) -> bool:
    """Compare two values of which at least one is null.

    :param name: the name of the field that has the values
    :returns: whether they differ: one is not null, and its type is not listed for the field
    """
    value = ours if theirs is None else theirs
    return value is not None and (name not in null_or or type(value) is not null_or[name][0])
