"""Listing and switching the chunks of a document, which are Dify's segments, and paging through what a search finds."""

from typing import Any

from ..errors import ChunkNotFound, DifyRejected, DocumentBusy
from ..extensions import dify
from ..schemas.chunk import PAGED_TOP_K
from ..schemas.kb import DEFAULT_TOP_K
from .not_found import document_must_exist, report_missing_as
from .paging import read_page
from .retrieval import find_passages

Json = dict[str, Any]


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
        document = dify.knowledge.get_document(kb_id, doc_id)
        return document, *read_page(fetch, page, size)


def switch_chunks(kb_id: str, doc_id: str, chunk_ids: list[str], action: str) -> None:
    """Enable or disable chunks: with a console login in one call, else with one call of the service API for each chunk.

    :param action: `enable` or `disable`
    :raises KbNotFound: there is no such kb
    :raises DocumentNotFound: the kb has no such document
    :raises ChunkNotFound: the document has no such chunk; with a console login an unknown chunk is skipped instead
        (recorded in tests/contract/ as segments/console-disable-unknown)
    :raises DocumentBusy: Dify is still busy with the last change, after a few seconds of waiting
    """
    try:
        with report_missing_as(ChunkNotFound("The document has none of these chunks, or no longer."), kb_id=kb_id):
            if dify.console.is_configured:
                with document_must_exist(kb_id, doc_id):
                    dify.console.switch_segments(kb_id, doc_id, action, chunk_ids)
                return
            for chunk_id in chunk_ids:
                dify.knowledge.update_segment(kb_id, doc_id, chunk_id, {"enabled": action == "enable"})
    except DifyRejected as error:
        if error.dify_code in ("invalid_action", "invalid_param"):
            raise DocumentBusy(f"Dify cannot {action} the chunks now: {error.message}") from error
        raise
