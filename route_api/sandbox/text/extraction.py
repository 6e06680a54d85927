"""Extracts plain text from uploaded files: which format has which reader.

A reader is a module of this package with a function `extract`. It is imported with the first file of its format, in
the process that prepares the file (`preparation_process`), so that the sandbox starts without the parsers.
"""

from importlib import import_module
from pathlib import Path

_READERS = {
    "plain_text": ("txt", "md", "markdown", "mdx", "properties", "vtt"),
    "html_text": ("html", "htm", "xml"),
    "csv_text": ("csv",),
    "pdf_text": ("pdf",),
    "office_text": ("docx", "doc", "xlsx", "xls", "pptx", "ppt"),
    "epub_text": ("epub",),
    "mail_text": ("eml",),
}
_READER_OF = {extension: reader for reader, extensions in _READERS.items() for extension in extensions}
EXTENSIONS = tuple(_READER_OF)
"""The extensions that can be uploaded: those of Dify, and all but msg that Dify takes with `ETL_TYPE=Unstructured`."""
MAX_CHARACTERS = 20_000_000
"""The longest text that is indexed. A text file of 15 MB, the largest upload, is shorter."""


class ExtractionError(Exception):
    """The text of a file cannot be extracted. The document's field `error` shows the message."""


def extract_text(path: Path, extension: str) -> str:
    r"""Extract the text of a file. Lines end with `\n`; an empty line separates paragraphs and tables.

    Headings and tables are written as in Markdown, and a row of a sheet as Dify does, `column: value;column: value`.
    This can take long and much memory, and the parser of a format can crash: see `preparation_process`.

    :param extension: one of `EXTENSIONS`
    :raises ExtractionError: if the content does not fit the extension, if a file that is not empty has no text, or
    if it has
        more than `MAX_CHARACTERS` of text
    """
    text: str = import_module(f".{_READER_OF[extension]}", __package__).extract(path, extension)
    if len(text) > MAX_CHARACTERS:
        raise ExtractionError(f"The text of the file has more than {MAX_CHARACTERS // 1_000_000} million characters.")
    if not text.strip() and path.stat().st_size:  # Dify takes an empty file as done, without a segment.
        raise ExtractionError(_no_text(extension))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _no_text(extension: str) -> str:
    reasons = {
        "pdf_text": (
            "its pages are pictures, as of a scan, or empty. The"
            " sandbox reads no pictures; run OCR on the file first"
        ),
        "csv_text": "it is blank, or has no row below its header",
        "html_text": "it has only markup, scripts or navigation",
        "plain_text": "it has only blanks",
    }
    reason = reasons.get(_READER_OF[extension], "it is empty, or has only pictures")
    header = " or a header without rows" if extension in ("xlsx", "xls") else ""
    return f"No text was found in the file: {reason}{header}."
