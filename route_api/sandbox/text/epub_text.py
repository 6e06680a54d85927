"""Reads EPUB books: a ZIP archive of XHTML pages, whose order the file `.opf` tells."""

import posixpath
import zipfile
from pathlib import Path
from urllib.parse import unquote

from lxml import etree

from .archive import open_archive
from .extraction import ExtractionError
from .html_text import html_text
from .plain_text import decode_text


def extract(path: Path, _extension: str) -> str:
    """Return the text of the pages in their order.

    :raises ExtractionError: if it is no EPUB book
    """
    try:
        with open_archive(path, "epub") as book:
            pages = [html_text(decode_text(book.read(name))) for name in _pages(book)]
    except (KeyError, ValueError, StopIteration, etree.XMLSyntaxError, zipfile.BadZipFile) as error:
        raise ExtractionError("The EPUB file cannot be read: it is no EPUB book, or is encrypted") from error
    return "\n\n".join(page for page in pages if page)


def _pages(book: zipfile.ZipFile) -> list[str]:
    """Return the names of the pages in the archive."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    container = etree.fromstring(book.read("META-INF/container.xml"), parser)
    package_name = next(container.iter("{*}rootfile")).attrib["full-path"]
    package = etree.fromstring(book.read(package_name), parser)
    names = {item.get("id"): item.get("href", "") for item in package.iter("{*}item")}
    spine = (names.get(item.get("idref"), "") for item in package.iter("{*}itemref"))
    folder = posixpath.dirname(package_name)
    return [posixpath.normpath(posixpath.join(folder, unquote(name))) for name in spine if name]
