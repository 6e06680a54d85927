"""A small file, and the check of the text that a program extracts from it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """A small file, and what its reader sees.

    :param name: what is special about the file
    :param shown: what its text has, in this order
    :param hidden: what its text has not
    :param apart: two texts that do not touch each other, such as two cells
    :param lines: texts of which each has a line of its own
    :param cells: a header, and a cell that must follow it in the same paragraph
    :param once: what the text has one time
    """

    name: str
    extension: str
    content: bytes
    shown: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    apart: tuple[tuple[str, str], ...] = ()
    lines: tuple[str, ...] = ()
    cells: tuple[tuple[str, str], ...] = ()
    once: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.extension}: {self.name}"


def complaints(sample: Sample, text: str) -> list[str]:
    """Compare an extracted text with its sample. Return a sentence for each difference."""
    return list(_complaints(sample, text))


def _complaints(sample: Sample, text: str) -> Iterator[str]:
    text = text.replace("**", "")  # Markdown for bold letters
    place = 0
    for shown in sample.shown:
        found = text.find(shown, place)
        if found < 0:
            yield f"{shown!r} is out of order" if shown in text else f"{shown!r} is missing"
        else:
            place = found + len(shown)
    for hidden in sample.hidden:
        if hidden in text:
            yield f"{hidden!r} is there"
    for left, right in sample.apart:
        if left not in text or right not in text or left + right in text:
            yield f"{left!r} and {right!r} are not apart"
    places = [[number for number, line in enumerate(text.splitlines()) if want in line] for want in sample.lines]
    for want, found_at in zip(sample.lines, places, strict=True):
        if not found_at or sum(found_at == other for other in places) > 1:
            yield f"{want!r} has no line of its own"
    for header, cell in sample.cells:
        if not _stands_with(header, cell, text):
            yield f"{cell!r} does not stand with {header!r}"
    for once in sample.once:
        if text.count(once) != 1:
            yield f"{once!r} is there {text.count(once)} times"


def _stands_with(header: str, cell: str, text: str) -> bool:
    """Return whether a cell follows its header, or stands in the same column of a Markdown table."""
    if re.search(rf"{re.escape(header)}[\s*\"]*[:：=][\s*\"]*{re.escape(cell)}", text):
        return True
    column = None
    for line in text.splitlines():
        row = [part.strip(" *") for part in line.strip().strip("|").split("|")] if "|" in line else []
        if header in row:
            column = row.index(header)
        elif column is not None and column < len(row) and row[column] == cell:
            return True
    return False
