"""`/llm`: the models of the Dify workspace."""

from flask import Response

from ..envelope import success
from ..errors import DIFY_ERRORS
from ..extensions import dify
from ..presenters.model import provider_row
from ..schemas import model as schemas
from .blueprint import ApiBlueprint

blueprint = ApiBlueprint("llm", __name__, url_prefix="/llm", description="Models")


@blueprint.route("/my_llms", methods=["GET", "POST"])
@blueprint.arguments(schemas.ModelType, location="query")
@blueprint.response(200, schemas.ModelListAnswer)
@blueprint.raises(DIFY_ERRORS)
def list_models(given: dict[str, str]) -> Response:
    """List the models of a type, grouped by provider.

    Upstream calls: 1.
    """
    providers = dify.knowledge.list_models(given["model_type"])["data"]
    return success([provider_row(provider) for provider in providers], "Get models successful!")
