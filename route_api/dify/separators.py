"""Separators outside ASCII in a process rule. Dify's versions read them differently
(tests/contract/DIFFERENCES.md, 39)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .versions import version_tuple

Json = dict[str, Any]

ESCAPING_SINCE = (1, 12, 1)
"""Since this version Dify finds a separator such as "。" only if it is sent as the six characters \\u3002.

1.8.1 needs the plain character and does not understand the escape. 1.12.1 and 1.16.1 need the escape. A later version
may stop to undo it: then :class:`Separators` finds that out. Versions between the recorded ones get what the older one
gets.
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """An upload whose segments show how this version of Dify reads an escaped separator."""

    version: str | None
    dataset_id: str
    document_id: str
    separator: str


class Separators:
    """Writes separators as the server reads them. It learns from the segments of the uploads, once for each version."""

    def __init__(self) -> None:
        self._escapes: dict[str | None, bool] = {}
        self._trial: Trial | None = None

    def write(self, data: Json, version: str | None) -> Json:
        """The `data` of a document upload with its separators as this version reads them.

        :param version: Dify's version, as Dify gives it; None if it is unknown.
        :returns: a copy, or `data` itself where nothing has to be changed.
        """
        if version_tuple(version) < ESCAPING_SINCE or not self._escapes.get(version, True):
            return data
        return escape_separators(data)

    def remember(self, data: Json, version: str | None, dataset_id: str, document_id: str) -> None:
        """Note that a document was uploaded, so that the next upload may look at its segments.

        :param data: of the upload, with unescaped separators
        """
        separator = _separator_of(data)
        if separator and version_tuple(version) >= ESCAPING_SINCE and version not in self._escapes:
            self._trial = Trial(version, dataset_id, document_id, separator)

    def learn(self, data: Json, contents_of: Callable[[str, str], Iterable[str]]) -> None:
        """Look whether Dify has cut an earlier document at its escaped separator. This asks Dify only if `data` has
        such a separator too, and only until it is known.

        :param contents_of: gets the contents of a document's first segments, by the ids of its dataset and of itself.
        """
        trial = self._trial
        if trial is None or not _separator_of(data):
            return
        self._trial = None
        contents = [content.strip(trial.separator) for content in contents_of(trial.dataset_id, trial.document_id)]
        if any(trial.separator in content for content in contents):
            self._escapes[trial.version] = False
        elif len(contents) > 1:
            self._escapes[trial.version] = True


def escape_separators(data: Json) -> Json:
    """Write the separators outside ASCII in the `data` of a document upload as escapes.

    :returns: a copy, or `data` itself where it has no rules.
    """
    rules = _rules_of(data)
    if rules is None:
        return data
    escaped = {
        name: {**rules[name], "separator": _escape(rules[name]["separator"])}
        for name in ("segmentation", "subchunk_segmentation")
        if isinstance(rules.get(name), dict) and isinstance(rules[name].get("separator"), str)
    }
    return {**data, "process_rule": {**data["process_rule"], "rules": {**rules, **escaped}}}


def _rules_of(data: Json) -> Json | None:
    process_rule = data.get("process_rule")
    rules = process_rule.get("rules") if isinstance(process_rule, dict) else None
    return rules if isinstance(rules, dict) else None


def _separator_of(data: Json) -> str:
    """The separator of segments if it is outside ASCII; else an empty text."""
    segmentation = (_rules_of(data) or {}).get("segmentation")
    separator = segmentation.get("separator") if isinstance(segmentation, dict) else None
    return separator if isinstance(separator, str) and not separator.isascii() else ""


def _escape(separator: str) -> str:
    return "".join(char if char.isascii() else char.encode("ascii", "backslashreplace").decode() for char in separator)
