"""Files of a few kilobytes that are meant to stop whoever reads them."""

import io
import struct
import zipfile

from docx import Document
from reportlab.pdfgen.canvas import Canvas

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def endless_pdf() -> bytes:
    """A PDF with one page, on which a form stands ten times within a form that stands ten times within a form …"""
    file = io.BytesIO()
    canvas = Canvas(file)
    canvas.beginForm("0")
    canvas.drawString(10, 10, "x" * 50)
    canvas.endForm()
    for level in range(1, 12):
        canvas.beginForm(str(level))
        for _ in range(10):
            canvas.doForm(str(level - 1))
        canvas.endForm()
    canvas.doForm("11")
    canvas.save()
    return file.getvalue()


def docx_with(body: str, **other_files: bytes) -> bytes:
    """A Word document with this XML as its body, and with further files in its archive."""
    empty, file = io.BytesIO(), io.BytesIO()
    Document().save(empty)
    text = f'<?xml version="1.0"?><w:document xmlns:w="{W}"><w:body>{body}</w:body></w:document>'
    with zipfile.ZipFile(empty) as template, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in template.namelist():
            archive.writestr(name, text if name == "word/document.xml" else template.read(name))
        for name, content in other_files.items():
            archive.writestr(name, content)
    return file.getvalue()


def lying_about_sizes(archive: bytes) -> bytes:
    """The same ZIP archive with 1,000 bytes as the unpacked size of each larger entry of its directory."""
    changed = bytearray(archive)
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        place = opened.start_dir
        for entry in opened.infolist():
            place = archive.index(b"PK\x01\x02", place)
            struct.pack_into("<I", changed, place + 24, min(entry.file_size, 1000))
            place += 1
    return bytes(changed)
