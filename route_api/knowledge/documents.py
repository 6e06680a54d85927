"""Listing, saving, switching and deleting the documents of a knowledge base. `uploads.py` brings new ones in."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import current_app

from ..dify import RemoteFile
from ..errors import ApiError, DifyError, DifyFailed, DifyRejected, DocumentBusy
from ..extensions import dify
from .downloads import folder_below, save_file
from .not_found import document_must_exist, kb_must_exist
from .paging import read_page

Json = dict[str, Any]

log = logging.getLogger(__name__)


def list_documents(kb_id: str, page: int, size: int, keywords: str) -> tuple[list[Json], int]:
    """One page of Dify's documents. Each has the counts of its segments as `segments`: None without a console login.

    :returns: the documents and the number of all that match
    :raises KbNotFound: there is no such kb
    """

    def fetch(number: int, limit: int) -> Json:
        answer = dify.knowledge.list_documents(kb_id, number, limit, keywords or None)
        counts = _segment_counts(kb_id, number, limit, keywords or None) if answer["data"] else {}
        return {**answer, "data": [{**row, "segments": counts.get(row["id"])} for row in answer["data"]]}

    with kb_must_exist(kb_id):
        return read_page(fetch, page, size)


def _segment_counts(kb_id: str, page: int, limit: int, keyword: str | None) -> Json:
    """The console's documents by id. Only the console tells how many segments a document has.

    :returns: empty without a console login and if the console fails: a list without counts is better than none
    """
    if not dify.console.is_configured:
        return {}
    try:
        answer = dify.console.list_documents(kb_id, page, limit, keyword)
    except DifyError as error:
        log.warning("document/list goes without chunk counts: %s", error.message)
        return {}
    return {document["id"]: document for document in answer["data"]}


def save_document(kb_id: str, document_id: str, download_dir: str) -> tuple[Json, Path]:
    """Save a document's file on this server, below DOWNLOAD_ROOT. The file may be as large as Dify says that it is.

    The folder has the ids of the kb and of the document in its path, because two documents may have files of one name.

    :param download_dir: a folder below DOWNLOAD_ROOT
    :returns: Dify's description of the file, and the full path
    :raises KbNotFound: there is no such kb
    :raises DocumentNotFound: the kb has no such document
    :raises ValidationFailed: the folder is not below DOWNLOAD_ROOT, or cannot be made
    :raises DifyError: the file could not be read whole; nothing is saved
    """
    root: Path = current_app.config["DOWNLOAD_ROOT"]
    folder_below(root, download_dir)  # Before Dify is asked, because Dify need not be asked in vain.
    with document_must_exist(kb_id, document_id):
        info = dify.files.describe(kb_id, document_id)
        file = dify.files.open_file(info)
    try:
        folder = folder_below(root, f"{download_dir}/{kb_id}/{document_id}".lstrip("/"))
        chunks = _at_most(info.get("size"), file.chunks())
        path = save_file(root, folder, info.get("name") or file.name or document_id, chunks)
    finally:
        file.close()
    return info, path


def _at_most(size: Any, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces of a file, which may have no more bytes than Dify says. A file without an end would fill the disk."""
    received = 0
    for chunk in chunks:
        received += len(chunk)
        if isinstance(size, int) and received > size:
            raise DifyFailed(f"Dify sends more than the {size} bytes that the file has.")
        yield chunk


def open_document(kb_id: str, document_id: str) -> RemoteFile:
    """Open a document's file on Dify.

    :raises KbNotFound: there is no such kb
    :raises DocumentNotFound: the kb has no such document
    """
    with document_must_exist(kb_id, document_id):
        return dify.files.open_file(dify.files.locate(kb_id, document_id))


def read_and_close(file: RemoteFile, begin: int = 0, end: int | None = None) -> Iterator[bytes]:
    """A part of a file in pieces. The connection to Dify is closed at its end, and if the reader stops early.

    Two pieces are read at once, so that an error in them is raised here, where it can still become an answer. A later
    error is raised by the iterator; gunicorn then closes the connection, and the caller notices that bytes are missing.

    :param begin: the first byte of the part. All bytes before it are read too
    :param end: the first byte after the part; None: the part has the rest of the file
    :raises DifyError: Dify broke the connection, or fell silent, before the end of the first two pieces
    """
    reading = _read_ahead(file, begin, end)
    next(reading)
    return reading


def _read_ahead(file: RemoteFile, begin: int, end: int | None) -> Iterator[bytes]:
    try:
        chunks = _part(file.chunks(), begin, end)
        piece, following = next(chunks, b""), next(chunks, b"")
        yield b""  # For `read_and_close`, which starts the generator.
        while piece:
            yield piece
            piece, following = following, next(chunks, b"")
    except DifyError as error:
        log.warning("the download of a file broke off: %s", error.message)
        raise
    finally:
        file.close()


def _part(chunks: Iterator[bytes], begin: int, end: int | None) -> Iterator[bytes]:
    """The bytes from `begin` on, up to the one before `end`."""
    position = 0
    for chunk in chunks:
        piece = chunk[max(0, begin - position) : None if end is None else end - position]
        position += len(chunk)
        if piece:
            yield piece
        if end is not None and position >= end:
            return


def remove_documents(kb_id: str, document_ids: list[str]) -> None:
    """Delete documents one after the other, and stop at the first that fails.

    :raises ApiError: one failed; the error's `data` are the ids deleted before
    """
    removed: list[str] = []
    for document_id in document_ids:
        try:
            with document_must_exist(kb_id, document_id):
                dify.knowledge.delete_document(kb_id, document_id)
        except ApiError as error:
            error.data = removed or None
            raise
        removed.append(document_id)


def switch_documents(kb_id: str, document_ids: list[str], action: str) -> None:
    """Enable or disable documents.

    Dify answers with success for a document that it does not know (recorded in tests/contract/ as
    documents/status-unknown-document), so each is read first.

    :param action: `enable` or `disable`
    :raises KbNotFound: there is no such kb
    :raises DocumentNotFound: the kb lacks one of the documents; none was switched
    :raises DocumentBusy: Dify is still indexing or switching one of them
    """
    for document_id in document_ids:
        with document_must_exist(kb_id, document_id):
            dify.knowledge.get_document(kb_id, document_id)
    try:
        with kb_must_exist(kb_id):
            dify.knowledge.set_document_status(kb_id, action, document_ids)
    except DifyRejected as error:
        if error.dify_code == "invalid_action":
            raise DocumentBusy(f"Dify cannot {action} the document now: {error.message}") from error
        raise
