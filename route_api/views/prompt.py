"""`/prompt`: the prompt templates that a turn can use."""

from dataclasses import asdict

from flask import Response

from ..chat.plan import prompt_templates
from ..envelope import success
from ..schemas import prompt as schemas
from .blueprint import ApiBlueprint
from .parameters import without_parameters

blueprint = ApiBlueprint("prompt", __name__, url_prefix="/prompt", description="Prompt templates")


@blueprint.route("/list", methods=["GET", "POST"])
@blueprint.response(200, schemas.PromptListAnswer)
@without_parameters()
def list_prompts() -> Response:
    """List the prompt templates, in the order of the operator's file. `prompt_name` of a turn selects one.

    Upstream calls: 0.
    """
    return success([asdict(template) for template in prompt_templates.values()])
