"""The console's routes for the conversations of an app, and for their messages."""

import json
import uuid
from sqlite3 import Connection, Row
from typing import Any

from flask import Blueprint, Response, g, request

from ..access.console_session import require_console_session
from ..apps.app_table import get_app
from ..apps.end_user_table import end_user_id
from ..errors import SandboxError
from ..request_fields import RequestFields
from ..store import current_store
from ..version import since_1_16
from .attached_files import message_files
from .message_list import page_of_messages

blueprint = Blueprint("console_conversations", __name__)


@blueprint.get("/console/api/apps/<uuid:app_id>/chat-conversations")
@require_console_session
def list_conversations(app_id: uuid.UUID) -> dict[str, Any]:
    """List all conversations of an app, of both APIs, newest first."""
    app = get_app(app_id)
    query = RequestFields("ChatConversationQuery", request.args)
    page, limit = query.number("page", 1, 1, 99999), query.number("limit", 20, 1, 100)
    connection = current_store().connection()
    total = connection.execute("SELECT count(*) FROM conversation WHERE app_id = ?", (app["id"],)).fetchone()[0]
    rows = connection.execute(
        "SELECT * FROM conversation WHERE app_id = ? ORDER BY updated_at DESC, number DESC LIMIT ? OFFSET ?",
        (app["id"], limit, (page - 1) * limit),
    ).fetchall()
    return {
        "page": page,
        "limit": limit,
        "total": total,
        "has_more": total > page * limit,
        "data": [_listed_conversation(connection, row) for row in rows],
    }


def _end_user_id(conversation: Row) -> str | None:
    """Return the id of the conversation's end user; the console has none."""
    return None if conversation["source"] == "console" else end_user_id(conversation["app_id"], conversation["user"])


def _conversation(connection: Connection, conversation: Row) -> dict[str, Any]:
    """The fields that the list and a single conversation have in common."""
    counts = connection.execute(
        "SELECT count(*) AS messages, count(CASE rating WHEN 'like' THEN 1 END) AS likes,"
        " count(CASE rating WHEN 'dislike' THEN 1 END) AS dislikes FROM message WHERE conversation_id = ?",
        (conversation["id"],),
    ).fetchone()
    is_console = conversation["source"] == "console"
    return {
        "id": conversation["id"],
        "status": "normal",
        "from_source": conversation["source"],
        "from_end_user_id": _end_user_id(conversation),
        "from_account_id": conversation["user"] if is_console else None,
        "created_at": conversation["created_at"],
        "updated_at": conversation["updated_at"],
        "annotated": False,
        "message_count": counts["messages"],
        "user_feedback_stats": {"like": counts["likes"], "dislike": counts["dislikes"]},
        "admin_feedback_stats": {"like": 0, "dislike": 0},
    }


def _listed_conversation(connection: Connection, conversation: Row) -> dict[str, Any]:
    config = json.loads(conversation["config"])
    is_console = conversation["source"] == "console"
    return {
        **_conversation(connection, conversation),
        "from_end_user_session_id": None if is_console else conversation["user"],
        "from_account_name": g.account["name"] if is_console else None,
        "name": conversation["name"],
        "summary": conversation["name"],
        "read_at": None,
        "model_config": {"model": config["model"], "pre_prompt": config["pre_prompt"] or ""},
        "status_count": {"success": None, "failed": None, "partial_success": None},
    }


def _get_conversation(app_id: uuid.UUID, conversation_id: str) -> Row:
    conversation = (
        current_store()
        .connection()
        .execute("SELECT * FROM conversation WHERE id = ? AND app_id = ?", (conversation_id, get_app(app_id)["id"]))
        .fetchone()
    )
    if conversation is None:
        raise SandboxError(404, "not_found", "Conversation Not Exists.")
    return conversation


@blueprint.get("/console/api/apps/<uuid:app_id>/chat-conversations/<uuid:conversation_id>")
@require_console_session
def get_conversation(app_id: uuid.UUID, conversation_id: uuid.UUID) -> dict[str, Any]:
    """Show one conversation with the configuration that it began with."""
    conversation = _get_conversation(app_id, str(conversation_id))
    config = json.loads(conversation["config"])
    shown = (
        "opening_statement",
        "suggested_questions",
        "model",
        "user_input_form",
        "pre_prompt",
        "agent_mode",
    )
    return {
        **_conversation(current_store().connection(), conversation),
        "introduction": "",
        "model_config": {field: config[field] for field in shown},
    }


@blueprint.delete("/console/api/apps/<uuid:app_id>/chat-conversations/<uuid:conversation_id>")
@require_console_session
def delete_conversation(app_id: uuid.UUID, conversation_id: uuid.UUID) -> Response:
    """Delete a conversation of the app; the status is 204."""
    conversation = _get_conversation(app_id, str(conversation_id))
    current_store().connection().execute("DELETE FROM conversation WHERE id = ?", (conversation["id"],))
    return Response(status=204, content_type="application/json")


@blueprint.get("/console/api/apps/<uuid:app_id>/chat-messages")
@require_console_session
def list_messages(app_id: uuid.UUID) -> dict[str, Any]:
    """List the messages of a conversation of the app, with the model's input."""
    query = RequestFields("ChatMessagesQuery", request.args)
    limit = query.number("limit", 20, 1, 100)
    conversation = _get_conversation(app_id, query.identifier("conversation_id"))
    rows, has_more = page_of_messages(conversation["id"], query)
    return {"limit": limit, "has_more": has_more, "data": [_message(conversation, row) for row in rows]}


def _message(conversation: Row, message: Row) -> dict[str, Any]:
    usage = json.loads(message["usage"]) if message["usage"] else None
    sent = json.loads(message["model_request"])["messages"]
    resources = json.loads(message["retriever_resources"])
    is_console = conversation["source"] == "console"
    feedback = {
        "rating": message["rating"],
        "content": message["feedback"],
        "from_source": "user",
        "from_end_user_id": _end_user_id(conversation),
        "from_account": None,
    }
    return {
        "id": message["id"],
        "conversation_id": conversation["id"],
        "inputs": json.loads(message["inputs"]),
        "query": message["query"],
        "message": [{"role": part["role"], "text": part["content"], "files": []} for part in sent],
        "message_tokens": usage["prompt_tokens"] if usage else 0,
        "answer": message["answer"],
        "answer_tokens": usage["completion_tokens"] if usage else 0,
        "provider_response_latency": message["latency_s"],
        "from_source": conversation["source"],
        "from_end_user_id": _end_user_id(conversation),
        "from_account_id": conversation["user"] if is_console else None,
        "feedbacks": [feedback] if message["rating"] else [],
        "workflow_run_id": None,
        "annotation": None,
        "annotation_hit_history": None,
        "created_at": message["created_at"],
        "agent_thoughts": [],
        "message_files": message_files(current_store(), message["id"]),
        "metadata": {
            "annotation_reply": None,
            "retriever_resources": resources,
            "usage": usage,
            **since_1_16(reasoning={}),
        },
        **since_1_16(extra_contents=[]),
        "status": message["status"],
        "error": message["error"],
        "parent_message_id": message["parent_id"],
    }
