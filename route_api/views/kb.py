"""`/kb`: knowledge bases, which are Dify's datasets."""

from typing import Any

from flask import Response

from ..access.callers import admin_required
from ..access.idempotency import failed_before_at, idempotent
from ..envelope import success
from ..errors import DIFY_ERRORS, ConsoleLoginRefused, KbNameTaken, KbNotFound, NotSupported
from ..extensions import dify
from ..knowledge import kbs
from ..knowledge.kb_counts import kb_counts
from ..knowledge.not_found import kb_must_exist
from ..presenters.kb import kb_created, kb_detail, kb_row, kb_updated
from ..schemas import kb as schemas
from ..schemas.base import Page
from .blueprint import ApiBlueprint

blueprint = ApiBlueprint("kb", __name__, url_prefix="/kb", description="Knowledge bases")


@blueprint.route("/list", methods=["GET", "POST"])
@blueprint.arguments(Page, location="query")
@blueprint.response(200, schemas.KbListAnswer)
@blueprint.raises(DIFY_ERRORS)
def list_kbs(page: dict[str, Any]) -> Response:
    """List the knowledge bases, newest first.

    Dify 1.8.1 gives knowledge bases that were created within the same second in another order with each call. If there
    are several, as after a script, pages of up to 100 rows may lose some of them and repeat others. With a `page_size`
    over 100 none is lost. Newer versions of Dify have no such fault.

    `token_num` is the number of characters, because Dify does not count the tokens of a knowledge base; `token_num` of
    `document/list` are tokens. `chunk_num` is the number of chunks of all documents. Dify's console tells it, so it is
    0 without a console login.

    Dify counts the chunks of one document after the other, and takes about a millisecond for each. So the gateway keeps
    the number while the kb has the same numbers of documents and of characters, and waits half a second at the most for
    new ones. A kb whose chunks take longer to count has its last number, and in the first list 0.

    Upstream calls: 1 for up to 100 rows. For more rows, 1 for each 100, and more while rows are missing. With a console
    login 1 more for each kb that was changed since its chunks were counted, or has documents in work: they are made one
    after the other.
    """
    datasets, total = kbs.list_kbs(page["page"], page["page_size"], page["keywords"])
    chunks = kb_counts.chunks_of(dify.console, datasets)
    return success({"kbs": [kb_row(dataset, chunks.get(dataset["id"], 0)) for dataset in datasets], "total": total})


@blueprint.route("/create", methods=["POST"])
@admin_required
@blueprint.arguments(schemas.KbCreate)
@blueprint.response(200, schemas.KbCreateAnswer)
@blueprint.raises(DIFY_ERRORS, ConsoleLoginRefused, NotSupported, KbNameTaken)
@idempotent
def create_kb(wanted: dict[str, Any]) -> Response:
    """Create a knowledge base.

    Its name must be new: a second one with the same name is a 409 `kb_name_taken`.

    Upstream calls: 1. One more for `reranking_enable`, and one for `hybrid_search` without an embedding model: the
    workspace's default models are taken then, and Dify tells them in another call. After a failure, a repeat with the
    same Idempotency-Key makes 1 more if Dify had created it.
    """
    dataset, sent = kbs.create_kb(wanted, failed_before_at())
    return success(kb_created(dataset), "按照参数完成DB修正后，完成DB创建！", params=sent)


@blueprint.route("/detail", methods=["GET", "POST"])
@blueprint.arguments(schemas.KbId, location="query")
@blueprint.response(200, schemas.KbDetailAnswer)
@blueprint.raises(DIFY_ERRORS, KbNotFound)
def get_kb(given: dict[str, str]) -> Response:
    """Describe one knowledge base. Its numbers are those of `kb/list`.

    Upstream calls: 1. With a console login 1 more if the kb was changed since its chunks were counted.
    """
    with kb_must_exist(given["kb_id"]):
        dataset = dify.knowledge.get_dataset(given["kb_id"])
    return success(kb_detail(dataset, kb_counts.chunks_of(dify.console, [dataset]).get(dataset["id"], 0)))


@blueprint.route("/update", methods=["POST"])
@admin_required
@blueprint.arguments(schemas.KbUpdate)
@blueprint.response(200, schemas.KbUpdateAnswer)
@blueprint.raises(DIFY_ERRORS, ConsoleLoginRefused, NotSupported, KbNotFound, KbNameTaken)
def update_kb(wanted: dict[str, Any]) -> Response:
    """Change a knowledge base. Parameters that are left out keep their values.

    Upstream calls: 2. Dify 1.8.1 deletes the retrieval settings that an update leaves out, so they are read, merged and
    all sent. One more for each default model of the workspace that the kb needs and lacks, as in `kb/create`. One more
    for its chunks, as in `kb/detail`.
    """
    dataset = kbs.update_kb(wanted)
    return success(kb_updated(dataset, kb_counts.chunks_of(dify.console, [dataset]).get(dataset["id"], 0)))


@blueprint.route("/rm", methods=["POST", "DELETE"])
@admin_required
@blueprint.arguments(schemas.KbId)
@blueprint.response(200, schemas.KbRemoveAnswer)
@blueprint.raises(DIFY_ERRORS, KbNotFound)
def remove_kb(given: dict[str, str]) -> Response:
    """Delete a knowledge base with all its documents.

    Upstream calls: 1.
    """
    kb_id = given["kb_id"]
    with kb_must_exist(kb_id):
        dify.knowledge.delete_dataset(kb_id)
    return success(f"delete DB {kb_id} true", "Delete DB successful!")
