"""Listing, switching and deleting the documents of a knowledge base. `uploads.py` brings new ones in,
`downloads.py` reads their files."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from math import ceil
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from ..dify import side_by_side
from ..dify.error_answers import STILL_INDEXING
from ..errors import ApiError, DifyError, DifyNotFound, DifyRejected, DocumentArchived, DocumentBusy
from ..extensions import db, dify
from ..languages import Sentence
from ..storage.document_locks import forget_locks, locks_of, remember_lock
from .kb_counts import kb_counts
from .not_found import document_must_exist, kb_must_exist
from .paging import read_matching_page

Json = dict[str, Any]

log = logging.getLogger(__name__)

SMALL_KB = 100
"""Documents of a kb whose whole status is asked for. It then costs Dify no more than a page of its longest list."""

LOCK_S = 610
"""Seconds from a switch until Dify has forgotten its mark: 600, and some for the time until Dify has set the mark."""


def list_documents(kb_id: str, page: int, size: int, keywords: str) -> tuple[list[Json], int]:
    """One page of Dify's documents. Each has two keys more. `segments` has the counts of its segments, and in a kb of
    up to SMALL_KB documents the times of its processing; it is None without a console login. `locked_until` is the
    time until which Dify refuses to switch it, in seconds since 1970, or None.

    The console's list has the counts of a page. Its status of a whole kb has the times too, so it is asked instead if
    the kb is small. The first time, the size of the kb is in Dify's answer.

    Queries: one.

    :returns: the documents and the number of all that match
    :raises KbNotFound: there is no such kb
    """

    def fetch(number: int, limit: int) -> Json:
        page_of_documents = partial(dify.knowledge.list_documents, kb_id, number, limit, keywords or None)
        page_of_counts = partial(_console_list, kb_id, number, limit, keywords or None)
        size = kb_counts.size_of(kb_id)
        if not dify.console.is_configured:
            answer, counts = page_of_documents(), {}
        elif size is None and not keywords:
            answer = page_of_documents()
            counts = _console_status(kb_id) if answer["total"] <= SMALL_KB else page_of_counts()
        else:
            is_small = size is not None and size <= SMALL_KB
            whole_kb = partial(_console_status, kb_id)
            answer, counts = side_by_side(page_of_documents, whole_kb if is_small else page_of_counts)
        if not keywords:
            kb_counts.note_size(kb_id, answer["total"])
        return {**answer, "data": [{**row, "segments": counts.get(row["id"])} for row in answer["data"]]}

    with kb_must_exist(kb_id):
        rows, total = read_matching_page(fetch, page, size, keywords, lambda document: [document["name"]])
    locks: dict[str, int] = {}
    with _database_may_be_away("document/list goes without the locks of documents"):
        locks = locks_of(db.engine, kb_id)
    return [{**row, "locked_until": locks.get(row["id"])} for row in rows], total


def _console_list(kb_id: str, page: int, limit: int, keyword: str | None) -> Json:
    return _by_id(partial(dify.console.list_documents, kb_id, page, limit, keyword))


def _console_status(kb_id: str) -> Json:
    return _by_id(partial(dify.console.indexing_status, kb_id))


def _by_id(ask: Callable[[], Json]) -> Json:
    """The console's documents by id. Only the console tells how many segments a document has.

    :returns: empty if the console fails: a list without counts is better than none
    """
    try:
        answer = ask()
    except DifyError as error:
        if not isinstance(error, DifyNotFound):  # The other call tells that there is no such kb.
            log.warning("document/list goes without chunk counts: %s", error.message)
        return {}
    return {document["id"]: document for document in answer["data"]}


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
    documents/status-unknown-document) and for an archived one, which no search finds afterwards either. So each is read
    first.

    :param action: `enable` or `disable`
    :raises KbNotFound: there is no such kb
    :raises DocumentNotFound: the kb lacks one of the documents; none was switched
    :raises DocumentArchived: one of the documents is archived; none was switched
    :raises DocumentBusy: Dify is still indexing or switching one of them
    """
    documents = side_by_side(*(partial(get_document, kb_id, document_id) for document_id in document_ids))
    for document in documents:
        if document.get("archived"):
            raise DocumentArchived(document["name"])
    try:
        with kb_must_exist(kb_id):
            dify.knowledge.set_document_status(kb_id, action, document_ids)
    except DifyRejected as error:
        if error.dify_code == "invalid_action":
            raise _busy(kb_id, documents, action, error) from error
        raise
    with _database_may_be_away("a document's lock was not forgotten"):
        forget_locks(db.engine, document_ids)


def _busy(kb_id: str, documents: list[Json], action: str, error: DifyRejected) -> DocumentBusy:
    """The error for a switch that Dify refuses: it is still indexing the document, or the mark of a switch is left.

    Dify first gives the switch to its worker and then marks the document for ten minutes. A worker that is faster than
    that leaves the mark behind (tests/contract/DIFFERENCES-1.16.md, C), and nothing but time removes it. Dify does not
    tell when it ends. The switch has set the document's `updated_at` just before, and no later change set it back.
    """
    refused = Sentence("Dify cannot {action} the document now", action=action)
    switched = [document for document in documents if document.get("indexing_status") == "completed"]
    if error.message != STILL_INDEXING or not switched:
        return DocumentBusy(Sentence("{refused}: {reason}", refused=refused, reason=error.message))
    now = time.time()
    until = max(min(document.get("updated_at") or now, now) for document in switched) + LOCK_S
    if until <= now:
        return DocumentBusy(Sentence("{refused}: {reason}", refused=refused, reason=error.message))
    end = datetime.fromtimestamp(ceil(until), UTC)
    if len(documents) == 1:  # Of several documents Dify does not tell which one it means.
        with _database_may_be_away("a document's lock was not remembered"):
            remember_lock(db.engine, kb_id, documents[0]["id"], end.replace(tzinfo=None))
    return DocumentBusy(
        Sentence(
            "{refused}: it has not finished the last switch, or has left the mark of it behind, which locks a"
            " document for up to ten minutes. Try again now and then; the lock ends at {end:%Y-%m-%dT%H:%M:%SZ} at"
            " the latest.",
            refused=refused,
            end=end,
        ),
        retry_after=min(30, ceil(until - now)),
    )


@contextmanager
def _database_may_be_away(consequence: str) -> Iterator[None]:
    """Let a request go on if our own database fails: what Dify has done or said is more than what we remember of it."""
    try:
        yield
    except SQLAlchemyError as error:
        log.error("%s: %s", consequence, error)


def get_document(kb_id: str, document_id: str) -> Json:
    """Dify's document.

    :raises KbNotFound: there is no such kb
    :raises DocumentNotFound: the kb has no such document
    """
    with document_must_exist(kb_id, document_id):
        document: Json = dify.knowledge.get_document(kb_id, document_id)
    return document
