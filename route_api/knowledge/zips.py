"""Several documents' files as one zip, which is written while the files come from Dify. It is never whole in memory.

Dify 1.16.1 makes such zips itself (POST …/documents/download-zip), 1.12.1 only for its console, and 1.8.1 not at all.
The gateway makes them for every version, so that they are the same for each, and begin before the last file is read.
"""

import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from ..dify import RemoteFile, side_by_side
from ..errors import DifyNotFound
from ..extensions import dify
from .document_names import split_extension
from .downloads import logs_broken_download, safe_file_name
from .not_found import document_must_exist

Json = dict[str, Any]

LEVEL = 1
"""zlib's fastest. Most documents are compressed by themselves. Without compression, Java's ZipInputStream would refuse
entries whose size comes after them."""


def locate_documents(kb_id: str, document_ids: list[str]) -> dict[str, Json]:
    """Find the addresses of documents' files, by the documents' ids.

    Upstream calls: one for each document, side by side.

    :raises KbNotFound: there is no such kb
    :raises DocumentNotFound: the kb lacks one of the documents
    """
    found = side_by_side(*(partial(_locate, kb_id, document_id) for document_id in document_ids))
    return dict(zip(document_ids, found, strict=True))


def _locate(kb_id: str, document_id: str) -> Json:
    with document_must_exist(kb_id, document_id):
        return dify.files.locate(kb_id, document_id)


def read_zip(kb_id: str, addresses: dict[str, Json]) -> Iterator[bytes]:
    """The zip in pieces. An entry has the name of the document's file, with a number if another entry has that name.

    The first file is opened at once, so that its error can still become an answer. A later error is raised by the
    iterator; gunicorn then closes the connection, and the caller notices that the zip has no end.

    Upstream calls: one for each document, and two more for one whose address has expired before its turn.

    :param addresses: what :func:`locate_documents` has returned
    :raises DifyError: the first file cannot be opened
    """
    reading = _write_zip(kb_id, addresses)
    next(reading)
    return reading


def _write_zip(kb_id: str, addresses: dict[str, Json]) -> Iterator[bytes]:
    written, used = _Written(), set[str]()
    with logs_broken_download(), ZipFile(written, "w") as archive:  # type: ignore[call-overload]  # It only writes.
        for document_id, address in addresses.items():
            file = _open(kb_id, document_id, address)
            try:
                if not used:
                    yield b""  # For `read_zip`, which starts the generator.
                entry = ZipInfo(_unused(safe_file_name(file.name or document_id), used), time.localtime()[:6])
                entry.compress_type, entry._compresslevel = ZIP_DEFLATED, LEVEL  # type: ignore[attr-defined]
                entry.file_size = file.size or 0
                with archive.open(entry, "w", force_zip64=file.size is None) as target:
                    for chunk in file.chunks():
                        target.write(chunk)
                        if piece := written.take():
                            yield piece
            finally:
                file.close()
    yield written.take()


def _open(kb_id: str, document_id: str, address: Json) -> RemoteFile:
    """Open a file. Its address is valid for a few minutes (tests/contract/README.md, 19); many files take longer."""
    with document_must_exist(kb_id, document_id):
        try:
            return dify.files.open_file(address)
        except DifyNotFound:
            return dify.files.open_file(dify.files.locate(kb_id, document_id))


def _unused(name: str, used: set[str]) -> str:
    """The name, with a number if it is used already. Windows takes capital and small letters for equal."""
    stem, extension = split_extension(name)
    names = (name if number == 0 else f"{stem}({number}){extension}" for number in count())
    unused = next(candidate for candidate in names if candidate.casefold() not in used)
    used.add(unused.casefold())
    return unused


class _Written:
    """The bytes of the zip that were written and not yet sent."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: ZipFile wants this method."""

    def take(self) -> bytes:
        """All bytes since the last call."""
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken
