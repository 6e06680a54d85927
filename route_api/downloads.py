"""Saving a document's file on this server: under `DOWNLOAD_ROOT`, and nowhere else."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePath

from .errors import ValidationFailed


def folder_below(root: Path, wanted: str) -> Path:
    """The folder that `download_dir` means, created if need be.

    :raises ValidationFailed: it is not below `root`, links followed
    """
    root = root.resolve()
    folder = (root / wanted).resolve()
    if folder != root and root not in folder.parents:
        raise ValidationFailed("download_dir must be a folder below the server's DOWNLOAD_ROOT, such as reports/2025.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValidationFailed("download_dir names a file, not a folder.") from None
    return folder


def save_file(folder: Path, name: str, chunks: Iterable[bytes]) -> Path:
    """Write a file whole or not at all; an older file of the same name is replaced.

    :param name: as Dify has it; of a path in it only the last part counts
    """
    target = folder / safe_name(name)
    descriptor, part = tempfile.mkstemp(dir=folder, prefix=".download-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
        os.replace(part, target)
    except BaseException:
        os.unlink(part)
        raise
    return target


def safe_name(name: str) -> str:
    """A name without folders and control characters, of a length that file systems take (255 bytes)."""
    last = PurePath(name.replace("\\", "/")).name
    printable = "".join(character for character in last if character.isprintable())
    path = PurePath(printable if printable.strip(". ") else "document")
    room = 255 - len(path.suffix.encode()[:50])
    return path.stem.encode()[:room].decode(errors="ignore") + path.suffix[:50]
