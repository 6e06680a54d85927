"""The service API's routes for conversations."""

import json
import uuid
from sqlite3 import Row
from typing import Any, NoReturn

from flask import Blueprint, Response, g, request

from ..apps.app_access import require_app
from ..errors import SandboxError
from ..request_fields import RequestFields
from ..store import current_store
from ..version import is_1_16
from .conversation_table import NAME_LENGTH, first_question, get_conversation

MAX_NAME_LENGTH = 255

blueprint = Blueprint("conversations", __name__)


def conversation_payload(conversation: Row) -> dict[str, Any]:
    """A conversation as the service API shows it. `inputs` are the inputs of the first turn."""
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
@require_app("query", mode="chat")
def list_conversations() -> dict[str, Any]:
    """List the user's conversations. A page begins after the conversation `last_id`."""
    query = RequestFields("ConversationListQuery", request.args)
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
@require_app("json", mode="chat")
def rename(conversation_id: uuid.UUID) -> dict[str, Any]:
    """Rename a conversation.

    With `auto_generate`, its name is the beginning of its first question; Dify asks its model.
    """
    body = RequestFields("ConversationRenamePayload", request.get_json())
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


@blueprint.delete("/v1/conversations/<uuid:conversation_id>")
@require_app("json", mode="chat")
def delete(conversation_id: uuid.UUID) -> Response:
    """Delete a conversation. 1.12.1 checks neither the user nor the app (chat/conversation-delete-other-user)."""
    if is_1_16():
        get_conversation(str(conversation_id), g.app["id"], "api", g.user)
    current_store().connection().execute(
        "DELETE FROM conversation WHERE id = ? AND source = 'api'", (str(conversation_id),)
    )
    return Response(status=204, content_type="application/json")


@blueprint.get("/v1/conversations/<uuid:conversation_id>/variables")
@require_app("query", mode="chat")
def list_variables(conversation_id: uuid.UUID) -> dict[str, Any]:
    """List the variables of a conversation. In a chat app there are none."""
    limit = RequestFields("ConversationVariablesQuery", request.args).number("limit", 20, 1, 100)
    get_conversation(str(conversation_id), g.app["id"], "api", g.user)
    return {"limit": limit, "has_more": False, "data": []}


@blueprint.put("/v1/conversations/<uuid:conversation_id>/variables/<uuid:variable_id>")
@require_app("json", mode="chat")
def change_variable(conversation_id: uuid.UUID, variable_id: uuid.UUID) -> NoReturn:
    """Change a variable of a conversation. In a chat app there are none."""
    RequestFields("ConversationVariableUpdatePayload", request.get_json()).required("value")
    get_conversation(str(conversation_id), g.app["id"], "api", g.user)
    raise SandboxError(404, "not_found", "Conversation Variable Not Exists.")
