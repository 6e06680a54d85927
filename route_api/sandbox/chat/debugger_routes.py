"""The console's routes for chats: the debugger, and the lists of conversations and messages."""

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
from .chat_answer import Question, answer_question, owner_of_task
from .chat_routes import RESPONSE_MODES
from .conversation_table import find_conversation
from .message_list import page_of_messages

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
    inputs, query, override = body.mapping("inputs"), body.text("query"), body.mapping("model_config")
    response_mode = body.optional_choice("response_mode", RESPONSE_MODES) or "blocking"
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
    """Return the end user's id. Dify stores one; the sandbox computes it from the app and the user's name."""
    if conversation["source"] == "console":
        return None
    return str(uuid.uuid5(uuid.UUID(conversation["app_id"]), conversation["user"]))


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
        "message_files": [],
        "metadata": {"annotation_reply": None, "retriever_resources": resources, "usage": usage},
        "status": message["status"],
        "error": message["error"],
        "parent_message_id": message["parent_id"],
    }


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
