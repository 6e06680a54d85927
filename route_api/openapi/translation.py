"""Puts the texts of the OpenAPI document into another language. Pure functions.

A text is put into it paragraph by paragraph, and a list entry by entry: so a change costs the translation of one of
them. What stands in a code block stays as it is.
"""

import re
from collections.abc import Callable
from typing import Any

from ..languages import ENGLISH, translations

Json = dict[str, Any]
Translate = Callable[[str], str]
"""Gives the text in the other language, for one in English."""

TEXTS = ("description", "summary")
DATA = ("default", "enum", "example", "value")
"""Keys of the OpenAPI document whose values are data and no descriptions."""

NAMED_MEANING = re.compile(r"(`\w+`): (.+)\s*").fullmatch


def translate_into(language: str) -> Translate:
    """The function for a language. It returns a text without a translation as it is."""
    if language == ENGLISH:
        return str
    known = translations(language, "reference")
    return lambda text: known.get(text, text)


def translated_document(document: Json, translate: Translate) -> Json:
    """The OpenAPI document in another language, as a copy."""
    translated: Json = _translated(document, translate)
    for example in translated["components"]["examples"].values():
        example["value"] = {**example["value"], "message": example["summary"]}
    return translated


def _translated(node: Any, translate: Translate) -> Any:
    if isinstance(node, list):
        return [_translated(each, translate) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        key: (
            in_blocks(value, translate)
            if key in TEXTS and isinstance(value, str)
            else value if key in DATA else _translated(value, translate)
        )
        for key, value in node.items()
    }


def in_blocks(markdown: str, translate: Translate) -> str:
    """A text in Markdown in another language. What has no translation keeps its line breaks."""
    return "\n\n".join(_block(block, translate) for block in markdown.strip().split("\n\n"))


def _block(block: str, translate: Translate) -> str:
    if block.startswith("```"):
        return block
    head, *entries = re.split(r"^- ", block, flags=re.M)
    lines = [_in_one_line(head, translate)] if head.strip() else []
    for entry in entries:
        named = NAMED_MEANING(entry)
        lines.append(f"- {named[1]}: {translate(named[2])}" if named else f"- {_in_one_line(entry, translate)}")
    return "\n".join(lines)


def _in_one_line(text: str, translate: Translate) -> str:
    english = " ".join(text.split())
    translated = translate(english)
    return text.strip() if translated == english else translated
