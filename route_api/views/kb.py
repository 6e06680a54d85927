"""`/kb`: knowledge bases, which are Dify's datasets."""

from typing import Any

from flask import Response

from ..access.callers import admin_required
from ..access.idempotency import failed_before_at, idempotent
from ..envelope import success
from ..errors import DIFY_ERRORS, KbNameTaken, KbNotFound
from ..extensions import dify
from ..knowledge import kbs
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

    Upstream calls: 1 for up to 100 rows. For more rows, 1 for each 100, and more while rows are missing.
    """
    datasets, total = kbs.list_kbs(page["page"], page["page_size"], page["keywords"])
    return success({"kbs": [kb_row(dataset) for dataset in datasets], "total": total})


@blueprint.route("/create", methods=["POST"])
@admin_required
@blueprint.arguments(schemas.KbCreate)
@blueprint.response(200, schemas.KbCreateAnswer)
@blueprint.raises(DIFY_ERRORS, KbNameTaken)
@idempotent
def create_kb(wanted: dict[str, Any]) -> Response:
    """Create a knowledge base.

    Upstream calls: 1. After a failure, a repeat with the same Idempotency-Key makes 2 if Dify had created it.
    """
    dataset, sent = kbs.create_kb(wanted, failed_before_at())
    return success(kb_created(dataset), "The knowledge base was created.", params=sent)


@blueprint.route("/detail", methods=["GET", "POST"])
@blueprint.arguments(schemas.KbId, location="query")
@blueprint.response(200, schemas.KbDetailAnswer)
@blueprint.raises(DIFY_ERRORS, KbNotFound)
def get_kb(given: dict[str, str]) -> Response:
    """Describe one knowledge base.

    Upstream calls: 1.
    """
    with kb_must_exist(given["kb_id"]):
        return success(kb_detail(dify.knowledge.get_dataset(given["kb_id"])))


@blueprint.route("/update", methods=["POST"])
@admin_required
@blueprint.arguments(schemas.KbUpdate)
@blueprint.response(200, schemas.KbUpdateAnswer)
@blueprint.raises(DIFY_ERRORS, KbNotFound, KbNameTaken)
def update_kb(wanted: dict[str, Any]) -> Response:
    """Change a knowledge base. Parameters that are left out keep their values.

    Upstream calls: 2. Dify 1.8.1 deletes the retrieval settings that an update leaves out, so they are read, merged and
    all sent.
    """
    return success(kb_updated(kbs.update_kb(wanted)))


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
    return success(f"delete DB {kb_id} true", "The knowledge base was deleted.")
