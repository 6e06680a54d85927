"""Bringing files into a knowledge base: names that do not overwrite, and refusals that say what was wrong."""

import os
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Any

from werkzeug.datastructures import FileStorage

from ..errors import (
    ApiError,
    DifyAuthFailed,
    DifyError,
    DifyRejected,
    DifyTimeout,
    DifyUnreachable,
    DocumentNameTaken,
    FileTooLarge,
    FileTypeNotSupported,
    UploadFailed,
    ValidationFailed,
)
from ..extensions import dify
from ..presenters.document import file_extension, uploaded_document
from .not_found import kb_must_exist
from .paging import DIFY_MAX_LIMIT

Json = dict[str, Any]

FORBIDDEN_IN_NAMES = '/\\:*?"<>|'
"""Dify refuses a file name with one of these (contract README, 16)."""

LONGEST_STEM = 200
"""Dify cuts a name to this many characters before its extension (documents/create-by-file-very-long-name)."""

MB = 1024 * 1024

DIFY_DEFAULT_LIMIT_MB = 15
"""Dify's UPLOAD_FILE_SIZE_LIMIT where the operator left it alone (FINDINGS i)."""

HOPELESS = (DifyUnreachable, DifyTimeout, DifyAuthFailed)
"""After one of these the other files of a request are not tried: they would fail alike, slowly."""


def upload_files(kb_id: str, files: Iterable[FileStorage], on_duplicate: str, settings: Json) -> list[Json]:
    """Upload the files one after the other; a failed one does not undo the others.

    :param settings: Dify's `data` of create-by-file
    :returns: the rows of `document/upload`
    :raises ApiError: the only file failed, or every file in the same way
    :raises UploadFailed: some files failed; its data are the rows of the others
    """
    uploaded: list[Json] = []
    failures: list[tuple[str, ApiError]] = []
    for file in files:
        name = file_name(file)
        if failures and isinstance(failures[-1][1], HOPELESS):
            failures.append((name, failures[-1][1]))
            continue
        try:
            uploaded.append(upload_file(kb_id, file, name, on_duplicate, settings))
        except ApiError as error:
            failures.append((name, error))
    if failures:
        raise failure_of(failures, uploaded)
    return uploaded


def upload_file(kb_id: str, file: FileStorage, name: str, on_duplicate: str, settings: Json) -> Json:
    """Upload one file under a name that keeps the document that has this name already.

    Two upstream calls, three where the name is taken: by itself Dify overwrites (contract README, 13).
    """
    check_file_name(name)
    size = file_size(file)
    with kb_must_exist(kb_id):
        if on_duplicate != "replace":
            name = free_name(kb_id, name, rename=on_duplicate == "rename")
        try:
            created = dify.knowledge.create_document_by_file(
                kb_id, name, file.mimetype or "application/octet-stream", file.stream, size, settings
            )
        except DifyRejected as error:
            raise explained(error, name, size) from error
    return uploaded_document(created, kb_id)


def failure_of(failures: list[tuple[str, ApiError]], uploaded: list[Json]) -> ApiError:
    """One error for all that failed: `name: reason` lines, as RAGFlow's UI reads them."""
    lines = "\n".join(f"{name}: {error.message}" for name, error in failures)
    first = failures[0][1]
    alike = all(type(error) is type(first) for _, error in failures)
    failed = UploadFailed(lines, data=uploaded or None)
    if alike and not uploaded:
        failed.status, failed.code = first.status, first.code
    return failed


def file_name(file: FileStorage) -> str:
    """The name that the client gave, without the folders that some browsers put before it."""
    return PurePath((file.filename or "").replace("\\", "/")).name


def check_file_name(name: str) -> None:
    """Refuse what Dify would refuse, with a reason.

    :raises ValidationFailed: no name, or a character that Dify does not take
    """
    if not name.strip() or name in (".", ".."):
        raise ValidationFailed("file must have a name, such as report.pdf.")
    wrong = sorted({character for character in name if character in FORBIDDEN_IN_NAMES or ord(character) < 32})
    if wrong:
        raise ValidationFailed(f"A file name must not hold {' '.join(map(repr, wrong))}; rename the file.")


def file_size(file: FileStorage) -> int:
    """Bytes of an uploaded file, which werkzeug keeps in memory if small and on disk if not."""
    size = file.stream.seek(0, os.SEEK_END)
    file.stream.seek(0)
    return size


def free_name(kb_id: str, name: str, *, rename: bool) -> str:
    """`name`, or `name(1).txt` and so on if the kb has it, as RAGFlow does.

    :raises DocumentNameTaken: it is taken and `rename` is false
    """
    path = PurePath(name)
    stem, suffix = path.stem[:LONGEST_STEM], path.suffix
    name = stem + suffix
    if name not in names_like(kb_id, name):
        return name
    if not rename:
        raise DocumentNameTaken(
            f"The knowledge base has a document named '{name}' already; on_duplicate may be rename or replace."
        )
    taken = set(names_like(kb_id, f"{stem[: LONGEST_STEM - 8]}("))
    number = 1
    while (candidate := f"{stem[: LONGEST_STEM - 8]}({number}){suffix}") in taken:
        number += 1
    return candidate


def names_like(kb_id: str, part: str) -> Iterator[str]:
    """Names of the kb's documents that contain `part` (and maybe others: `%` and `_` are wildcards to Dify)."""
    page, total = 1, 1
    while (page - 1) * DIFY_MAX_LIMIT < total:
        answer = dify.knowledge.list_documents(kb_id, page, DIFY_MAX_LIMIT, part)
        total = answer["total"]
        yield from (document["name"] for document in answer["data"])
        page += 1


def explained(error: DifyRejected, name: str, size: int) -> ApiError:
    """Why Dify refused a file: a wrong extension and a file over its limit get the same empty message (README, 3)."""
    extension = file_extension(name)
    if error.dify_status == 413 or error.unexplained and size > limit_mb() * MB:
        return FileTooLarge(f"The file has {size / MB:.1f} MB; Dify takes {limit_mb():g} MB at the most.")
    if error.unexplained or error.dify_code == "unsupported_file_type":
        return FileTypeNotSupported(f"Dify does not take files of the type '{extension}'.")
    return error


def limit_mb() -> float:
    """Dify's limit for a file in MB: its console tells; without a login, what it is by default."""
    try:
        return float(dify.console.upload_limits()["file_size_limit"])
    except DifyError:
        return DIFY_DEFAULT_LIMIT_MB


def process_settings(given: Json) -> Json:
    """Dify's `data` of create-by-file, from the checked parameters of `document/upload`."""
    process_rule: Json = {"mode": given["mode"]}
    if given["mode"] == "custom":
        process_rule["rules"] = {
            "pre_processing_rules": [
                {"id": "remove_extra_spaces", "enabled": True},
                {"id": "remove_urls_emails", "enabled": False},
            ],
            "segmentation": {key: given[key] for key in ("separator", "max_tokens", "chunk_overlap")},
        }
    return {
        "indexing_technique": given["indexing_technique"],
        "doc_form": given["doc_form"],
        "doc_language": given["doc_language"],
        "process_rule": process_rule,
    }
