"""Turns rows of a table into paragraphs that can be understood alone, as Dify does: `column: value;column: value`."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from .markdown import heading

SAMPLE_ROWS = 200
HEADER_SHARE = 0.6
"""A header has at least this share of the cells that most rows have."""
_NUMBER = re.compile(r"[-+¥$€£]?\s?\d[\d.,'\s]*%?")


def row_paragraphs(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a paragraph for each row that has text: each cell after its header.

    Rows above the header, such as a title, are yielded as headings. The header is the first row with as many cells as
    most rows have, or nearly as many if the last column is one of them. A header without rows tells nothing and is left
    out, but a row with a digit or a colon, such as `Telephone;021-5555`, is no header.

    :param rows: the cells. Line breaks within a cell become blanks, because a line break may separate chunks.
    """
    filled = [cells for row in rows if any(cells := [" ".join(cell.split()) for cell in row])]
    place = _header_place(filled)
    header, below = filled[place : place + 1], filled[place + 1 :]
    if not below:
        if len(filled) == 1 and len(header[0]) > 1 and re.search(r"[\d:：]", " ".join(header[0])):
            yield ";".join(filter(None, header[0]))
        return
    for row in filled[:place]:
        yield heading(2, " ".join(cell for cell in row if cell))
    for row in below:
        headers = [*header[0], *[""] * len(row)]
        yield ";".join(_with_header(name, cell) for name, cell in zip(headers, row, strict=False) if cell)


def _header_place(rows: Sequence[Sequence[str]]) -> int:
    count = _usual(_count(row) for row in rows[:SAMPLE_ROWS])
    length = _usual(_length(row) for row in rows[:SAMPLE_ROWS])
    for place, row in enumerate(rows):
        is_wide = _count(row) >= count
        is_nearly = _length(row) >= length and _count(row) >= HEADER_SHARE * count and _could_name_columns(row)
        if is_wide and _has_number(row):  # It may have more cells than the header has, and than the rows before it.
            return next((above for above in reversed(range(place)) if _could_name_columns(rows[above])), place)
        if is_wide or is_nearly:
            return place
    return 0


def _usual(numbers: Iterable[int]) -> int:
    counted = Counter(numbers)
    return max(counted, key=lambda number: (counted[number], number), default=0)


def _count(row: Sequence[str]) -> int:
    return sum(cell != "" for cell in row)


def _length(row: Sequence[str]) -> int:
    """Return the number of cells up to the last one that is not empty."""
    return max((place for place, cell in enumerate(row, 1) if cell), default=0)


def _could_name_columns(row: Sequence[str]) -> bool:
    """Return whether a row has several cells, and neither a number nor a colon as in `Author: Zhang San`."""
    return _count(row) > 1 and not _has_number(row) and not any("：" in cell or ": " in cell for cell in row)


def _has_number(row: Sequence[str]) -> bool:
    return any(_NUMBER.fullmatch(cell) for cell in row)


def _with_header(header: str, cell: str) -> str:
    return f"{header}: {cell}" if header else cell
