"""`/chunk`: the chunks of documents, which are Dify's segments."""

from typing import Any

from flask import Response

from ..access.callers import admin_required
from ..envelope import success
from ..errors import (
    DIFY_ERRORS,
    ChunkNotFound,
    ConsoleLoginRefused,
    DocumentBusy,
    DocumentNotFound,
    KbNotFound,
)
from ..knowledge import chunks
from ..presenters.chunk import chunk_row, retrieval_result
from ..presenters.document import document_row_from_detail
from ..schemas import chunk as schemas
from .blueprint import ApiBlueprint

blueprint = ApiBlueprint("chunk", __name__, url_prefix="/chunk", description="Chunks and retrieval")

SWITCH_ERRORS = (DIFY_ERRORS, ConsoleLoginRefused, KbNotFound, DocumentNotFound, ChunkNotFound, DocumentBusy)
"""The errors of `knowledge.chunks.switch_chunks`."""


@blueprint.route("/retrieval_test", methods=["POST", "GET"])
@blueprint.arguments(schemas.Retrieval)
@blueprint.response(200, schemas.RetrievalAnswer)
@blueprint.raises(DIFY_ERRORS, KbNotFound, DocumentNotFound)
def retrieve_chunks(asked: dict[str, Any]) -> Response:
    """Search a knowledge base: the passages for a question, best first.

    Dify tells one score for each passage. `similarity`, `term_similarity` and `vector_similarity` in `chunks`, which
    RAGFlow's UI reads, are all this score, from 0 to 1.

    Upstream calls: 1 for up to 250 characters of the question, because Dify takes no more in one search, and 4 at the
    most; one more for each of doc_ids, because Dify filters by a document's name and the name has to be looked up; one
    more for a hybrid search, because its weights must name the kb's embedding model.
    """
    shown, total = chunks.search_chunks(asked)
    return success(retrieval_result(asked["question"], shown, total), "知识库检索成功!")


@blueprint.route("/list", methods=["GET", "POST"])
@blueprint.arguments(schemas.ChunkPage, location="query")
@blueprint.response(200, schemas.ChunkListAnswer)
@blueprint.raises(DIFY_ERRORS, KbNotFound, DocumentNotFound)
def list_chunks(page: dict[str, Any]) -> Response:
    """List the chunks of a document, in the document's order.

    Upstream calls: 2 for up to 100 chunks: one for the chunks and one for the document, which is `doc` in the answer.
    """
    document, segments, total = chunks.list_chunks(
        page["kb_id"], page["doc_id"], page["page"], page["size"], page["keywords"]
    )
    rows = [chunk_row(segment, document["name"]) for segment in segments]
    return success({"chunks": rows, "doc": document_row_from_detail(document, page["kb_id"]), "total": total})


@blueprint.route("/switch", methods=["POST"])
@admin_required
@blueprint.arguments(schemas.ChunkSwitch)
@blueprint.response(200, schemas.ChunkSwitchAnswer)
@blueprint.raises(SWITCH_ERRORS)
def switch_chunks(given: dict[str, Any]) -> Response:
    """Enable or disable chunks. A search does not find disabled ones.

    Upstream calls: with a console login 1 for each 50 chunks; without one, 1 for each chunk.
    """
    action = "enable" if given["available_int"] else "disable"
    chunks.switch_chunks(given["kb_id"], given["doc_id"], given["chunk_ids"], action)
    return success("", f"Chunks {action} successful!")
