"""`/kb`: knowledge bases, which are Dify's datasets."""

from typing import Any

from flask import Response, current_app

from .. import presenters
from ..access.callers import admin_required
from ..envelope import success
from ..errors import DIFY_ERRORS, KbNameTaken, KbNotFound
from ..extensions import dify
from ..knowledge.dataset_bodies import Embedding, dataset_changes, dataset_to_create
from ..knowledge.not_found import kb_must_exist, kb_name_must_be_free
from ..knowledge.paging import read_page
from ..schemas import kb as schemas
from ..schemas.base import Page
from .blueprint import ApiBlueprint

blueprint = ApiBlueprint("kb", __name__, url_prefix="/kb", description="Knowledge bases")


@blueprint.route("/list", methods=["GET", "POST"])
@blueprint.arguments(Page, location="query")
@blueprint.response(200, schemas.KbListAnswer)
@blueprint.raises(DIFY_ERRORS)
def list_kbs(page: dict[str, Any]) -> Response:
    """The knowledge bases, newest first.

    Upstream calls: 1 for up to 100 rows.
    """
    keywords = page["keywords"]

    def fetch(number: int, limit: int) -> Any:
        return dify.knowledge.list_datasets(number, limit, keywords or None)

    datasets, total = read_page(fetch, page["page"], page["page_size"])
    return success({"kbs": [presenters.kb_row(dataset) for dataset in datasets], "total": total})


@blueprint.route("/create", methods=["POST"])
@admin_required
@blueprint.arguments(schemas.KbCreate)
@blueprint.response(200, schemas.KbCreateAnswer)
@blueprint.raises(DIFY_ERRORS, KbNameTaken)
def create_kb(wanted: dict[str, Any]) -> Response:
    """Create a knowledge base.

    Upstream calls: 1.
    """
    body = dataset_to_create(wanted, configured_embedding())
    with kb_name_must_be_free(wanted["name"]):
        dataset = dify.knowledge.create_dataset(body)
    return success(presenters.kb_created(dataset), "The knowledge base was created.", params=body)


@blueprint.route("/detail", methods=["GET", "POST"])
@blueprint.arguments(schemas.KbId, location="query")
@blueprint.response(200, schemas.KbDetailAnswer)
@blueprint.raises(DIFY_ERRORS, KbNotFound)
def get_kb(given: dict[str, str]) -> Response:
    """One knowledge base.

    Upstream calls: 1.
    """
    with kb_must_exist(given["kb_id"]):
        return success(presenters.kb_detail(dify.knowledge.get_dataset(given["kb_id"])))


@blueprint.route("/update", methods=["POST"])
@admin_required
@blueprint.arguments(schemas.KbUpdate)
@blueprint.response(200, schemas.KbUpdateAnswer)
@blueprint.raises(DIFY_ERRORS, KbNotFound, KbNameTaken)
def update_kb(wanted: dict[str, Any]) -> Response:
    """Change a knowledge base; what is left out stays as it is.

    Upstream calls: 2. Dify 1.8.1 wipes the retrieval settings that a PATCH leaves out (DIFFERENCES 23, 24), so they are
    read, merged and written whole.
    """
    kb_id = wanted["kb_id"]
    with kb_must_exist(kb_id), kb_name_must_be_free(wanted.get("name", "")):
        changes = dataset_changes(wanted, dify.knowledge.get_dataset(kb_id), configured_embedding())
        dataset = dify.knowledge.update_dataset(kb_id, changes)
    return success(presenters.kb_updated(dataset))


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


def configured_embedding() -> Embedding:
    """The embedding model of the settings."""
    model, provider = current_app.config["DIFY_EMBEDDING_MODEL"], current_app.config["DIFY_EMBEDDING_PROVIDER"]
    return (model, provider) if model else None
