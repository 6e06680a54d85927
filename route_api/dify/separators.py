"""Separators outside ASCII in a process rule, which Dify's versions read differently (DIFFERENCES 39)."""

import re
from typing import Any

ESCAPING_SINCE = (1, 12, 1)
"""From here on a separator such as "。" is found only if it is sent as the six characters \\u3002.

1.8.1 wants the plain character and does not understand the escape; 1.12.1 wants the escape. Later versions
are taken to be like 1.12.1: its bug is reported for 1.13.3 too, and a version that decodes escapes decodes
this one. Versions between the two were not recorded and get the plain character.
"""

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


def version_tuple(version: str | None) -> tuple[int, ...]:
    """The numbers of a version such as "1.12.1"; empty, and so less than any version, if there are none."""
    found = _VERSION.match(version or "")
    return tuple(int(number) for number in found.groups()) if found else ()


def escape_separators(data: dict[str, Any], version: str | None) -> dict[str, Any]:
    """A copy of a document upload's `data` with its separators as this version of Dify reads them.

    :param version: Dify's version as it gives it; None if unknown.
    """
    if version_tuple(version) < ESCAPING_SINCE:
        return data
    process_rule = data.get("process_rule")
    rules = process_rule.get("rules") if isinstance(process_rule, dict) else None
    if not isinstance(process_rule, dict) or not isinstance(rules, dict):
        return data
    escaped = {
        name: {**rules[name], "separator": _escape(rules[name]["separator"])}
        for name in ("segmentation", "subchunk_segmentation")
        if isinstance(rules.get(name), dict) and isinstance(rules[name].get("separator"), str)
    }
    return {**data, "process_rule": {**process_rule, "rules": {**rules, **escaped}}}


def _escape(separator: str) -> str:
    return "".join(char if char.isascii() else char.encode("ascii", "backslashreplace").decode() for char in separator)
