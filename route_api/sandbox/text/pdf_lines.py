"""Decides which line ends of a page are line ends of its text. Pure functions.

A PDF has no paragraphs, only lines with their places. The margin ends a line of running text in the middle of a
sentence, in Chinese in the middle of a word: such lines are joined. A list of names, the rows of a table and
numbered steps stay lines.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

RUNNING_TEXT_WIDTH = 18
"""A line of running text has at least this width, in Chinese characters. Columns of newspapers have 20 and more."""
NARROW_TEXT_WIDTH = 10
"""A narrower line is joined to one that goes on in lower case, from this width on."""
MAX_PITCH = 1.35
"""Lines of one paragraph have at most this multiple of the usual distance between lines."""
NEAR_LINES = 12
LOWER_CASE_SHARE = 0.25
"""Of the lines of running text, at least this share begins in lower case."""
_LIST_MARK = re.compile(
    r"[•●○■□▪◆◇★·‣➢✓\-–—*]\s|[（(\[【]?[0-9]{1,3}[)）\].、．】]|[（(]?[一二三四五六七八九十百]{1,4}[)）、．]|第.{1,6}[章节条回篇部]|[①-⑳❶-❿]"
    r"|[（(]?[A-Za-z][)）.、]\s?|[0-9]+(?:\.[0-9]+)+\s|(?:Q|A|问|答)\s*[:：]|图\s*[0-9]|表\s*[0-9]|(?:Fig(?:ure)?|Table)[. ]",
)
_SENTENCE_ENDS = "。！？；.!?;:：…”」』"
_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\u3001-\u303f"
_TABULAR = re.compile(
    rf"[{_CJK}][ \t\u3000]+[{_CJK}\d]|\d[ \t\u3000]+[{_CJK}]|\S[ \t\u3000]{{2,}}\S|\S\u3000\S|\.{{5,}}|…{{2,}}"
)
"""Blanks between Chinese characters separate cells; running text has none. Dots lead to a page number."""
_CHINESE_MARK = re.compile("[，。；、：？！,;]")


@dataclass(frozen=True)
class Line:
    """A line of a page.

    :param left: where it begins, in points along its direction; `right` is where it ends
    :param bottom: its lower edge, in points; `top` is its upper edge
    :param indented: whether it begins with the blanks of a Chinese paragraph
    :param broken: whether it ends with a word that goes on in the next line; its hyphen is not in `text`
    :param has_wide_gap: whether two of its words stand far apart, as the cells of a table do
    """

    text: str
    left: float
    right: float
    bottom: float
    top: float
    indented: bool = False
    broken: bool = False
    has_wide_gap: bool = False


def join_lines(lines: Sequence[Line]) -> str:
    """Return the text of a page."""
    lines = [line for line in lines if line.text]
    pitch = _usual_pitch(lines)
    text = ""
    for place, line in enumerate(lines):
        text += line.text
        if place + 1 == len(lines):
            break
        following = lines[place + 1]
        if line.broken:
            continue
        if _same_row(line, following):
            text += " "
        elif _goes_on(lines, place, pitch):
            if line.text[-1] == "-" and following.text[0].islower():
                text = text[:-1]
            elif _is_latin(line.text[-1]) or _is_latin(following.text[0]):
                text += " "
        else:
            text += "\n\n" if _gap(line, following) > 1.8 * pitch else "\n"
    return text


def _is_tabular(line: Line) -> bool:
    return line.has_wide_gap or _TABULAR.search(line.text) is not None


def _usual_pitch(lines: Sequence[Line]) -> float:
    """Return the usual distance from one line to the next, in points."""
    gaps = sorted(gap for line, following in zip(lines, lines[1:], strict=False) if (gap := _gap(line, following)) > 1)
    return gaps[len(gaps) // 3] if gaps else 1.0


def _gap(line: Line, following: Line) -> float:
    return line.bottom - following.bottom


def _same_row(line: Line, following: Line) -> bool:
    """Return whether a line goes on to the right of a wide gap, as the cells of a table do."""
    middle = (following.bottom + following.top) / 2
    return line.bottom < middle < line.top and following.left >= line.right


def _goes_on(lines: Sequence[Line], place: int, pitch: float) -> bool:
    """Return whether the next line goes on with this line's sentence or paragraph."""
    line, following = lines[place], lines[place + 1]
    size = max(line.top - line.bottom, 1.0)
    if (
        line.right <= following.left
        or not 0 < _gap(line, following) <= MAX_PITCH * pitch
        or _LIST_MARK.match(following.text)
        or following.indented
    ):
        return False
    if not 0.6 < (following.top - following.bottom) / size < 1.7 or (_is_tabular(line) and _is_tabular(following)):
        return False
    near = [
        other
        for other in lines[max(0, place - NEAR_LINES) : place + NEAR_LINES]
        if abs(other.left - line.left) < 4 * size and other.right > following.left
    ]
    # A title, and the text around a narrower paragraph, may be wider.
    rights = sorted(other.right for other in near if other is line or abs(other.left - following.left) < size)
    margin = rights[-2] if len(rights) > 2 else rights[-1]
    if line.right + _first_word_width(following) < margin - 0.5:
        return False
    if following.left > min(other.left for other in near) + size and not _is_item(lines, place):
        return False  # It begins a paragraph.
    return _width(line.text) >= _least_width(line, following) and _reads_on(line, following, near)


def _least_width(line: Line, following: Line) -> float:
    goes_on_lower = following.text[0].islower() and line.text[-1] not in _SENTENCE_ENDS
    return NARROW_TEXT_WIDTH if goes_on_lower else RUNNING_TEXT_WIDTH


def _reads_on(line: Line, following: Line, near: Sequence[Line]) -> bool:
    """Return whether the words go on, and are no rows that are nearly as long as each other.

    In a language with capital letters, many lines of running text begin in lower case, and no row of names does. In
    Chinese, two lines of running text have a punctuation mark, and no two titles or names have one.
    """
    if not (_is_latin(line.text[-1]) and _is_latin(following.text[0])):
        return _CHINESE_MARK.search(line.text + following.text) is not None
    if not following.text[0].isalpha() or following.text[0].isupper():
        return sum(other.text[0].islower() for other in near) >= LOWER_CASE_SHARE * len(near)
    return True


def _is_item(lines: Sequence[Line], place: int) -> bool:
    """Return whether a line begins an item whose further lines are indented to its text, or is such a further line."""
    line, following = lines[place], lines[place + 1]
    return _LIST_MARK.match(line.text) is not None or abs(line.left - following.left) < 2


def _first_word_width(line: Line) -> float:
    """Return the width of a line's first word, in points. In Chinese, a word is a character."""
    word = line.text.split()[0] if _is_latin(line.text[0]) else line.text[0]
    word = re.split(f"[{_CJK}]", word)[0] or word[0]
    blank = 0.5 if _is_latin(line.text[0]) else 0.0
    return (line.right - line.left) * (_width(word) + blank) / max(_width(line.text), 1)


def _is_latin(character: str) -> bool:
    return re.match(f"[{_CJK}]", character) is None


def _width(text: str) -> float:
    """Return the width of a text in Chinese characters, about."""
    return sum(1.0 if unicodedata.east_asian_width(character) in "WF" else 0.5 for character in text)
