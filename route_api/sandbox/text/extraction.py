"""Extracts plain text from uploaded files."""

import codecs
import csv
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import pypdfium2
from charset_normalizer import from_bytes
from docx import Document
from docx.opc.exceptions import PackageNotFoundError
from docx.table import Table, _Cell
from docx.text.paragraph import Paragraph
from lxml import etree

BLOCK_TAGS = frozenset("p div br li tr table section article pre h1 h2 h3 h4 h5 h6".split())
UNSHOWN_TAGS = frozenset("script style noscript template".split())
MAX_UNPACKED_BYTES = 200_000_000
"""A .docx is a ZIP archive. One of 15 MB can unpack to 15 GB."""
MAX_CHARACTERS = 20_000_000
"""The longest text that is indexed. A text file of 15 MB, the largest upload, is shorter."""
FULL_LINE_SHARE = 0.85
"""A line of a PDF that has at least this share of the longest line's length ends at the margin, not with a
paragraph."""
SAMPLE_CHARACTERS, COMMON_SHARE = 20_000, 0.8
GB2312_COMMON_ROWS = range(0xB0, 0xD8)
"""First bytes of the 3,755 common characters of GB 2312."""
SENTENCE_ENDS = tuple("。！？；：.!?;:")


class ExtractionError(Exception):
    """The text of a file cannot be extracted. The document's field `error` shows the message."""


def extract_text(path: Path, extension: str) -> str:
    r"""Extract the text of a file. Lines end with `\n`; an empty line separates paragraphs and table rows.

    This can take long and much memory, and the parser of a format can crash: see `preparation_process`.

    :param extension: one of `EXTENSIONS`
    :raises ExtractionError: if the content does not fit the extension, or has more than `MAX_CHARACTERS` of text
    """
    text = _EXTRACTORS[extension](path)
    if len(text) > MAX_CHARACTERS:
        raise ExtractionError(f"The text of the file has more than {MAX_CHARACTERS // 1_000_000} million characters.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decode_text(content: bytes) -> str:
    """Decode text of unknown encoding: UTF-16 with a byte order mark, UTF-8, GB18030, else charset-normalizer's
    guess."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return _simplified_chinese(content) or str(from_bytes(content).best() or content.decode("latin-1"))


def _simplified_chinese(content: bytes) -> str | None:
    """Decode GB18030, of which GBK and GB2312 are parts. Return None if few of the characters are common ones.

    charset-normalizer takes a short Chinese text for Korean, because its statistics need more than a sentence. Text in
    Big5 or Shift-JIS that is decoded as GB18030 consists of rare characters and private ones.
    """
    try:
        text = content.decode("gb18030")
    except UnicodeDecodeError:
        return None
    if re.search("[\ue000-\uf8ff]", text):
        return None
    hanzi = re.findall("[\u4e00-\u9fff]", text[:SAMPLE_CHARACTERS])
    common = sum(character.encode("gb18030")[0] in GB2312_COMMON_ROWS for character in hanzi if _is_gb2312(character))
    return text if hanzi and common >= COMMON_SHARE * len(hanzi) else None


def _is_gb2312(character: str) -> bool:
    return character.encode("gb2312", errors="ignore") != b""


def _plain(path: Path) -> str:
    return decode_text(path.read_bytes())


class _HtmlText:
    """The target of an HTML parser. It collects the text that a browser would show, with an empty line after a block.

    The parser builds no tree, because both a tree and a walk through it grow too large if the tags are nested deeply.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._unshown = 0

    def start(self, tag: str, _attributes: dict[str, str]) -> None:
        self._unshown += tag in UNSHOWN_TAGS

    def end(self, tag: str) -> None:
        self._unshown -= tag in UNSHOWN_TAGS
        if tag in BLOCK_TAGS:
            self._parts.append("\n\n")

    def data(self, text: str) -> None:
        if not self._unshown:
            self._parts.append(text)

    def close(self) -> str:
        return "".join(self._parts)


def _html(path: Path) -> str:
    content = decode_text(path.read_bytes())
    parser = etree.HTMLParser(target=_HtmlText(), encoding="utf-8", huge_tree=True)
    text = etree.fromstring(content.encode(errors="replace"), parser) if content.strip() else ""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _csv(path: Path) -> str:
    """Make one paragraph of each row, `column: value;column: value`, as Dify does."""
    try:
        rows = list(csv.reader(io.StringIO(_plain(path), newline="")))
    except csv.Error as error:
        raise ExtractionError(f"The CSV file cannot be read: {error}") from error
    if not rows:
        return ""
    header = rows[0]
    paragraphs = (
        ";".join(f"{name.strip()}: {value.strip()}" for name, value in zip(header, row, strict=False))
        for row in rows[1:]
        if any(row)
    )
    return "\n\n".join(paragraphs)


def _pdf(path: Path) -> str:
    try:
        pdf = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        raise ExtractionError(f"The PDF file cannot be read: {error}") from error
    with pdf:
        return "\n\n".join(_page_text(pdf, number) for number in range(len(pdf)))


def _page_text(pdf: pypdfium2.PdfDocument, number: int) -> str:
    page = pdf[number]
    text_page = page.get_textpage()
    try:
        return join_broken_lines(text_page.get_text_bounded())
    finally:
        text_page.close()
        page.close()


def join_broken_lines(text: str) -> str:
    """Remove the line breaks that the page's margin made. In Chinese text they would stand within words."""
    lines = [line.strip() for line in text.splitlines()]
    full = FULL_LINE_SHARE * max(map(len, lines), default=0)
    joined = ""
    for line in lines:
        joined += line
        if len(line) < full or line.endswith(SENTENCE_ENDS):
            joined += "\n"
        elif line and line[-1].isascii():
            joined += " "
    return joined.strip()


def _docx(path: Path) -> str:
    try:
        _refuse_zip_bomb(path)
        document = Document(str(path))
        blocks = [
            "\n".join(_table_rows(block)) if isinstance(block, Table) else block.text
            for block in document.iter_inner_content()
            if isinstance(block, Paragraph | Table)
        ]
    except etree.XMLSyntaxError as error:
        text = "its XML is broken, nested too deeply or too large"
        raise ExtractionError(f"The DOCX file cannot be read: {text}") from error
    except _NO_WORD_DOCUMENT as error:
        raise ExtractionError("The DOCX file cannot be read: it is no Word document") from error
    return "\n\n".join(block for block in blocks if block.strip())


def _refuse_zip_bomb(path: Path) -> None:
    """Check how large an archive is when it is unpacked.

    The archive's directory may lie: then `zipfile` gives no more bytes of an entry than the directory says, and what it
    unpacks before that is limited by the memory of the process.

    :raises ExtractionError: if it is larger than `MAX_UNPACKED_BYTES`
    """
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > MAX_UNPACKED_BYTES:
        sizes = f"{unpacked // 1_000_000} MB; the sandbox takes {MAX_UNPACKED_BYTES // 1_000_000} MB"
        raise ExtractionError(f"The DOCX file cannot be read: unpacked it has {sizes} at the most")


def _table_rows(table: Table) -> Iterator[str]:
    """Write a table's rows as Markdown. A cell that is merged with its neighbours is written once in each row.

    `row.cells` of python-docx would do the same in a time that grows with the cube of the number of merged rows.
    """
    above: list[str] = []
    for row in table.rows:
        texts: list[str] = []  # one for each column of the grid
        for cell in row._tr.tc_lst:
            place = len(texts)
            merged = cell.vMerge == "continue" and place < len(above)
            text = above[place] if merged else " ".join(_Cell(cell, table).text.split())
            texts.extend([text] * cell.grid_span)
        above = texts
        yield f"| {' | '.join(text for text, _ in groupby(texts))} |"


_NO_WORD_DOCUMENT = (
    PackageNotFoundError,
    zipfile.BadZipFile,
    zlib.error,
    KeyError,
    ValueError,
    NotImplementedError,  # a compression method that zipfile does not know
    RuntimeError,  # an encrypted archive
)
_EXTRACTORS: dict[str, Callable[[Path], str]] = {
    "txt": _plain,
    "md": _plain,
    "markdown": _plain,
    "mdx": _plain,
    "html": _html,
    "htm": _html,
    "csv": _csv,
    "pdf": _pdf,
    "docx": _docx,
}
EXTENSIONS = tuple(_EXTRACTORS)
"""The extensions that can be uploaded. Dify also takes xlsx, vtt and others; the sandbox refuses them as Dify refuses
exe."""
