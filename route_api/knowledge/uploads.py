"""Uploading files into a knowledge base: names that overwrite nothing, and errors that say what was wrong."""

import os
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
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
from ..presenters.document import file_extension, upload_file_of, uploaded_document
from .not_found import kb_must_exist
from .paging import DIFY_MAX_LIMIT

Json = dict[str, Any]

FORBIDDEN_CHARACTERS = '/\\:*?"<>|'
"""Dify refuses a file name with one of these (tests/contract/README.md, 16)."""

MAX_STEM_LENGTH = 200
"""Dify cuts a file name to this many characters before its extension (tests/contract/README.md, 16)."""

MAX_NUMBER_LENGTH = 8
"""Characters that we keep free for the number in `name(1).txt`, brackets included."""

MB = 1024 * 1024

DIFY_DEFAULT_LIMIT_MB = 15
"""The default of Dify's UPLOAD_FILE_SIZE_LIMIT (tests/contract/FINDINGS.md, i)."""

CLOCK_DIFFERENCE_S = 300
"""Seconds by which Dify's clock may differ from ours."""

FATAL_ERRORS = (DifyUnreachable, DifyTimeout, DifyAuthFailed)
"""Errors that end an upload of several files: the remaining files would fail in the same way, each after a wait."""


def upload_files(
    kb_id: str, files: Iterable[FileStorage], on_duplicate: str, data: Json, first_tried_at: datetime | None = None
) -> list[Json]:
    """Upload files one after the other. A file that fails does not undo the others.

    :param data: what :func:`create_by_file_data` has returned
    :param first_tried_at: in UTC, if an earlier upload with the same Idempotency-Key failed or was interrupted. The
        files that Dify got from it are not uploaded again.
    :returns: the rows of `document/upload`
    :raises ApiError: the only file failed, or all files failed with the same error
    :raises UploadFailed: some files failed; its data are the rows of the others
    """
    arrived = ArrivedDocuments(kb_id, first_tried_at) if first_tried_at else None
    uploaded: list[Json] = []
    failures: list[tuple[str, ApiError]] = []
    for file in files:
        name = file_name(file)
        if failures and isinstance(failures[-1][1], FATAL_ERRORS):
            failures.append((name, failures[-1][1]))
            continue
        try:
            row = arrived and arrived.find(file, name) or upload_file(kb_id, file, name, on_duplicate, data)
            if arrived:
                arrived.assigned.add(row["id"])
            uploaded.append(row)
        except ApiError as error:
            failures.append((name, error))
    if failures:
        raise combined_error(failures, uploaded)
    return uploaded


def upload_file(kb_id: str, file: FileStorage, name: str, on_duplicate: str, data: Json) -> Json:
    """Upload one file. By itself Dify would overwrite a document of the same name (tests/contract/README.md, 13).

    Upstream calls: two; three if the name is used already; one if `on_duplicate` is `replace`.

    :param on_duplicate: `rename`, `reject` or `replace`
    :returns: a row of `document/upload`
    """
    check_file_name(name)
    size = file_size(file)
    with kb_must_exist(kb_id):
        if on_duplicate != "replace":
            name = unused_name(kb_id, name, rename=on_duplicate == "rename")
        try:
            created = dify.knowledge.create_document_by_file(
                kb_id, name, file.mimetype or "application/octet-stream", file.stream, size, data
            )
        except DifyRejected as error:
            raise explain_rejection(error, name, size) from error
    return uploaded_document(created, kb_id)


def combined_error(failures: list[tuple[str, ApiError]], uploaded: list[Json]) -> ApiError:
    """Build one error for all failed files. Its message has a line `name: reason` for each, as RAGFlow's UI reads it.

    :param uploaded: the rows of the files that did not fail; they become the error's data
    """
    lines = "\n".join(f"{name}: {error.message}" for name, error in failures)
    first = failures[0][1]
    are_alike = all(type(error) is type(first) for _, error in failures)
    combined = UploadFailed(lines, data=uploaded or None)
    if are_alike and not uploaded:
        combined.status, combined.code, combined.retry_after = first.status, first.code, first.retry_after
    return combined


def file_name(file: FileStorage) -> str:
    """Return the client's name of a file, without the folders that some browsers put before it."""
    return PurePath((file.filename or "").replace("\\", "/")).name


def check_file_name(name: str) -> None:
    """Refuse a name that Dify would refuse, with a reason, which Dify does not give.

    :raises ValidationFailed: the name is empty, or has a character that Dify refuses
    """
    if not name.strip() or name in (".", ".."):
        raise ValidationFailed("file must have a name, such as report.pdf.")
    wrong = sorted({character for character in name if character in FORBIDDEN_CHARACTERS or ord(character) < 32})
    if wrong:
        raise ValidationFailed(f"A file name must not hold {' '.join(map(repr, wrong))}; rename the file.")


def file_size(file: FileStorage) -> int:
    """Return the size of an uploaded file in bytes. werkzeug keeps a small file in memory and a large one on disk."""
    size = file.stream.seek(0, os.SEEK_END)
    file.stream.seek(0)
    return size


def unused_name(kb_id: str, name: str, *, rename: bool) -> str:
    """Find a name that no document of the kb has.

    :returns: `name` as Dify would cut it; if the kb has it already, `name(1).txt` and so on, as in RAGFlow
    :raises DocumentNameTaken: the kb has the name and `rename` is false
    """
    path = PurePath(name)
    stem, suffix = path.stem[:MAX_STEM_LENGTH], path.suffix
    name = stem + suffix
    if name not in document_names_containing(kb_id, name):
        return name
    if not rename:
        raise DocumentNameTaken(
            f"The knowledge base has a document named '{name}' already; on_duplicate may be rename or replace."
        )
    stem = stem[: MAX_STEM_LENGTH - MAX_NUMBER_LENGTH]
    used = set(document_names_containing(kb_id, f"{stem}("))
    number = 1
    while (candidate := f"{stem}({number}){suffix}") in used:
        number += 1
    return candidate


def document_names_containing(kb_id: str, text: str) -> Iterator[str]:
    """Read the names of the kb's documents that contain `text`."""
    return (document["name"] for document in documents_containing(kb_id, text))


def documents_containing(kb_id: str, text: str) -> Iterator[Json]:
    """Read the kb's documents whose names contain `text`.

    Other documents may come too, because `%` and `_` in `text` are wildcards for Dify.
    """
    page, total = 1, 1
    while (page - 1) * DIFY_MAX_LIMIT < total:
        answer = dify.knowledge.list_documents(kb_id, page, DIFY_MAX_LIMIT, text)
        total = answer["total"]
        yield from answer["data"]
        if not answer["data"]:  # The list has become shorter meanwhile.
            break
        page += 1


class ArrivedDocuments:
    """The documents that Dify got from an earlier upload with the same Idempotency-Key.

    That upload failed, for example because the connection broke while Dify was answering, so nobody knows whether Dify
    has its files. A document is one of them if it was created since, has the file's name, perhaps with a number, and
    has the file's content.

    :ivar assigned: the ids of documents that belong to other files of the request
    """

    def __init__(self, kb_id: str, first_tried_at: datetime) -> None:
        self._kb_id = kb_id
        self._created_from = first_tried_at.replace(tzinfo=UTC).timestamp() - CLOCK_DIFFERENCE_S
        self.assigned: set[str] = set()

    def find(self, file: FileStorage, name: str) -> Json | None:
        """Find the document of a file.

        Upstream calls: one for the list, and two to compare the content of each document of the same name and size.

        :returns: a row of `document/upload`; its `batch` is empty, because Dify tells it only in the answer to the
            upload. None if Dify does not have the file.
        """
        path, size = PurePath(name), file_size(file)
        stem, suffix = path.stem[:MAX_STEM_LENGTH], re.escape(path.suffix)
        numbered_stem = stem[: MAX_STEM_LENGTH - MAX_NUMBER_LENGTH]
        is_name = re.compile(rf"(?:{re.escape(stem)}|{re.escape(numbered_stem)}\(\d+\)){suffix}").fullmatch
        with kb_must_exist(self._kb_id):
            documents = list(documents_containing(self._kb_id, numbered_stem))
        for document in documents:
            if (
                is_name(document["name"])
                and document["id"] not in self.assigned
                and (document.get("created_at") or 0) >= self._created_from
                and upload_file_of(document).get("size") == size
                and self._has_content_of(file, document["id"])
            ):
                return uploaded_document({"document": document, "batch": ""}, self._kb_id)
        return None

    def _has_content_of(self, file: FileStorage, document_id: str) -> bool:
        """Whether a document has the content of the file. If Dify does not hand out its content, the name, the size and
        the time decide alone."""
        try:
            remote = dify.files.open_file(dify.files.locate(self._kb_id, document_id))
        except DifyError:
            return True
        try:
            return all(file.stream.read(len(piece)) == piece for piece in remote.chunks()) and not file.stream.read(1)
        finally:
            remote.close()
            file.stream.seek(0)


def explain_rejection(error: DifyRejected, name: str, size: int) -> ApiError:
    """Find out why Dify rejected a file.

    Dify gives the same empty message for a type that it does not take and for a file over its limit
    (tests/contract/README.md, 3).

    :param size: of the file, in bytes
    :returns: the error that says so; `error` itself if Dify gave a reason
    """
    if error.dify_status == 413 or error.unexplained:
        limit_mb = file_size_limit_mb()
        if size > limit_mb * MB:
            limit = f"{limit_mb:g} MB, which is {limit_mb * MB:,.0f} bytes"
            return FileTooLarge(f"The file has {size:,} bytes; Dify takes {limit}, at the most.")
        if error.dify_status == 413:
            return FileTooLarge(f"The file has {size:,} bytes, which is more than a server in front of Dify accepts.")
    if error.unexplained or error.dify_code == "unsupported_file_type":
        return FileTypeNotSupported(f"Dify does not take files of the type '{file_extension(name)}'.")
    return error


def file_size_limit_mb() -> float:
    """Return Dify's limit for a file in MB: from its console, or the default if we cannot ask the console."""
    try:
        return float(dify.console.upload_limits()["file_size_limit"])
    except DifyError:
        return DIFY_DEFAULT_LIMIT_MB


def create_by_file_data(parameters: Json) -> Json:
    """Build the `data` of Dify's create-by-file from the validated parameters of `document/upload`."""
    process_rule: Json = {"mode": parameters["mode"]}
    if parameters["mode"] == "custom":
        process_rule["rules"] = {
            "pre_processing_rules": [
                {"id": "remove_extra_spaces", "enabled": True},
                {"id": "remove_urls_emails", "enabled": False},
            ],
            "segmentation": {key: parameters[key] for key in ("separator", "max_tokens", "chunk_overlap")},
        }
    return {
        "indexing_technique": parameters["indexing_technique"],
        "doc_form": parameters["doc_form"],
        "doc_language": parameters["doc_language"],
        "process_rule": process_rule,
    }
