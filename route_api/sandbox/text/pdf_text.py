"""Reads PDF files with pdfium, and joins the lines of running text."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pypdfium2
from pypdfium2 import raw

from .extraction import ExtractionError
from .pdf_lines import Line, join_lines

HYPHEN = "\x02"
"""pdfium's sign for the hyphen of a word that is broken at the end of a line. It leaves out that line's end."""
WIDE_GAP = 1.5
"""The gap between two cells of a row is wider than this multiple of the line's height. No gap of justified text is."""
Box = tuple[float, float, float, float]
_TURNS: tuple[Callable[[float, float, float, float], Box], ...] = (
    lambda left, bottom, right, top: (left, bottom, right, top),
    lambda left, bottom, right, top: (-top, left, -bottom, right),
    lambda left, bottom, right, top: (-right, -top, -left, -bottom),
    lambda left, bottom, right, top: (bottom, -right, top, -left),
)
"""For text that is turned clockwise by 0, 90, 180 and 270 degrees: its box as if it were not turned."""


def extract(path: Path, _extension: str) -> str:
    """Return the text of the pages, with an empty line between two pages.

    :raises ExtractionError: if the file is damaged or protected by a password
    """
    try:
        pdf = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        raise ExtractionError(f"The PDF file cannot be read: {error}") from error
    with pdf:
        return "\n\n".join(text for number in range(len(pdf)) if (text := _page_text(pdf, number)))


def _page_text(pdf: pypdfium2.PdfDocument, number: int) -> str:
    try:
        page = pdf[number]
        text_page = page.get_textpage()
    except pypdfium2.PdfiumError:  # One damaged page is no reason to lose the others.
        return ""
    try:
        return join_lines(list(_lines(text_page)))
    finally:
        text_page.close()
        page.close()


def _lines(page: pypdfium2.PdfTextPage) -> Iterator[Line]:
    places: list[tuple[int, str]] = []
    for place in range(page.count_chars()):
        character = chr(raw.FPDFText_GetUnicode(page, place))
        if character in "\r\n" + HYPHEN:
            if places:
                yield _line(page, places, broken=character == HYPHEN)
            places = []
        elif character not in "\0\ufffe\uffff":
            places.append((place, character))
    if places:
        yield _line(page, places)


def _line(page: pypdfium2.PdfTextPage, places: Sequence[tuple[int, str]], broken: bool = False) -> Line:
    """Measure a line along its own direction, so that turned text is like any other."""
    text = "".join(character for _, character in places)
    shown = [place for place, character in places if not character.isspace()] or [places[0][0]]
    turn = round(raw.FPDFText_GetCharAngle(page, shown[0]) / (math.pi / 2)) % 4
    boxes = [_TURNS[turn](*page.get_charbox(place, loose=True)) for place in shown]
    left, right = min(box[0] for box in boxes), max(box[2] for box in boxes)
    bottom, top = min(box[1] for box in boxes), max(box[3] for box in boxes)
    gap = max((box[0] - before[2] for before, box in zip(boxes, boxes[1:], strict=False)), default=0.0)
    indent = text[: len(text) - len(text.lstrip())]
    return Line(
        text.strip(),
        left,
        right,
        bottom,
        top,
        indented="\u3000" in indent,
        broken=broken,
        has_wide_gap=gap > WIDE_GAP * (top - bottom),
    )
