"""Cuts Chinese and English text into sentences, and into the pieces of a stream. Pure functions."""

import re
from collections.abc import Iterator

from .token_estimate import token_weight

CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"

LONG_SENTENCE = 240
"""A sentence with more characters is cut at its semicolons."""

_SENTENCE = re.compile(r"[^。！？!?\n.]*(?:\.(?!\s|$)[^。！？!?\n.]*)*(?:[。！？!?.]+[”’」』\"')]*|\n|$)")
_CLAUSE = re.compile(r"[^；;]*(?:[；;]|$)")
_CELL = re.compile(r"(?:^|[;；|\t])[^:：;；|\t]{1,40}[:：]")
_PIECE = re.compile(
    rf"</?thi|nk>\n*|[{CJK}，。、：；？！「」“”（）]{{1,3}}|[^\s<{CJK}，。、：；？！「」“”（）]+\s*|\s+|<"
)


def is_chinese(text: str) -> bool:
    """Return whether the text contains a Chinese character."""
    return re.search(f"[{CJK}]", text) is not None


def sentences(text: str) -> list[str]:
    """Cut a text into sentences, each with its closing mark. The end of a line ends a sentence, too.

    A row of a table is one sentence: its first cells say what the others are about.
    """
    found: list[str] = []
    for line in text.splitlines():
        if is_row(line):
            found.append(line.strip())
            continue
        for sentence in (match.group().strip() for match in _SENTENCE.finditer(line)):
            cut = len(sentence) > LONG_SENTENCE
            found += [clause.strip() for clause in _CLAUSE.findall(sentence)] if cut else [sentence]
    return [sentence for sentence in found if re.search(rf"[{CJK}A-Za-z0-9]", sentence)]


def is_row(line: str) -> bool:
    """Return whether a line is a row of a table, whose cells stand with their headers: `name: value;name: value`."""
    return len(_CELL.findall(line)) > 1


def first_tokens(text: str, limit: int) -> str:
    """Return the beginning of a text, about `limit` tokens long."""
    weight = 0.0
    for position, character in enumerate(text):
        weight += token_weight(character)
        if weight > limit:
            return text[:position].rstrip()
    return text


def pieces(text: str) -> Iterator[str]:
    """Cut a text as a model would stream it: a word, or a few Chinese characters, at a time.

    A `<think>` tag is cut in two, as real models do and as the fake model of the recordings does: a client must be
    able to join it.
    """
    return (match.group() for match in _PIECE.finditer(text))
