"""The service API's routes of completion apps: one answer to the inputs, without a conversation."""

from flask import Blueprint, Response, g, request

from ..apps.app_access import require_app
from ..apps.app_table import config_of
from ..apps.end_user_table import end_user_id
from ..model.generation import stop_generation
from ..request_fields import RequestFields
from ..store import current_store
from .attached_files import checked_files
from .chat_answer import Question, answer_question, owner_of_task, response_mode_of

blueprint = Blueprint("completions", __name__)


@blueprint.post("/v1/completion-messages")
@require_app("json", mode="completion")
def complete() -> Response:
    """Answer the prompt with its inputs. A `query` beside them is optional."""
    body = RequestFields("CompletionRequestPayload", request.get_json())
    inputs, query = body.mapping("inputs"), body.text("query") if "query" in body.fields else ""
    response_mode = response_mode_of(body)
    config = config_of(g.app)
    files = checked_files(current_store(), config, body.optional_mappings("files"), end_user_id(g.app["id"], g.user))
    question = Question(
        app=g.app,
        source="api",
        user=g.user,
        query=query.replace("\0", ""),
        inputs=inputs,
        config=config,
        files=files,
    )
    return answer_question(question, response_mode)


@blueprint.post("/v1/completion-messages/<task_id>/stop")
@require_app("json", mode="completion")
def stop(task_id: str) -> dict[str, str]:
    """Stop an answer of the same user. The answer is always success."""
    stop_generation(task_id, owner_of_task(g.app["id"], "api", g.user))
    return {"result": "success"}
