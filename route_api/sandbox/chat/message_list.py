"""Pages of a conversation's messages, for the service API and the console."""

from sqlite3 import Row

from ..errors import SandboxError
from ..request_fields import RequestFields
from ..store import current_store

NO_PARENT = "00000000-0000-0000-0000-000000000000"
"""The parent id of each message of the service API."""


def page_of_messages(conversation_id: str, query: RequestFields) -> tuple[list[Row], bool]:
    """Read the newest messages, or the messages before `first_id`.

    :returns: the messages, oldest first; whether there are older ones
    """
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
