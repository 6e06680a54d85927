"""Uploading files into a knowledge base, and errors that say what was wrong. `document_names.py` chooses the names."""

import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import reduce
from typing import Any

from werkzeug.datastructures import FileStorage

from ..dify.file_names import REFUSAL
from ..errors import (
    ApiError,
    DatabaseUnavailable,
    DifyAuthFailed,
    DifyError,
    DifyFailed,
    DifyNotFound,
    DifyRejected,
    DifyTimeout,
    DifyUnreachable,
    FileTooLarge,
    FileTypeNotSupported,
    KbNotFound,
    UploadFailed,
    ValidationFailed,
)
from ..extensions import dify
from ..languages import Sentence
from ..presenters.document import file_extension, upload_file_of, uploaded_document
from .document_names import (
    claimed_name,
    delete_replaced,
    documents_containing,
    has_lost_letters,
    has_special,
    numbered_stem,
    replaced_name,
    split_extension,
    stored_name,
)
from .not_found import kb_must_exist

Json = dict[str, Any]

MB = 1024 * 1024

DIFY_DEFAULT_LIMIT_MB = 15
"""The default of Dify's UPLOAD_FILE_SIZE_LIMIT (tests/contract/FINDINGS.md, i)."""

CLOCK_DIFFERENCE_S = 300
"""Seconds by which Dify's clock may differ from ours."""

FATAL_ERRORS = (DifyUnreachable, DifyTimeout, DifyAuthFailed, DatabaseUnavailable)
"""Errors that end an upload of several files: the remaining files would fail in the same way, each after a wait."""


class FileNameRefused(DifyRejected):
    """Dify does not take a character of the file's name that other versions of Dify take."""


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
    arrived = ArrivedDocuments(kb_id, first_tried_at, on_duplicate == "replace") if first_tried_at else None
    uploaded: list[Json] = []
    failures: list[tuple[str, ApiError]] = []
    for file in files:
        name = file.filename or ""
        if failures and isinstance(failures[-1][1], FATAL_ERRORS):
            failures.append((name, failures[-1][1]))
            continue
        try:
            name = stored_name(name, takes_special=lambda: dify.knowledge.takes_special_names() is not False)
            try:
                row = arrived and arrived.find(file, name) or upload_file(kb_id, file, name, on_duplicate, data)
            except FileNameRefused:
                name = replaced_name(name)
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

    Upstream calls: two; three if the name is used already, or if the upload replaces a disabled document. One more is
    needed if other uploads of the name run, for each look at a document that Dify is still indexing, and after a 5xx.

    :param name: what :func:`stored_name` has returned
    :param on_duplicate: `rename`, `reject` or `replace`, as in :func:`claimed_name`
    :returns: a row of `document/upload`
    :raises FileNameRefused: Dify does not take a character of the name that other versions take; it has stored nothing
    """
    size, is_uncertain = file_size(file), has_lost_letters(file.filename or "")
    with (
        kb_must_exist(kb_id),
        claimed_name(kb_id, name, on_duplicate, is_uncertain=is_uncertain) as unused_name,
    ):
        try:
            created = dify.knowledge.create_document_by_file(
                kb_id, unused_name, file.mimetype or "application/octet-stream", file.stream, size, data
            )
        except DifyRejected as error:
            if error.message == REFUSAL and has_special(name):
                raise FileNameRefused(error.message) from error
            raise explain_rejection(error, unused_name, size) from error
        except DifyFailed as error:
            if is_deleted(kb_id):
                raise KbNotFound(kb_id) from error
            raise
    return uploaded_document(created, kb_id)


def is_deleted(kb_id: str) -> bool:
    """Whether Dify no longer has a dataset. If it is deleted during an upload, Dify 1.14.2 answers that with a mere 500
    (seen there). Makes one call to Dify."""
    try:
        dify.knowledge.get_dataset(kb_id)
    except DifyNotFound:
        return True
    except DifyError:
        return False
    return False


def combined_error(failures: list[tuple[str, ApiError]], uploaded: list[Json]) -> ApiError:
    """Build one error for all failed files. Its message has a line `name: reason` for each, as RAGFlow's UI reads it.

    :param uploaded: the rows of the files that did not fail; they become the error's data
    """
    lines = reduce(
        lambda lines, line: Sentence("{lines}\n{line}", lines=lines, line=line),
        [
            Sentence("{name}: {reason}", name=name, reason=error.message) if name else error.message
            for name, error in failures
        ],
    )
    first = failures[0][1]
    are_alike = all(type(error) is type(first) for _, error in failures)
    combined = UploadFailed(lines, data=uploaded or None)
    if are_alike and not uploaded:
        combined.status, combined.code, combined.retry_after = first.status, first.code, first.retry_after
    return combined


def file_size(file: FileStorage) -> int:
    """Return the size of an uploaded file in bytes. werkzeug keeps a small file in memory and a large one on disk."""
    size = file.stream.seek(0, os.SEEK_END)
    file.stream.seek(0)
    return size


class ArrivedDocuments:
    """The documents that Dify got from an earlier upload with the same Idempotency-Key.

    That upload failed, for example because the connection broke while Dify was answering, so nobody knows whether Dify
    has its files. A document is one of them if it was created since, has the file's name, perhaps with a number, and
    has the file's content.

    :ivar assigned: the ids of documents that belong to other files of the request
    """

    def __init__(self, kb_id: str, first_tried_at: datetime, replaces: bool) -> None:
        """
        :param replaces: whether the upload replaces documents of the names of its files
        """
        self._kb_id = kb_id
        self._replaces = replaces
        self._created_from = first_tried_at.replace(tzinfo=UTC).timestamp() - CLOCK_DIFFERENCE_S
        self.assigned: set[str] = set()

    def find(self, file: FileStorage, name: str) -> Json | None:
        """Find the document of a file. If it took the place of a disabled document, that one is deleted now, because
        the earlier upload failed before it did so.

        Upstream calls: one for the list, two to compare the content of each document of the same name and size, and one
        for each disabled document.

        :returns: a row of `document/upload`; its `batch` is empty, because Dify tells it only in the answer to the
            upload. None if Dify does not have the file.
        """
        size, stem, extension = file_size(file), numbered_stem(name), split_extension(name)[1]
        is_name = re.compile(rf"{re.escape(name)}|{re.escape(stem)}\(\d+\){re.escape(extension)}").fullmatch
        with kb_must_exist(self._kb_id):
            documents = list(documents_containing(self._kb_id, stem))
        for document in documents:
            if (
                is_name(document["name"])
                and document["id"] not in self.assigned
                and (document.get("created_at") or 0) >= self._created_from
                and upload_file_of(document).get("size") == size
                and self._has_content_of(file, document["id"])
            ):
                if self._replaces and document["name"] == name and document.get("enabled", True):
                    same = [each for each in documents if each["name"] == name and not each.get("archived")]
                    delete_replaced(self._kb_id, [each["id"] for each in same if not each.get("enabled", True)])
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
            return FileTooLarge(
                Sentence(
                    "The file has {size:,} bytes; Dify takes {limit_mb:g} MB, which is {limit:,.0f} bytes, at the"
                    " most.",
                    size=size,
                    limit_mb=limit_mb,
                    limit=limit_mb * MB,
                )
            )
        if error.dify_status == 413:
            return FileTooLarge(
                Sentence(
                    "The file has {size:,} bytes, which is more than a server in front of Dify accepts.", size=size
                )
            )
    if error.unexplained or error.dify_code == "unsupported_file_type":
        return FileTypeNotSupported(
            Sentence("Dify does not take files of the type '{extension}'.", extension=file_extension(name))
        )
    if error.message == REFUSAL:
        return ValidationFailed(
            Sentence("Dify does not take a character of the file name '{name}'; give the file another name.", name=name)
        )
    return error


def file_size_limit_mb() -> float:
    """Return Dify's limit for a file in MB: from its console, or the default if we cannot ask the console."""
    try:
        limits = dify.console.upload_limits()
        return float(limits.get("knowledge_file_size_limit") or limits["file_size_limit"])
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
