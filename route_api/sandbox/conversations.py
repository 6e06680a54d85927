"""Conversations and their messages: the tables, and the service API's conversation endpoints."""

import json
import uuid
from sqlite3 import Row
from typing import Any

from flask import Blueprint, Response, g, request

from .app_access import require_app
from .errors import SandboxError
from .payload import Payload
from .store import Store, current_store

NAME_LENGTH = 20
"""A conversation is named by that many characters of its first question: chat/conversations."""
MAX_NAME_LENGTH = 255

SCHEMA = """
CREATE TABLE IF NOT EXISTS conversation (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    app_id TEXT NOT NULL REFERENCES app (id) ON DELETE CASCADE,
    source TEXT NOT NULL,
    user TEXT NOT NULL,
    name TEXT NOT NULL,
    inputs TEXT NOT NULL,
    config TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS conversation_of_user ON conversation (app_id, source, user);
CREATE TABLE IF NOT EXISTS message (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    conversation_id TEXT NOT NULL REFERENCES conversation (id) ON DELETE CASCADE,
    parent_id TEXT,
    query TEXT NOT NULL,
    inputs TEXT NOT NULL,
    answer TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL DEFAULT 'normal',
    error TEXT,
    rating TEXT,
    feedback TEXT,
    retriever_resources TEXT NOT NULL,
    usage TEXT,
    latency_s REAL NOT NULL DEFAULT 0,
    model_request TEXT NOT NULL,
    created_at INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS message_of_conversation ON message (conversation_id);
"""
"""`source` is api (then `user` is the end user) or console (then the account's id); `config` is that of the
first turn; `model_request` is what the model received."""

blueprint = Blueprint("conversations", __name__)


def find_conversation(store: Store, conversation_id: str, app_id: str, source: str, user: str) -> Row | None:
    """The conversation, if it exists and belongs to this user of this app."""
    return (
        store.connection()
        .execute(
            "SELECT * FROM conversation WHERE id = ? AND app_id = ? AND source = ? AND user = ?",
            (conversation_id, app_id, source, user),
        )
        .fetchone()
    )


def get_conversation(conversation_id: str, app_id: str, source: str, user: str) -> Row:
    """The conversation.

    :raises SandboxError: 404, it does not exist or belongs to somebody else
    """
    conversation = find_conversation(current_store(), conversation_id, app_id, source, user)
    if conversation is None:
        raise SandboxError(404, "not_found", "Conversation Not Exists.")
    return conversation


def conversation_payload(conversation: Row) -> dict[str, Any]:
    """A conversation as the service API shows it; `inputs` are those of the first turn."""
    return {
        "id": conversation["id"],
        "name": conversation["name"],
        "inputs": json.loads(conversation["inputs"]),
        "status": "normal",
        "introduction": "",
        "created_at": conversation["created_at"],
        "updated_at": conversation["updated_at"],
    }


@blueprint.get("/v1/conversations")
@require_app("query")
def list_conversations() -> dict[str, Any]:
    """The user's conversations, by pages that begin after `last_id`."""
    query = Payload("ConversationListQuery", request.args)
    limit = query.number("limit", 20, 1, 100)
    sort_by = (
        query.optional_choice("sort_by", ("created_at", "-created_at", "updated_at", "-updated_at")) or "-updated_at"
    )
    last_id = query.optional_id("last_id")
    column, direction = sort_by.lstrip("-"), "DESC" if sort_by.startswith("-") else "ASC"
    rows = (
        current_store()
        .connection()
        .execute(
            "SELECT * FROM conversation WHERE app_id = ? AND source = 'api' AND user = ?"
            f" ORDER BY {column} {direction}, number {direction}",
            (g.app["id"], g.user),
        )
        .fetchall()
    )
    if last_id is not None:
        positions = [position for position, row in enumerate(rows) if row["id"] == last_id]
        if not positions:
            raise SandboxError(404, "not_found", "Last Conversation Not Exists.")
        rows = rows[positions[0] + 1 :]
    data = [conversation_payload(row) for row in rows[:limit]]
    return {"limit": limit, "has_more": len(rows) > limit, "data": data}


@blueprint.post("/v1/conversations/<uuid:conversation_id>/name")
@require_app("json")
def rename(conversation_id: uuid.UUID) -> dict[str, Any]:
    """Give a name; with `auto_generate` the beginning of the first question, where Dify asks its model."""
    body = Payload("ConversationRenamePayload", request.get_json())
    name = body.optional_text("name")
    is_generated = bool(body.fields.get("auto_generate"))
    if not is_generated and not (name or "").strip():
        text = "Value error, name is required when auto_generate is false"
        body.refuse("", text, "value_error", dict(body.fields))
    conversation = get_conversation(str(conversation_id), g.app["id"], "api", g.user)
    if is_generated:
        name = first_question(current_store(), conversation["id"])[:NAME_LENGTH]
    if len(name or "") > MAX_NAME_LENGTH:
        raise SandboxError(500, "unknown", "Internal Server Error")  # Dify: chat/conversation-rename-long
    current_store().connection().execute("UPDATE conversation SET name = ? WHERE id = ?", (name, conversation["id"]))
    return conversation_payload(get_conversation(conversation["id"], g.app["id"], "api", g.user))


def first_question(store: Store, conversation_id: str) -> str:
    """What the conversation began with."""
    row = (
        store.connection()
        .execute("SELECT query FROM message WHERE conversation_id = ? ORDER BY number LIMIT 1", (conversation_id,))
        .fetchone()
    )
    return row["query"] if row else ""


@blueprint.delete("/v1/conversations/<uuid:conversation_id>")
@require_app("json")
def delete(conversation_id: uuid.UUID) -> Response:
    """DANGER, as in Dify: deletes anybody's, of any app (chat/conversation-delete-other-user)."""
    current_store().connection().execute(
        "DELETE FROM conversation WHERE id = ? AND source = 'api'", (str(conversation_id),)
    )
    return Response(status=204, content_type="application/json")


@blueprint.get("/v1/conversations/<uuid:conversation_id>/variables")
@require_app("query")
def list_variables(conversation_id: uuid.UUID) -> dict[str, Any]:
    """A chat app's conversations have no variables."""
    limit = Payload("ConversationVariablesQuery", request.args).number("limit", 20, 1, 100)
    get_conversation(str(conversation_id), g.app["id"], "api", g.user)
    return {"limit": limit, "has_more": False, "data": []}
