"""Listing and switching the chunks of a document, which are Dify's segments, and paging through what a search finds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from ..dify import side_by_side
from ..errors import ChunkNotFound, DifyRejected, DocumentBusy, DocumentNotFound
from ..extensions import dify
from ..languages import Sentence
from ..schemas.chunk import PAGED_TOP_K
from ..schemas.kb import DEFAULT_TOP_K
from .not_found import document_must_exist, report_missing_as
from .paging import read_matching_page
from .retrieval import find_passages

Json = dict[str, Any]

UNFINISHED = frozenset(("waiting", "indexing"))
"""The statuses of a segment that Dify enables when it has indexed it."""


def search_chunks(asked: Json) -> tuple[list[Json], int]:
    """One page of the passages that a question finds, best first.

    :param asked: the checked parameters of `chunk/retrieval_test`
    :returns: Dify's records on this page, and the number of all that were found
    :raises KbNotFound: there is no such kb
    :raises DocumentNotFound: the kb lacks one of `doc_ids`
    """
    settings = {
        "top_k": asked.get("top_k", PAGED_TOP_K if "size" in asked else DEFAULT_TOP_K),
        "score_threshold_enabled": asked["score_threshold_enabled"],
        "score_threshold": asked["similarity_threshold"],
        "weights": asked["vector_similarity_weight"],
    }
    if "search_method" in asked:
        settings["search_method"] = asked["search_method"]
    records = find_passages(asked["kb_id"], asked["question"], settings, asked["doc_ids"])
    size = asked.get("size", len(records))
    return records[(asked["page"] - 1) * size : asked["page"] * size], len(records)


def list_chunks(kb_id: str, doc_id: str, page: int, size: int, keywords: str) -> tuple[Json, list[Json], int]:
    """One page of a document's segments.

    :returns: the document, the segments, and the number of all that match
    :raises KbNotFound: there is no such kb
    :raises DocumentNotFound: the kb has no such document
    """

    def fetch(number: int, limit: int) -> Json:
        return dify.knowledge.list_segments(kb_id, doc_id, number, limit, keywords or None)

    with document_must_exist(kb_id, doc_id):
        calls: tuple[Callable[[], Any], ...] = (
            lambda: dify.knowledge.get_document(kb_id, doc_id),
            lambda: read_matching_page(fetch, page, size, keywords, _texts),
        )
        document, segments = side_by_side(*calls)
    return document, *segments


def _texts(segment: Json) -> list[str | None]:
    """What Dify may search for keywords: the content, the answer, and the keywords, which newer versions search too."""
    return [segment.get("content"), segment.get("answer"), *(segment.get("keywords") or [])]


def switch_chunks(kb_id: str, doc_id: str, chunk_ids: list[str], action: str) -> None:
    """Enable or disable chunks: with a console login in one call, else with one call of the service API for each chunk.

    :param action: `enable` or `disable`
    :raises KbNotFound: there is no such kb
    :raises DocumentNotFound: the kb has no such document
    :raises ChunkNotFound: the document lacks one of the chunks; none was switched
    :raises DocumentBusy: Dify is still busy with the last change, after a few seconds of waiting; or it still indexes a
        chunk that should be disabled, and would enable it at the end
    """
    is_in_one_call = dify.console.is_configured
    if is_in_one_call or len(chunk_ids) > 1:
        # The console skips an unknown chunk and answers with success (recorded in tests/contract/ as
        # segments/console-disable-unknown), and without the console those before it would be switched.
        found = side_by_side(*(partial(_status_of, kb_id, doc_id, chunk_id) for chunk_id in chunk_ids))
        if action == "disable" and not UNFINISHED.isdisjoint(found):
            raise DocumentBusy(Sentence("Dify is still indexing the chunks, and would enable them at the end."))
    try:
        if is_in_one_call:
            with document_must_exist(kb_id, doc_id):
                dify.console.switch_segments(kb_id, doc_id, action, chunk_ids)
            return
        for chunk_id in chunk_ids:
            with _missing_is_told(kb_id, doc_id, chunk_id):
                dify.knowledge.update_segment(kb_id, doc_id, chunk_id, {"enabled": action == "enable"})
    except DifyRejected as error:
        if error.dify_code in ("invalid_action", "invalid_param"):
            raise DocumentBusy(
                Sentence("Dify cannot {action} the chunks now: {reason}", action=action, reason=error.message)
            ) from error
        raise


def _status_of(kb_id: str, doc_id: str, chunk_id: str) -> str:
    with _missing_is_told(kb_id, doc_id, chunk_id):
        return dify.knowledge.segment_status(kb_id, doc_id, chunk_id)


@contextmanager
def _missing_is_told(kb_id: str, doc_id: str, chunk_id: str) -> Iterator[None]:
    """Replace Dify's 404 by the error that names what is missing: the kb, the document or the chunk."""
    try:
        with report_missing_as(ChunkNotFound(chunk_id), kb_id=kb_id):
            yield
    except ChunkNotFound as error:
        if str(error.__cause__).startswith("Document"):
            raise DocumentNotFound(doc_id) from error
        raise
