"""Separators outside ASCII in a process rule. Dify's versions read them differently
(tests/contract/DIFFERENCES.md, 39)."""

from typing import Any

from .versions import version_tuple

ESCAPING_SINCE = (1, 12, 1)
"""Since this version Dify finds a separator such as "。" only if it is sent as the six characters \\u3002.

1.8.1 needs the plain character and does not understand the escape. 1.12.1 needs the escape. Later versions get the
escape too: the bug of 1.12.1 is reported for 1.13.3 as well, and a version that decodes escapes decodes this one.
Versions between the two were not recorded and get the plain character.
"""


def escape_separators(data: dict[str, Any], version: str | None) -> dict[str, Any]:
    """Write the separators in the `data` of a document upload as this version of Dify reads them.

    :param version: Dify's version, as Dify gives it; None if it is unknown.
    :returns: a copy, or `data` itself where nothing has to be changed.
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
