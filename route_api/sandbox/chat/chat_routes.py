"""The service API's chat routes: ask a question, and stop a running answer."""

import json
from sqlite3 import Row

from flask import Blueprint, Response, g, request

from ..apps.app_access import require_app
from ..apps.app_table import config_of
from ..apps.end_user_table import end_user_id
from ..errors import SandboxError
from ..model.generation import stop_generation
from ..request_fields import RequestFields
from ..store import Store, current_store
from .attached_files import checked_files
from .chat_answer import Question, answer_question, owner_of_task, response_mode_of
from .conversation_table import get_conversation
from .message_list import NO_PARENT

blueprint = Blueprint("chat", __name__)


@blueprint.post("/v1/chat-messages")
@require_app("json", mode="chat")
def ask() -> Response:
    """Answer a question. A conversation keeps the configuration that it began with.

    `auto_generate_name` is accepted without effect. In Dify it delays the first turn.
    """
    body = RequestFields("ChatRequestPayload", request.get_json())
    inputs, query = body.mapping("inputs"), body.text("query")
    response_mode = response_mode_of(body)
    conversation_id = body.optional_id("conversation_id")
    files = body.optional_mappings("files")
    if not query:
        raise SandboxError(400, "invalid_param", "query is required")
    conversation = get_conversation(conversation_id, g.app["id"], "api", g.user) if conversation_id else None
    config = json.loads(conversation["config"]) if conversation else config_of(g.app)
    question = Question(
        app=g.app,
        source="api",
        user=g.user,
        query=query.replace("\0", ""),
        inputs=inputs,
        config=config,
        conversation=conversation,
        parent_id=NO_PARENT,
        history=_all_turns(current_store(), conversation) if conversation else [],
        files=checked_files(current_store(), config, files, end_user_id(g.app["id"], g.user)),
    )
    return answer_question(question, response_mode)


def _all_turns(store: Store, conversation: Row) -> list[tuple[str, str]]:
    """Return all turns in their order, also failed and stopped ones. Dify mixes up the turns of one second."""
    rows = store.connection().execute(
        "SELECT query, answer FROM message WHERE conversation_id = ? ORDER BY number", (conversation["id"],)
    )
    return [(row["query"], row["answer"]) for row in rows]


@blueprint.post("/v1/chat-messages/<task_id>/stop")
@require_app("json", mode="chat")
def stop(task_id: str) -> dict[str, str]:
    """Stop an answer of the same user. The answer is always success (chat/stop-unknown-task, stop-other-user)."""
    stop_generation(task_id, owner_of_task(g.app["id"], "api", g.user))
    return {"result": "success"}
