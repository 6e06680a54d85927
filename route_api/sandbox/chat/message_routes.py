"""The service API's routes for the messages of a conversation: list, feedback, suggested questions."""

import json
import uuid
from sqlite3 import Row
from typing import Any

from flask import Blueprint, g, request

from ..apps.app_access import require_app
from ..errors import SandboxError
from ..model.extractive_phrases import suggestions
from ..request_fields import RequestFields
from ..store import current_store
from .conversation_table import get_conversation
from .message_list import page_of_messages

blueprint = Blueprint("messages", __name__)


def message_payload(message: Row) -> dict[str, Any]:
    """A message as the service API shows it, with its inputs (inputs/messages-show-inputs)."""
    return {
        "id": message["id"],
        "conversation_id": message["conversation_id"],
        "parent_message_id": message["parent_id"],
        "inputs": json.loads(message["inputs"]),
        "query": message["query"],
        "answer": message["answer"],
        "feedback": {"rating": message["rating"]} if message["rating"] else None,
        "retriever_resources": json.loads(message["retriever_resources"]),
        "created_at": message["created_at"],
        "agent_thoughts": [],
        "message_files": [],
        "status": message["status"],
        "error": message["error"],
    }


@blueprint.get("/v1/messages")
@require_app("query")
def list_messages() -> dict[str, Any]:
    """List the messages of a conversation, oldest first. `first_id` asks for the messages before it."""
    query = RequestFields("MessageListQuery", request.args)
    conversation_id = query.identifier("conversation_id")
    limit = query.number("limit", 20, 1, 100)
    get_conversation(conversation_id, g.app["id"], "api", g.user)
    rows, has_more = page_of_messages(conversation_id, query)
    return {"limit": limit, "has_more": has_more, "data": [message_payload(row) for row in rows]}


def _get_message(message_id: uuid.UUID) -> Row:
    row = (
        current_store()
        .connection()
        .execute(
            "SELECT message.*, config FROM message JOIN conversation ON conversation.id = conversation_id"
            " WHERE message.id = ? AND app_id = ? AND source = 'api' AND user = ?",
            (str(message_id), g.app["id"], g.user),
        )
        .fetchone()
    )
    if row is None:
        raise SandboxError(404, "not_found", "Message Not Exists.")
    return row


@blueprint.post("/v1/messages/<uuid:message_id>/feedbacks")
@require_app("json")
def give_feedback(message_id: uuid.UUID) -> dict[str, str]:
    """Set the rating: like, dislike, or null to delete it.

    Null is refused if there is no rating (chat/feedback-null-again).
    """
    body = RequestFields("MessageFeedbackPayload", request.get_json())
    rating, content = body.optional_choice("rating", ("like", "dislike")), body.optional_text("content")
    message = _get_message(message_id)
    if rating is None and message["rating"] is None:
        raise SandboxError(400, "invalid_param", "rating cannot be None when feedback not exists")
    current_store().connection().execute(
        "UPDATE message SET rating = ?, feedback = ? WHERE id = ?", (rating, content, message["id"])
    )
    return {"result": "success"}


@blueprint.get("/v1/messages/<uuid:message_id>/suggested")
@require_app("query")
def suggest(message_id: uuid.UUID) -> dict[str, Any]:
    """Suggest further questions. This is refused unless the app's configuration enables it."""
    message = _get_message(message_id)
    if not json.loads(message["config"])["suggested_questions_after_answer"].get("enabled"):
        raise SandboxError(400, "bad_request", "Suggested Questions Is Disabled.")
    return {"result": "success", "data": suggestions(message["query"])}
