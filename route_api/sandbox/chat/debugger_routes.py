"""The console's routes of the debugger: ask a question with any configuration, and what goes with its answer."""

import json
import uuid
from sqlite3 import Connection, Row
from typing import Any

from flask import Blueprint, Response, g, request

from ..access.console_session import require_console_session
from ..apps.app_config import saved_config
from ..apps.app_table import config_of, get_app
from ..errors import SandboxError
from ..model.extractive_phrases import suggestions
from ..model.generation import stop_generation
from ..request_fields import RequestFields
from ..store import current_store
from ..version import is_1_16
from .chat_answer import Question, answer_question, owner_of_task, response_mode_of
from .conversation_table import find_conversation

blueprint = Blueprint("debugger", __name__)


@blueprint.post("/console/api/apps/<uuid:app_id>/chat-messages")
@require_console_session
def ask(app_id: uuid.UUID) -> Response:
    """Answer a question with the configuration in the request. If it is empty, the published configuration is used.

    The model receives the turns that lead to `parent_message_id`, and no turn without it
    (debugger/second-turn-without-parent, chain-2 to chain-4).
    """
    app = get_app(app_id)
    body = RequestFields("ChatMessagePayload", request.get_json())
    inputs, query, override = body.mapping("inputs"), body.text("query"), _model_config(body)
    response_mode = response_mode_of(body)
    conversation_id, parent_id = body.optional_id("conversation_id"), body.optional_id("parent_message_id")
    if not query:
        raise SandboxError(400, "invalid_param", "query is required")
    store, conversation = current_store(), None
    if conversation_id:
        conversation = find_conversation(store, conversation_id, app["id"], "console", g.account["id"])
        if conversation is None:
            raise SandboxError(404, "not_found", "Conversation Not Exists.")
    question = Question(
        app=app,
        source="console",
        user=g.account["id"],
        query=query.replace("\0", ""),
        inputs=inputs,
        config=saved_config(override) if override else config_of(app),
        conversation=conversation,
        parent_id=parent_id,
        history=_turns_up_to(store.connection(), conversation_id, parent_id),
    )
    return answer_question(question, response_mode)


def _model_config(body: RequestFields) -> dict[str, Any]:
    """The configuration of the request, which 1.12.1 requires (debugger/model-config-missing)."""
    return {} if is_1_16() and "model_config" not in body.fields else body.mapping("model_config")


def _turns_up_to(connection: Connection, conversation_id: str | None, parent_id: str | None) -> list[tuple[str, str]]:
    """Return the turns that lead to a message, oldest first. An unknown message has none."""
    turns: list[tuple[str, str]] = []
    while conversation_id and parent_id:
        row = connection.execute(
            "SELECT query, answer, parent_id FROM message WHERE id = ? AND conversation_id = ?",
            (parent_id, conversation_id),
        ).fetchone()
        if row is None:
            break
        turns.insert(0, (row["query"], row["answer"]))
        parent_id = row["parent_id"]
    return turns


@blueprint.post("/console/api/apps/<uuid:app_id>/chat-messages/<task_id>/stop")
@require_console_session
def stop(app_id: uuid.UUID, task_id: str) -> dict[str, str]:
    """Stop a running answer of the debugger. The request needs no body."""
    app = get_app(app_id)
    stop_generation(task_id, owner_of_task(app["id"], "console", g.account["id"]))
    return {"result": "success"}


def _get_message(app_id: uuid.UUID, message_id: uuid.UUID) -> Row:
    row = (
        current_store()
        .connection()
        .execute(
            "SELECT message.*, config FROM message JOIN conversation ON conversation.id = conversation_id"
            " WHERE message.id = ? AND app_id = ?",
            (str(message_id), get_app(app_id)["id"]),
        )
        .fetchone()
    )
    if row is None:
        raise SandboxError(404, "not_found", "Message not found")
    return row


@blueprint.get("/console/api/apps/<uuid:app_id>/chat-messages/<uuid:message_id>/suggested-questions")
@require_console_session
def suggest(app_id: uuid.UUID, message_id: uuid.UUID) -> dict[str, Any]:
    """Suggest further questions, if the configuration enables it (debugger/console-suggested)."""
    message = _get_message(app_id, message_id)
    if not json.loads(message["config"])["suggested_questions_after_answer"].get("enabled"):
        text = "Function Suggested questions after answer disabled."
        raise SandboxError(403, "app_suggested_questions_after_answer_disabled", text)
    return {"data": suggestions(message["query"])}


@blueprint.get("/console/api/apps/<uuid:app_id>/chat-messages/<uuid:message_id>/model-request")
@require_console_session
def model_request(app_id: uuid.UUID, message_id: uuid.UUID) -> dict[str, Any]:
    """Show the model's input for a message: `model`, `params`, `messages`.

    Dify has no such route. It exists for the tests of the gateway, which check the model's input with it.
    """
    return json.loads(_get_message(app_id, message_id)["model_request"])
