"""`/user`: what RAGFlow's clients ask of their tenant."""

from flask import Response

from ..envelope import success
from ..extensions import dify
from ..schemas import model as schemas
from .resource import ResourceBlueprint

blueprint = ResourceBlueprint("user", __name__, url_prefix="/user", description="Users and their workspace")


@blueprint.route("/set_tenant_info", methods=["POST"])
@blueprint.arguments(schemas.DefaultModel)
@blueprint.response(200, schemas.DefaultModelAnswer)
def set_default_model(wanted: dict[str, str]) -> Response:
    """Choose the workspace's default model of a type. Needs a console login.

    Upstream calls: 1, and the console's login or refresh once an hour.
    """
    dify.console.set_default_model(wanted["model_type"], wanted["provider"], wanted["model"])
    return success("", "Set default model successful!")
