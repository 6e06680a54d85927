"""Reading documents' files from Dify, and saving them on this server, below `DOWNLOAD_ROOT` and nowhere else."""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any
from uuid import uuid4

from flask import current_app

from ..dify import RemoteFile
from ..errors import DifyError, DifyFailed, ValidationFailed
from ..extensions import dify
from ..languages import Sentence
from .not_found import document_must_exist

log = logging.getLogger(__name__)


def save_document(kb_id: str, document_id: str, download_dir: str) -> tuple[dict[str, Any], Path]:
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
            raise DifyFailed(Sentence("Dify sends more than the {size} bytes that the file has.", size=size))
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
        with logs_broken_download():
            chunks = _part(file.chunks(), begin, end)
            piece, following = next(chunks, b""), next(chunks, b"")
            yield b""  # For `read_and_close`, which starts the generator.
            while piece:
                yield piece
                piece, following = following, next(chunks, b"")
    finally:
        file.close()


@contextmanager
def logs_broken_download() -> Iterator[None]:
    """Log an error of Dify in a download: its answer has begun, so nobody else tells of it."""
    try:
        yield
    except DifyError as error:
        log.warning("the download of a file broke off: %s", error.message)
        raise


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


def folder_below(root: Path, wanted: str) -> Path:
    """Return the folder that `download_dir` names, and create it if it does not exist.

    :param root: the setting DOWNLOAD_ROOT
    :param wanted: the caller's `download_dir`
    :raises ValidationFailed: the folder is not below `root` once links are followed, or cannot be created
    """
    root = root.resolve()
    try:
        folder = (root / wanted).resolve()
        if folder != root and root not in folder.parents:
            raise ValidationFailed(
                Sentence("download_dir must be a folder below the server's DOWNLOAD_ROOT, such as reports/2025.")
            )
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValidationFailed(Sentence("download_dir names a file, not a folder.")) from None
    except (OSError, RuntimeError) as error:  # A name of more than 255 bytes, or links that form a loop.
        log.warning("no folder can be made for download_dir: %s", error)
        raise ValidationFailed(Sentence("download_dir cannot be made on this server; choose another name.")) from None
    return folder


def save_file(root: Path, folder: Path, name: str, chunks: Iterable[bytes]) -> Path:
    """Write a file, whole or not at all; an older file of the same name is replaced.

    :param folder: a folder that :func:`folder_below` has returned for `root`
    :param name: Dify's name of the file; folders in it are ignored
    :returns: the path of the file
    :raises ValidationFailed: a part of the folder has become a link since then
    """
    file_name, temporary_name = safe_file_name(name), f".download-{uuid4().hex}"
    with _open_folder(root.resolve(), folder) as folder_descriptor:
        descriptor = os.open(temporary_name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder_descriptor)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
            os.replace(temporary_name, file_name, src_dir_fd=folder_descriptor, dst_dir_fd=folder_descriptor)
        except BaseException:
            os.unlink(temporary_name, dir_fd=folder_descriptor)
            raise
    return folder / file_name


@contextmanager
def _open_folder(root: Path, folder: Path) -> Iterator[int]:
    """Open a folder, from the root downwards and without following links.

    :func:`folder_below` has checked the links. Somebody could put in another one after that check; the file would then
    be written outside of the root.

    :returns: a file descriptor of the folder
    """
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in folder.relative_to(root).parts:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
    except OSError:
        os.close(descriptor)
        raise ValidationFailed(Sentence("download_dir has changed meanwhile; try again.")) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def safe_file_name(name: str) -> str:
    """Remove folders and control characters from a name, and cut it to 255 bytes, which file systems accept."""
    last = PurePath(name.replace("\\", "/")).name
    printable = "".join(character for character in last if character.isprintable())
    path = PurePath(printable if printable.strip(". ") else "document")
    limit = 255 - len(path.suffix.encode()[:50])
    return path.stem.encode()[:limit].decode(errors="ignore") + path.suffix[:50]
