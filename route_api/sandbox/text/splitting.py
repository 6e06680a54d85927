"""Splits a text into chunks by Dify's rules. Pure functions."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .token_estimate import token_weight

MIN_TOKENS, MAX_TOKENS = 50, 4000
"""The permitted range of max_tokens (documents/indexing-status-error-max-tokens)."""
SEPARATORS = ("\n\n", "。", ". ", " ", "")
"""A part that is too long is cut at the first of these that it contains. "" means: between any two characters."""
AUTOMATIC_SEGMENTATION = {"separator": "\n", "max_tokens": 500, "chunk_overlap": 50}
AUTOMATIC_RULES = {
    "pre_processing_rules": [
        {"id": "remove_extra_spaces", "enabled": True},
        {"id": "remove_urls_emails", "enabled": False},
    ],
    "segmentation": AUTOMATIC_SEGMENTATION,
    "parent_mode": None,
    "subchunk_segmentation": None,
}

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([nrtfv\\]))")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "\\": "\\"}
# The symbols that 1.12.1 removes, except 《 and 「, whose closing marks would stay.
_LEADING_SYMBOLS = re.compile(
    r"""^[\[\]\u2000-\u206f\u2e00-\u2e7f\u3000-\u3007\u3012\u3013\u301c-\u303f""" r""""#$%&'()*+,./:;<=>?@^_`{|}~\s]+"""
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_SPACES = re.compile(r"[\t\f\r \u00a0\u1680\u180e\u2000-\u200a\u202f\u205f\u3000]{2,}")
# The lookbehind and `++` keep the search linear: without them, a long word without "@" is read once for each letter.
_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)+", re.ASCII)
_LINK = re.compile(r"https?://[!#-'*-;=?-Z_a-z~%]+")
_PAIR_PART = re.compile(r"[^\n;；]+")
_PAIR_MARK = re.compile(
    r"\s*(?:(?P<question>q|question|问|问题)|a|answer|答|答案)\d*\s*[:：]",
    re.IGNORECASE,
)
_PAIR_EDGES = " \t\r\n\f\v\u3000;；"


class SplittingError(ValueError):
    """A rule cannot be carried out. The document's field `error` shows the message."""


@dataclass(frozen=True)
class Chunk:
    """A part of a document; the indexer stores it as a segment.

    :param content: the text; in a qa_model document, the question
    :param answer: the answer, in a qa_model document
    :param children: the child chunks, in a hierarchical_model document
    :param keywords: the keywords that an economy dataset shows, or that the caller sent
    """

    content: str
    answer: str | None = None
    children: tuple[str, ...] = ()
    keywords: tuple[str, ...] | None = None

    @property
    def text(self) -> str:
        """The text that is indexed: content and answer."""
        return f"{self.content}\n{self.answer}" if self.answer else self.content


def split_document(text: str, doc_form: str, mode: str, rules: dict[str, Any]) -> list[Chunk]:
    """Split a document's text into chunks.

    A `qa_model` document has one chunk for each question and answer that the text marks (`Q: … A: …`, `问：… 答：…`, or
    CSV columns with these names), and no other chunk. Dify would let a model invent questions.

    :param mode: `automatic` (AUTOMATIC_RULES), `custom` or `hierarchical`
    :raises SplittingError: if max_tokens is outside 50..4000
    """
    if mode == "automatic":
        rules = AUTOMATIC_RULES
    text = clean(text, rules.get("pre_processing_rules") or [])
    if doc_form == "qa_model":
        return list(_pairs(text))
    if mode == "hierarchical" and rules.get("parent_mode") == "full-doc":
        parents = [text.strip()] if text.strip() else []
    else:
        parents = split_text(text, rules["segmentation"])
    if doc_form != "hierarchical_model":
        return [Chunk(parent) for parent in parents]
    return [Chunk(parent, children=split_children(parent, rules)) for parent in parents]


def _pairs(text: str) -> Iterator[Chunk]:
    """Find the questions and answers that a text marks at the beginning of a line, or after a semicolon.

    A pair without a question or without an answer is left out.
    """
    marks: list[re.Match[str]] = []
    for part in _PAIR_PART.finditer(text):
        mark = _PAIR_MARK.match(text, part.start(), part.end())
        # Questions and answers take turns. Another mark, such as a second answer, belongs to the text.
        if mark is not None and (mark["question"] is not None) == (len(marks) % 2 == 0):
            marks.append(mark)
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    texts = [text[mark.end() : end].strip(_PAIR_EDGES) for mark, end in zip(marks, ends, strict=False)]
    for question, answer in zip(texts[::2], texts[1::2], strict=False):
        if question and answer:
            yield Chunk(question, answer)


def split_children(parent: str, rules: dict[str, Any]) -> tuple[str, ...]:
    """Split a segment of a hierarchical_model document into child chunks."""
    return tuple(split_text(parent, rules.get("subchunk_segmentation") or AUTOMATIC_SEGMENTATION))


def clean(text: str, pre_processing_rules: Iterable[dict[str, Any]]) -> str:
    """Remove the control characters, and apply the enabled pre-processing rules."""
    enabled = {rule["id"] for rule in pre_processing_rules if rule.get("enabled")}
    text = _CONTROL.sub("", text)
    if "remove_extra_spaces" in enabled:
        text = _SPACES.sub(" ", re.sub(r"\n{3,}", "\n\n", text))
    if "remove_urls_emails" in enabled:
        text = _LINK.sub("", _MAIL.sub("", text))
    return text


def decode_separator(separator: str) -> str:
    r"""Decode the escapes in a separator, such as `\n` and `\u3002`, as 1.12.1 does.

    Other characters stay as they are, so that a plain "。" works. 1.12.1 garbles it (segments/list-separator-chinese).
    """

    def decoded(match: re.Match[str]) -> str:
        code = match[1] or match[2]
        return chr(int(code, 16)) if code else _ESCAPED[match[3]]

    return _ESCAPE.sub(decoded, separator)


def split_text(text: str, segmentation: dict[str, Any]) -> list[str]:
    """Cut a text at the separator. Parts that are longer than max_tokens are cut at one of `SEPARATORS`.

    :raises SplittingError: if max_tokens is outside 50..4000
    """
    max_tokens = segmentation["max_tokens"]
    if not MIN_TOKENS <= max_tokens <= MAX_TOKENS:
        raise SplittingError(f"Custom segment length should be between {MIN_TOKENS} and {MAX_TOKENS}.")
    overlap = min(segmentation.get("chunk_overlap") or 0, max_tokens // 2)
    separator = decode_separator(segmentation["separator"])
    pieces: list[str] = []
    for part in text.split(separator) if separator else [text]:
        pieces.extend(_split_long(part, max_tokens, overlap, SEPARATORS))
    stripped = (_LEADING_SYMBOLS.sub("", piece).strip() for piece in pieces)
    return [piece for piece in stripped if piece]


def _split_long(text: str, max_tokens: int, overlap: int, separators: Sequence[str]) -> list[str]:
    """Cut a text into pieces of at most `max_tokens`. Neighbouring pieces share up to `overlap` tokens."""
    if token_weight(text) <= max_tokens:
        return [text]
    place = next(place for place, separator in enumerate(separators) if separator in text)
    separator = separators[place]
    if not separator:
        return _join_small(list(text), max_tokens, overlap)
    parts = text.split(separator)
    parts = [part + separator for part in parts[:-1]] + parts[-1:]
    pieces: list[str] = []
    small: list[str] = []
    for part in parts:
        if token_weight(part) <= max_tokens:
            small.append(part)
            continue
        pieces.extend(_join_small(small, max_tokens, overlap))
        small = []
        pieces.extend(_split_long(part, max_tokens, overlap, separators[place + 1 :]))
    return pieces + _join_small(small, max_tokens, overlap)


def _join_small(parts: Sequence[str], max_tokens: int, overlap: int) -> list[str]:
    """Join neighbouring parts up to `max_tokens`.

    Each piece begins with the end of the previous piece (the overlap).
    """
    pieces: list[str] = []
    start, total = 0, 0.0
    weights = [token_weight(part) for part in parts]
    for end, weight in enumerate(weights):
        if total + weight > max_tokens and end > start:
            pieces.append("".join(parts[start:end]))
            while start < end and (total > overlap or total + weight > max_tokens):
                total -= weights[start]
                start += 1
        total += weight
    if start < len(parts):
        pieces.append("".join(parts[start:]))
    return pieces
