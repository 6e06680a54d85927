"""Opens the ZIP archives that many formats are, and refuses those that unpack to too much."""

import zipfile
from pathlib import Path

from .extraction import ExtractionError

MAX_UNPACKED_BYTES = 200_000_000
"""An archive of 15 MB can unpack to 15 GB."""


def open_archive(path: Path, extension: str) -> zipfile.ZipFile:
    """Open an archive.

    Its directory may lie: then `zipfile` gives no more bytes of an entry than the directory says, and what a reader
    unpacks before that is limited by the memory of the process.

    :raises ExtractionError: if it is no archive, or is larger than `MAX_UNPACKED_BYTES` when it is unpacked
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise ExtractionError(
            f"The {extension.upper()} file cannot be read: it is damaged, or of another kind"
        ) from error
    unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > MAX_UNPACKED_BYTES:
        archive.close()
        sizes = f"{unpacked // 1_000_000} MB; the sandbox takes {MAX_UNPACKED_BYTES // 1_000_000} MB"
        raise ExtractionError(f"The {extension.upper()} file cannot be read: unpacked it has {sizes} at the most")
    return archive
