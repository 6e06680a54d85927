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

CODE_SEPARATORS = ("\n\n", "\n", " ", "")
"""As `SEPARATORS`, for a part with a block of code, in which a line says more than a sentence."""
MAX_HEADING_CHARACTERS, MAX_HEADINGS = 100, 3

_HEADING = re.compile(
    r"#{1,6}[ \t]+\S.*|\*\*[^*]+\*\*|第[一二三四五六七八九十百零〇\d]{1,6}[编篇部章节回](?![^\n]*[。！？；，]).*"
)
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_KEPT_LINE_END = "\0"
"""Stands for a line end at which a text is not cut. `clean` has removed this character from the text."""
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
        text = "\n".join(_without_extra_spaces(_keep_whole(text)))
    if "remove_urls_emails" in enabled:
        text = _LINK.sub("", _MAIL.sub("", text))
    return text


def _without_extra_spaces(text: str) -> Iterator[str]:
    """Yield the lines of a text that `_keep_whole` has prepared. A block of code keeps its indentation."""
    for line in re.sub(r"\n{3,}", "\n\n", text).split("\n"):
        is_code = _KEPT_LINE_END in line and _FENCE.match(line)
        line = line.replace(_KEPT_LINE_END, "\n")
        yield line if is_code else _SPACES.sub(" ", line)


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
    for part in _parts(text, separator):
        separators = CODE_SEPARATORS if _FENCE.match(part) else SEPARATORS
        for smaller in _split_table(part, max_tokens):
            pieces.extend(_split_long(smaller, max_tokens, overlap, separators))
    return [stripped for piece in pieces if (stripped := _stripped(piece))]


def _stripped(piece: str) -> str:
    """Remove what Dify removes at the beginning of a chunk. The marks of a table and of code stay."""
    is_kept = piece.startswith("|") or _FENCE.match(piece)
    return piece.strip() if is_kept else _LEADING_SYMBOLS.sub("", piece).strip()


def _parts(text: str, separator: str) -> Iterator[str]:
    """Cut a text at the separator.

    If the separator consists of line ends, a block of code and a table stay whole, and a heading stays with the part
    that follows: alone, it would be found in place of its text. Dify cuts them too. Another separator is the
    caller's own.
    """
    if not separator or separator.strip("\n"):
        yield from text.split(separator) if separator else [text]
        return
    headings: list[str] = []
    for part in _keep_whole(text).split(separator):
        part = part.replace(_KEPT_LINE_END, "\n").strip("\n")
        if len(part) <= MAX_HEADING_CHARACTERS and _HEADING.fullmatch(part.strip()):
            headings.append(part.strip())
            if len(headings) > MAX_HEADINGS:  # A table of contents.
                yield headings.pop(0)
        elif part.strip():
            yield "\n".join([*headings, part])
            headings.clear()
    yield "\n".join(headings)


def _keep_whole(text: str) -> str:
    """Replace the line ends within blocks of code and tables by `_KEPT_LINE_END`."""
    kept: list[str] = []
    lines = text.split("\n")
    ends = _fence_ends(lines)
    place = 0
    while place < len(lines):
        end = ends.get(place, place)
        while lines[place].startswith("|") and end + 1 < len(lines) and lines[end + 1].startswith("|"):
            end += 1
        kept.append(_KEPT_LINE_END.join(lines[place : end + 1]))
        place = end + 1
    return "\n".join(kept)


def _fence_ends(lines: Sequence[str]) -> dict[int, int]:
    """Return the last line of each block of code by its first line. A fence that is not closed begins no block."""
    ends: dict[int, int] = {}
    fence, first = "", 0
    for place, line in enumerate(lines):
        mark = _FENCE.match(line)
        if mark is None:
            continue
        if not fence:
            fence, first = mark[1], place
        elif mark[1].startswith(fence) and line.strip() == mark[1]:
            ends[first] = place
            fence = ""
    return ends


def _split_table(part: str, max_tokens: int) -> Iterator[str]:
    """Cut a part that is a table between rows. Each piece begins with the headings above the table and with its first
    row, which has the names of the columns, if there is room. Another part stays whole."""
    lines = part.split("\n")
    first = next((place for place, line in enumerate(lines) if not _HEADING.fullmatch(line)), 0)
    if not lines[first].startswith("|"):
        yield part
        return
    top, rows = lines[: first + 1], lines[first + 1 :]
    if token_weight("\n".join(top)) >= max_tokens / 2:
        top, rows = [], lines
    room = max_tokens - token_weight("\n".join([*top, ""]))
    piece: list[str] = []
    weight = 0.0
    for row in rows:
        row_weight = token_weight(f"{row}\n")
        if piece and weight + row_weight > room:
            yield "\n".join([*top, *piece])
            piece, weight = [], 0.0
        piece.append(row)
        weight += row_weight
    yield "\n".join([*top, *piece])


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
