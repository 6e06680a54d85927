"""The service API's routes for the messages of a conversation: list, feedback, suggested questions."""

import json
import time
import uuid
from datetime import UTC, datetime
from sqlite3 import Row
from typing import Any

from flask import Blueprint, g, request

from ..apps.app_access import require_app
from ..apps.end_user_table import end_user_id
from ..errors import SandboxError
from ..model.extractive_phrases import suggestions
from ..request_fields import RequestFields
from ..store import current_store
from ..version import since_1_16
from .attached_files import message_files
from .conversation_table import get_conversation
from .message_list import page_of_messages

MAX_FEEDBACKS = 101
"""The largest page of ratings; Dify's code has this odd number."""

blueprint = Blueprint("messages", __name__)


def message_payload(message: Row) -> dict[str, Any]:
    """A message as the service API shows it, with its inputs (inputs/messages-show-inputs)."""
    usage = json.loads(message["usage"] or "{}")
    tokens = [usage.get(f"{name}_tokens", 0) for name in ("prompt", "completion")]
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
        "message_files": message_files(current_store(), message["id"]),
        "status": message["status"],
        "error": message["error"],
        **since_1_16(
            message_tokens=tokens[0],
            answer_tokens=tokens[1],
            total_tokens=sum(tokens),
            total_price="0",
            currency="USD",
            provider_response_latency=message["latency_s"],
            extra_contents=[],
        ),
    }


@blueprint.get("/v1/messages")
@require_app("query", mode="chat")
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
    now = int(time.time()) if rating else None
    current_store().connection().execute(
        "UPDATE message SET rating = :rating, feedback = :content, feedback_updated_at = :now,"
        " feedback_id = iif(:rating IS NULL, NULL, coalesce(feedback_id, :id)),"
        " feedback_created_at = iif(:rating IS NULL, NULL, coalesce(feedback_created_at, :now)) WHERE id = :message",
        {"rating": rating, "content": content, "now": now, "id": str(uuid.uuid4()), "message": message["id"]},
    )
    return {"result": "success"}


@blueprint.get("/v1/app/feedbacks")
@require_app("nowhere")
def list_feedbacks() -> dict[str, Any]:
    """List the ratings of all users of the app, newest first. The answer does not say how many there are."""
    query = RequestFields("FeedbackListQuery", request.args)
    page, limit = query.number("page", 1, 1, 2**31 - 1), query.number("limit", 20, 1, MAX_FEEDBACKS)
    rows = (
        current_store()
        .connection()
        .execute(
            "SELECT message.*, app_id, user FROM message JOIN conversation ON conversation.id = conversation_id"
            " WHERE app_id = ? AND rating IS NOT NULL"
            " ORDER BY feedback_created_at DESC, feedback_id DESC LIMIT ? OFFSET ?",
            (g.app["id"], limit, (page - 1) * limit),
        )
    )
    return {"data": [_feedback_payload(row) for row in rows]}


def _feedback_payload(message: Row) -> dict[str, Any]:
    """A rating as Dify shows it. One from before the sandbox kept ids and times has the message's."""
    created_at = message["feedback_created_at"] or message["created_at"]
    return {
        "id": message["feedback_id"] or message["id"],
        "app_id": message["app_id"],
        "conversation_id": message["conversation_id"],
        "message_id": message["id"],
        "rating": message["rating"],
        "content": message["feedback"],
        "from_source": "user",
        "from_end_user_id": end_user_id(message["app_id"], message["user"]),
        "from_account_id": None,
        "created_at": _iso_time(created_at),
        "updated_at": _iso_time(message["feedback_updated_at"] or created_at),
    }


def _iso_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@blueprint.get("/v1/messages/<uuid:message_id>/suggested")
@require_app("query", mode="chat")
def suggest(message_id: uuid.UUID) -> dict[str, Any]:
    """Suggest further questions. This is refused unless the app's configuration enables it."""
    message = _get_message(message_id)
    if not json.loads(message["config"])["suggested_questions_after_answer"].get("enabled"):
        raise SandboxError(400, "bad_request", "Suggested Questions Is Disabled.")
    return {"result": "success", "data": suggestions(message["query"])}
