"""Reads documents, sheets and slides of Microsoft Office, the formats before 2007 too, with office_oxide.

office_oxide gives a document as nested dictionaries: sections (for slides: one each) of elements, and elements in cells
and text boxes. This module writes them as Markdown. A sheet has 10,000 rows at the most there, so sheets are read from
the Markdown that office_oxide writes itself.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from office_oxide import Document, OfficeOxideError

from .archive import open_archive
from .csv_text import csv_paragraphs
from .extraction import ExtractionError
from .html_text import html_text
from .markdown import LAYOUT_CELL_CHARACTERS, MergedCells, heading, table_row
from .plain_text import decode_text
from .sheet_rows import row_paragraphs
from .word_markup import with_visible_text

Json = dict[str, Any]
_PARTS = (
    "first_page_header",
    "header",
    "even_page_header",
    "elements",
    "speaker_notes",
    "first_page_footer",
    "footer",
    "even_page_footer",
)
"""The parts of a section, in the order of their texts. A letter has its letterhead on the first page only."""
_DEFAULT_NAME = re.compile(r"(?:Sheet|Tabelle|Feuil|Hoja|工作表|シート)\s*\d*", re.IGNORECASE)
_CELL = re.compile(r"((?:\\.|[^\\|])*+)\\?(?:\||$)")
"""A cell of a row in Markdown, in whose text `\\|` stands for `|`. It matches at every place, so that a long row takes
linear time; so it matches once more, with an empty text, at the end of a row."""
_SHEET = re.compile(r"xl/worksheets/[^/]*\.xml")
_RULE = re.compile(r"\|(?: --- \|)+")
_ESCAPED = re.compile(r"\\([^\w\s])")


def extract(path: Path, extension: str) -> str:
    """Return the text of a document, the rows of a workbook's sheets (`row_paragraphs`), or the slides with their
    notes.

    :raises ExtractionError: if the file is damaged, protected by a password or of another kind
    """
    content = path.read_bytes()
    may_merge = True
    if content.startswith(b"PK"):  # Some programs write the newer format under the older name.
        extension = {"doc": "docx", "xls": "xlsx", "ppt": "pptx"}.get(extension, extension)
        with open_archive(path, extension) as archive:
            if extension == "docx":
                content = with_visible_text(archive)
            elif extension == "xlsx":
                may_merge = any(
                    b"<mergeCell " in archive.read(name) for name in archive.namelist() if _SHEET.match(name)
                )
    elif content.startswith(b"{\\rtf"):  # Word writes it as doc, too.
        raise ExtractionError(f"The {extension.upper()} file cannot be read: it is RTF; save it as DOCX")
    elif extension in ("xls", "doc") and b"\0" not in content[:4096]:  # Many programs export HTML, or CSV as xls.
        text = decode_text(content)
        if text.lstrip().startswith("<"):
            return html_text(text)
        if extension == "xls":
            return "\n\n".join(csv_paragraphs(text))
    form: Any = extension
    try:
        with Document.from_bytes(content, form) as document:
            if extension in ("xlsx", "xls"):
                blocks = _sheets(document.to_markdown().splitlines(), _merged_cells(document) if may_merge else {})
            else:
                blocks = _pages(document.to_ir()["sections"])
    except OfficeOxideError as error:
        reason = "it is protected by a password" if "password" in str(error) else "it is damaged, or of another kind"
        raise ExtractionError(f"The {extension.upper()} file cannot be read: {reason}") from error
    return "\n\n".join(block for block in blocks if block.strip())


def _merged_cells(document: Document) -> dict[str, list[list[str | None]]]:
    """Return the rows of each sheet by its name, with a merged cell in each of its rows: in the Markdown of
    office_oxide it is in the first row only. Rows without text are left out, because the Markdown has them only for
    xlsx.

    Each cell becomes a tuple as soon as it is read, because the dictionaries of a large sheet need a gigabyte.
    """

    def small(element: Json) -> Any:
        return _cell(element) if "row_span" in element else element

    found: dict[str, list[list[str | None]]] = {}
    for section in json.loads(document.to_ir_json(), object_hook=small)["sections"]:
        for element in section["elements"]:
            if element["type"] == "table":
                merged = MergedCells()
                found[section["title"]] = [row for line in element["rows"] if (row := merged.row(line["cells"]))]
    return found


def _cell(cell: Json) -> tuple[str, int, int]:
    return "\n\n".join(_blocks(cell["content"])), cell["col_span"], cell["row_span"]


def _sheets(lines: Iterable[str], merged: Mapping[str, Sequence[Sequence[str | None]]]) -> Iterator[str]:
    """Yield the name and the rows of each sheet, from a Markdown table below each heading.

    :param merged: the result of `_merged_cells`
    """
    name = ""
    for is_table, group in groupby(lines, lambda line: line.startswith("|")):
        if not is_table:
            for line in filter(None, group):
                name = _unescaped(line.removeprefix("## ")) if line.startswith("## ") else name
                yield "" if line.startswith("## ") else _unescaped(line)
            continue
        written = (line[1:] for line in group if not _RULE.fullmatch(line))
        cells = ([_unescaped(cell) for cell in _CELL.findall(line)[:-1]] for line in written)
        rows = [row for row in cells if any(row)]
        for row, texts in zip(rows, merged.get(name, ()), strict=False):
            row[: len(texts)] = [cell or text or "" for cell, text in zip(row, texts, strict=False)]
        paragraphs = [cell for row in rows for cell in row if cell]
        if len(paragraphs) > 1:  # Else it is a note, and no header without rows.
            paragraphs = list(row_paragraphs(rows))
        if paragraphs and not _DEFAULT_NAME.fullmatch(name):
            yield heading(2, name)
        yield from paragraphs


def _unescaped(markdown: str) -> str:
    return _ESCAPED.sub(r"\1", markdown.replace("<br>", " ")).strip()


def _pages(sections: Sequence[Json]) -> Iterator[str]:
    """Yield the blocks of a document's sections or of slides. A header or footer that several sections have is
    written once."""
    seen: set[str] = set()
    for section in sections:
        for part in _PARTS:
            found = section.get(part) or []
            blocks = list(_blocks(found["content"] if isinstance(found, dict) else found))
            if part not in ("elements", "speaker_notes"):
                blocks = [block for block in blocks if block not in seen]
                seen.update(blocks)
            yield from blocks


def _blocks(elements: Iterable[Json]) -> Iterator[str]:
    for element in elements:
        kind = element["type"]
        if kind == "heading" and (text := _line(element)):
            yield heading(element["level"], text)
        elif kind == "table":
            yield from _table(element)
        elif kind == "list":
            yield "\n".join(_items(element))
        elif kind == "paragraph":
            yield from _paragraph(element["content"])
        elif kind in ("text_box", "footnote", "endnote"):
            yield from _blocks(element["content"])


def _paragraph(content: Iterable[Json]) -> Iterator[str]:
    parts: list[str] = []
    boxes: list[Json] = []
    for part in content:
        if part["type"] == "text":
            parts.append(part["text"])
        elif part["type"] == "line_break":
            parts.append("\n")
        elif part["type"] == "text_box":
            boxes.append(part)
    lines = ("".join(parts)).split("\n")
    yield "\n".join(line.strip() for line in lines if line.strip())
    yield from _blocks(boxes)


def _line(paragraph: Json) -> str:
    return " ".join(" ".join(_paragraph(paragraph["content"])).split())


def _items(items: Json) -> Iterator[str]:
    for item in items["items"]:
        yield from (f"- {block}" for block in _blocks(item["content"]) if block)
        if item.get("nested"):
            yield from _items(item["nested"])


def _table(table: Json) -> Iterator[str]:
    rows: list[str] = []
    for columns in _grid(table):
        row = [text for text in columns if text is not None]
        long = [cell for cell in row if len(cell) > LAYOUT_CELL_CHARACTERS and "\n\n" in cell]
        if long:  # The row lays out a page, as many forms do.
            yield "\n".join(rows)
            rows.clear()
            yield from dict.fromkeys(row)
        elif any(row):
            rows.append(table_row(row))
    yield "\n".join(rows)


def _grid(table: Json) -> Iterator[list[str | None]]:
    """Yield the texts of each row's cells (`MergedCells`)."""
    merged = MergedCells()
    for row in table["rows"]:
        yield merged.row([_cell(cell) for cell in row["cells"]])
