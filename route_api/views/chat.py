"""`/chat`: a turn under the path of the original system of the API document 000."""

from typing import Any

from flask import Response

from ..access.idempotency import idempotent
from ..errors import KbNotFound
from ..schemas import completion as schemas
from .blueprint import ApiBlueprint
from .turn_answer import TURN_ERRORS, respond

blueprint = ApiBlueprint("chat", __name__, url_prefix="/chat", description="Chat")


@blueprint.route("/chat", methods=["POST"])
@blueprint.arguments(schemas.CompletionWithKb)
@blueprint.response(200, schemas.CompletionWithKbAnswer)
@blueprint.streams(schemas.CompletionWithKbAnswer)
@blueprint.raises(TURN_ERRORS, KbNotFound)
@idempotent
def chat(given: dict[str, Any]) -> Response:
    """Ask the model, with or without a knowledge base. This is the same as `conversation/completion_db`.

    Upstream calls: the same as `conversation/completion_db`.
    """
    return respond(given, has_kb=True)
