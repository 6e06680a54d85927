"""Saving a document's file on this server, below `DOWNLOAD_ROOT` and nowhere else."""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from uuid import uuid4

from ..errors import ValidationFailed

log = logging.getLogger(__name__)


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
                "download_dir must be a folder below the server's DOWNLOAD_ROOT, such as reports/2025."
            )
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValidationFailed("download_dir names a file, not a folder.") from None
    except (OSError, RuntimeError) as error:  # A name of more than 255 bytes, or links that form a loop.
        log.warning("no folder can be made for download_dir: %s", error)
        raise ValidationFailed("download_dir cannot be made on this server; choose another name.") from None
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
        raise ValidationFailed("download_dir has changed meanwhile; try again.") from None
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
