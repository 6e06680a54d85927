"""Reads CSV files, whatever separates their cells."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .extraction import ExtractionError
from .plain_text import decode_text
from .sheet_rows import SAMPLE_ROWS, row_paragraphs

SEPARATORS = (",", ";", "\t", "|")
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n")
MAX_CELL = 1_000_000


def extract(path: Path, _extension: str) -> str:
    """Make one paragraph of each row (`row_paragraphs`).

    :raises ExtractionError: if it is no CSV file
    """
    return "\n\n".join(csv_paragraphs(decode_text(path.read_bytes())))


def csv_paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of a table in CSV.

    :raises ExtractionError: if it is no CSV file
    """
    text = text.replace("\0", "")
    named = _SEPARATOR_LINE.match(text)  # Excel writes and reads this line.
    separator = named[1] if named else _separator(text)
    csv.field_size_limit(MAX_CELL)
    try:
        rows = list(csv.reader(io.StringIO(text[named.end() :] if named else text, newline=""), delimiter=separator))
    except csv.Error as error:
        raise ExtractionError(f"The CSV file cannot be read: {error}") from error
    yield from row_paragraphs(rows)


def _separator(text: str) -> str:
    """Return the separator by which the most rows have the same number of cells, more than one.

    The standard library's `csv.Sniffer` takes decimal commas for separators, and fails at a title above the header.
    """
    lines = text[: 500 * SAMPLE_ROWS]

    def agreement(separator: str) -> tuple[float, int]:
        try:
            rows = list(csv.reader(io.StringIO(lines, newline=""), delimiter=separator))[:SAMPLE_ROWS]
        except csv.Error:
            return 0, 0
        counts = Counter(len(row) for row in rows if any(row))
        width, rows_of_width = max(counts.items(), key=lambda item: (item[0] > 1, item[1]), default=(1, 0))
        return (rows_of_width / counts.total(), width) if width > 1 else (0, 0)

    best = max(SEPARATORS, key=agreement)
    return best if agreement(best)[0] else ","
