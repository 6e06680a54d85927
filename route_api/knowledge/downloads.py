"""Saving a document's file on this server: under `DOWNLOAD_ROOT`, and nowhere else."""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from uuid import uuid4

from ..errors import ValidationFailed

log = logging.getLogger(__name__)


def folder_below(root: Path, wanted: str) -> Path:
    """The folder that `download_dir` means, created if need be.

    :raises ValidationFailed: it is not below `root`, links followed
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
    except (OSError, RuntimeError) as error:  # A name of more than 255 bytes, or links that lead in a circle.
        log.warning("no folder can be made for download_dir: %s", error)
        raise ValidationFailed("download_dir cannot be made on this server; choose another name.") from None
    return folder


def save_file(root: Path, folder: Path, name: str, chunks: Iterable[bytes]) -> Path:
    """Write a file whole or not at all; an older file of the same name is replaced.

    :param folder: what `folder_below` has found below `root`
    :param name: as Dify has it; of a path in it only the last part counts
    :raises ValidationFailed: a part of the folder has become a link since then
    """
    target, part = safe_name(name), f".download-{uuid4().hex}"
    with _opened(root.resolve(), folder) as within:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=within)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
            os.replace(part, target, src_dir_fd=within, dst_dir_fd=within)
        except BaseException:
            os.unlink(part, dir_fd=within)
            raise
    return folder / target


@contextmanager
def _opened(root: Path, folder: Path) -> Iterator[int]:
    """A descriptor of the folder, reached from the root without following links: whoever puts one into the way after
    `folder_below` has looked is too late."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in folder.relative_to(root).parts:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
    except OSError:
        os.close(descriptor)
        raise ValidationFailed("download_dir has changed meanwhile; try again.") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def safe_name(name: str) -> str:
    """A name without folders and control characters, of a length that file systems take (255 bytes)."""
    last = PurePath(name.replace("\\", "/")).name
    printable = "".join(character for character in last if character.isprintable())
    path = PurePath(printable if printable.strip(". ") else "document")
    room = 255 - len(path.suffix.encode()[:50])
    return path.stem.encode()[:room].decode(errors="ignore") + path.suffix[:50]
