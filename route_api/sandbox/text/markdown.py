"""Writes headings and rows of tables as Markdown, for the readers of several formats."""

from collections.abc import Sequence

LAYOUT_CELL_CHARACTERS = 500
"""A cell with several paragraphs and more text than this lays out a page. It is no cell of a table."""


def heading(level: int, text: str) -> str:
    """Return a heading. Splitting keeps it with the text that follows (`splitting`)."""
    return f"{'#' * min(max(level, 1), 6)} {text}"


def table_row(cells: Sequence[str]) -> str:
    """Return a row of a table as one line."""
    return f"| {' | '.join(' '.join(cell.split()) for cell in cells)} |"


class MergedCells:
    """Gives the cells of a table, row after row. A cell that is merged with those below is in each of its rows."""

    def __init__(self) -> None:
        self._below: dict[int, tuple[str, int, int]] = {}
        """For the first column of each cell that goes on below: its text, its columns, and in how many rows more."""

    def row(self, cells: Sequence[tuple[str, int, int]]) -> list[str | None]:
        """Return the texts of the next row, one for each column; none if no cell of its own has text. A cell that is
        merged with those beside it has its text in the first of its columns, and None in the others.

        A row may have fewer cells than the table has columns: an empty text stands for each that is missing before a
        merged cell. A cell that is so wide that it covers a merged one stands in its place.

        :param cells: the row's own cells: text, number of columns, number of rows
        """
        above = self._below
        self._below = {column: (text, columns, rows - 1) for column, (text, columns, rows) in above.items() if rows > 1}
        texts: list[str | None] = []
        own = iter(cells)
        last = max(above, default=-1)
        while (cell := above.get(len(texts)) or next(own, None)) is not None or len(texts) < last:
            text, columns, rows = cell or ("", 1, 1)
            if rows > 1 and len(texts) not in above:
                self._below[len(texts)] = text, columns, rows - 1
            texts += [text, *[None] * (columns - 1)]
        return texts if any(text for text, _, _ in cells) else []
