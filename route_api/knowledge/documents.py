"""Listing, saving, switching and deleting the documents of a knowledge base. `uploads.py` brings new ones in."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import current_app

from ..dify import RemoteFile
from ..errors import ApiError, DifyError, DifyRejected, DocumentBusy
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
    """Save a document's file on this server, below DOWNLOAD_ROOT.

    :param download_dir: a folder below DOWNLOAD_ROOT
    :returns: Dify's description of the file, and the path relative to the parent of DOWNLOAD_ROOT
    :raises KbNotFound: there is no such kb
    :raises DocumentNotFound: the kb has no such document
    :raises ValidationFailed: the folder is not below DOWNLOAD_ROOT, or cannot be made
    """
    root: Path = current_app.config["DOWNLOAD_ROOT"]
    folder = folder_below(root, download_dir)
    with document_must_exist(kb_id, document_id):
        info = dify.files.describe(kb_id, document_id)
        file = dify.files.open_file(info)
    try:
        path = save_file(root, folder, info.get("name") or file.name or document_id, file.chunks())
    finally:
        file.close()
    return info, path.relative_to(root.resolve().parent)


def open_document(kb_id: str, document_id: str) -> RemoteFile:
    """Open a document's file on Dify.

    :raises KbNotFound: there is no such kb
    :raises DocumentNotFound: the kb has no such document
    """
    with document_must_exist(kb_id, document_id):
        return dify.files.open_file(dify.files.locate(kb_id, document_id))


def read_and_close(file: RemoteFile) -> Iterator[bytes]:
    """The content of a file in pieces. The connection to Dify is closed at the end, and if the reader stops early."""
    try:
        yield from file.chunks()
    finally:
        file.close()


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
