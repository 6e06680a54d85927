"""The `process_rule` of an upload: the checks of Dify, and the stored form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import SandboxError
from ..request_fields import RequestFields
from ..text.splitting import AUTOMATIC_RULES

MODES = ("automatic", "custom", "hierarchical")
PRE_PROCESSING_RULES = ("remove_stopwords", "remove_extra_spaces", "remove_urls_emails")


@dataclass(frozen=True)
class ProcessRule:
    """A checked rule for `split_document`. The range of max_tokens is checked only while the document is indexed."""

    mode: str
    rules: dict[str, Any]


AUTOMATIC = ProcessRule("automatic", AUTOMATIC_RULES)


def check_process_rule(value: object) -> ProcessRule:
    """Check a sent rule, and fill its optional fields.

    :raises SandboxError: 400, for an invalid rule (documents/create-by-file-rule-*)
    """
    rule = value if isinstance(value, Mapping) else {}
    fields = RequestFields("KnowledgeConfig", {f"process_rule.{name}": item for name, item in rule.items()})
    mode = fields.choice("process_rule.mode", MODES)
    if mode == "automatic":
        return AUTOMATIC
    rules = rule.get("rules")
    if not isinstance(rules, Mapping) or not rules:
        raise _invalid("Process rule rules is required")
    return ProcessRule(
        mode,
        {
            "pre_processing_rules": _checked_pre_processing(rules.get("pre_processing_rules")),
            "segmentation": _checked_segmentation(rules.get("segmentation")),
            "parent_mode": rules.get("parent_mode"),
            "subchunk_segmentation": (
                _checked_segmentation(rules["subchunk_segmentation"]) if rules.get("subchunk_segmentation") else None
            ),
        },
    )


def _invalid(text: str) -> SandboxError:
    return SandboxError(400, "invalid_param", text)


def _checked_pre_processing(rules: object) -> list[dict[str, Any]]:
    if not isinstance(rules, list):
        raise _invalid("Process rule pre_processing_rules is required")
    for rule in rules:
        if not isinstance(rule, Mapping) or rule.get("id") not in PRE_PROCESSING_RULES:
            raise _invalid("Process rule pre_processing_rules id is invalid")
        if not isinstance(rule.get("enabled"), bool):
            raise _invalid("Process rule pre_processing_rules enabled is invalid")
    return [{"id": rule["id"], "enabled": rule["enabled"]} for rule in rules]


def _checked_segmentation(segmentation: object) -> dict[str, Any]:
    if not isinstance(segmentation, Mapping) or not segmentation:
        raise _invalid("Process rule segmentation is required")
    separator, max_tokens = segmentation.get("separator"), segmentation.get("max_tokens")
    overlap = segmentation.get("chunk_overlap") or 0
    if not separator:
        raise _invalid("Process rule segmentation separator is required")
    if not isinstance(separator, str):
        raise _invalid("Process rule segmentation separator is invalid")
    if not max_tokens:
        raise _invalid("Process rule segmentation max_tokens is required")
    if not isinstance(max_tokens, int) or not isinstance(overlap, int):
        raise _invalid("Process rule segmentation max_tokens is invalid")
    return {"separator": separator, "max_tokens": max_tokens, "chunk_overlap": overlap}
