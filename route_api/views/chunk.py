"""`/chunk`: passages, Dify's segments."""

from typing import Any

from flask import Response

from .. import presenters
from ..access.callers import administrators
from ..envelope import success
from ..errors import (
    DIFY_ERRORS,
    ChunkNotFound,
    ConsoleLoginRefused,
    DifyRejected,
    DocumentBusy,
    DocumentNotFound,
    KbNotFound,
)
from ..extensions import dify
from ..knowledge.not_found import document_must_exist, missing_is
from ..knowledge.paging import read_page
from ..knowledge.retrieval import DEFAULT_TOP_K, PAGED_TOP_K, find_passages
from ..schemas import chunk as schemas
from .parameters import ResourceBlueprint

blueprint = ResourceBlueprint("chunk", __name__, url_prefix="/chunk", description="Chunks and retrieval")

SWITCH_ERRORS = (DIFY_ERRORS, ConsoleLoginRefused, KbNotFound, DocumentNotFound, ChunkNotFound, DocumentBusy)
"""What `set_availability` may raise."""


@blueprint.route("/retrieval_test", methods=["POST", "GET"])
@blueprint.arguments(schemas.Retrieval)
@blueprint.response(200, schemas.RetrievalAnswer)
@blueprint.raises(DIFY_ERRORS, KbNotFound, DocumentNotFound)
def retrieve_chunks(asked: dict[str, Any]) -> Response:
    """The passages that a question finds, best first.

    Upstream calls: 1; one more for each 250 characters of a long question (4 at the most), since Dify takes no more;
    one more for each of doc_ids, since Dify filters by name (FINDINGS e); one more for a hybrid search, whose weights
    must name the kb's embedding model.
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
    shown = records[(asked["page"] - 1) * size : asked["page"] * size]
    return success(presenters.retrieval(asked["question"], shown, len(records)))


@blueprint.route("/list", methods=["GET", "POST"])
@blueprint.arguments(schemas.ChunkPage, location="query")
@blueprint.response(200, schemas.ChunkListAnswer)
@blueprint.raises(DIFY_ERRORS, KbNotFound, DocumentNotFound)
def list_chunks(page: dict[str, Any]) -> Response:
    """The chunks of a document, in its order.

    Upstream calls: 2 for up to 100 chunks. Dify's list of segments does not name their document, whose row is `doc`.
    """
    kb_id, doc_id, keyword = page["kb_id"], page["doc_id"], page["keywords"] or None

    def fetch(number: int, limit: int) -> Any:
        return dify.knowledge.list_segments(kb_id, doc_id, number, limit, keyword)

    with document_must_exist(kb_id, doc_id):
        document = dify.knowledge.get_document(kb_id, doc_id)
        segments, total = read_page(fetch, page["page"], page["size"])
    chunks = [presenters.chunk_row(segment, document["name"]) for segment in segments]
    return success({"chunks": chunks, "doc": presenters.chunk_document(document, kb_id), "total": total})


@blueprint.route("/switch", methods=["POST"])
@administrators
@blueprint.arguments(schemas.ChunkSwitch)
@blueprint.response(200, schemas.ChunkSwitchAnswer)
@blueprint.raises(SWITCH_ERRORS)
def switch_chunks(given: dict[str, Any]) -> Response:
    """Let chunks be found, or not.

    Upstream calls: with a console login 1 for each 50 chunks; without one, 1 for each chunk.
    """
    action = "enable" if given["available_int"] else "disable"
    set_availability(given["kb_id"], given["doc_id"], given["chunk_ids"], action)
    return success("", f"Chunks {action} successful!")


def set_availability(kb_id: str, doc_id: str, chunk_ids: list[str], action: str) -> None:
    """Enable or disable chunks: the console does it in one call, the service API chunk by chunk.

    :raises ChunkNotFound: told by the service API only; the console skips an unknown chunk
        (segments/console-disable-unknown)
    :raises DocumentBusy: Dify is still busy with the last change, after a few seconds of waiting
    """
    try:
        with missing_is(ChunkNotFound("The document has none of these chunks, or no longer."), kb_id=kb_id):
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
