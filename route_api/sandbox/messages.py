"""The service API's messages of a conversation: list, feedback, suggested questions."""

import json
import uuid
from sqlite3 import Row
from typing import Any

from flask import Blueprint, g, request

from .app_access import require_app
from .conversations import get_conversation
from .errors import SandboxError
from .payload import Payload
from .store import current_store
from .words import is_chinese

NO_PARENT = "00000000-0000-0000-0000-000000000000"
"""The parent of every message of the service API."""

blueprint = Blueprint("messages", __name__)


def message_payload(message: Row) -> dict[str, Any]:
    """A message as the service API shows it, inputs and all (inputs/messages-show-inputs)."""
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


def page_of_messages(conversation_id: str, query: Payload) -> tuple[list[Row], bool]:
    """The newest messages, or those before `first_id`, oldest first; and whether there are older ones."""
    limit, first_id = query.number("limit", 20, 1, 100), query.optional_id("first_id")
    connection = current_store().connection()
    before = None
    if first_id is not None:
        first = connection.execute(
            "SELECT number FROM message WHERE id = ? AND conversation_id = ?", (first_id, conversation_id)
        ).fetchone()
        if first is None:
            raise SandboxError(404, "not_found", "First Message Not Exists.")
        before = first["number"]
    rows = connection.execute(
        "SELECT * FROM message"
        " WHERE conversation_id = :conversation_id AND (:before IS NULL OR number < :before)"
        " ORDER BY number DESC LIMIT :rows",
        {"conversation_id": conversation_id, "before": before, "rows": limit + 1},
    ).fetchall()
    return rows[:limit][::-1], len(rows) > limit


@blueprint.get("/v1/messages")
@require_app("query")
def list_messages() -> dict[str, Any]:
    """The messages of a conversation, oldest first; `first_id` pages back in time."""
    query = Payload("MessageListQuery", request.args)
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
    """Like, dislike, or null to withdraw, which needs something to withdraw (chat/feedback-null-again)."""
    body = Payload("MessageFeedbackPayload", request.get_json())
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
    """What could be asked next; refused unless the app's configuration switches it on."""
    message = _get_message(message_id)
    if not json.loads(message["config"])["suggested_questions_after_answer"].get("enabled"):
        raise SandboxError(400, "bad_request", "Suggested Questions Is Disabled.")
    return {"result": "success", "data": suggestions(message["query"])}


def suggestions(question: str) -> list[str]:
    """Questions that our own model can answer from the conversation alone."""
    if is_chinese(question):
        return ["再总结一下你刚才说的", "再短一点", "我刚才问了什么？"]
    return ["Summarize what you just said", "Make it shorter", "What did I ask?"]
