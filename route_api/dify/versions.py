"""Version numbers of Dify, for comparison."""

import re

_VERSION = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})")


def version_tuple(version: str | None) -> tuple[int, ...]:
    """The numbers of a version such as "1.12.1".

    :returns: an empty tuple, which is less than every version, for a text without numbers and for None.
    """
    found = _VERSION.match(version or "")
    return tuple(int(number) for number in found.groups()) if found else ()


RECORDED = ((1, 8, 1), (1, 12, 1), (1, 16, 1))
"""The versions whose answers are in tests/contract."""
