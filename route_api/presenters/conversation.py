"""A stored conversation -> the answers of `conversation/list` and `conversation/get`."""

from typing import Any

from ..storage.models import dashed
from ..storage.turns import status_of
from .formats import http_date, unix_seconds

Json = dict[str, Any]


def conversation_row(row: Any) -> Json:
    """Build a row of `conversation/list`, from a row of `storage/conversations.py`."""
    kb_ids = row.kb_id.split(",") if row.kb_id else []
    created = unix_seconds(row.create_time)
    last = last_message(row)
    return {
        "chat_type": row.chat_type,
        "conversation_id": dashed(row.id),
        "create_date": http_date(created),
        "create_time": created,
        "id": dashed(row.id),
        "kb_id": kb_ids[0] if kb_ids else None,
        "kb_ids": kb_ids,
        "last_message": last,
        "message_count": row.last_position or 0,
        "name": row.name,
        "update_time": last["create_time"] if last else created,
        "user_id": row.user_id,
    }


def last_message(row: Any) -> Json | None:
    """Build the `last_message` of a conversation; None if a crash has left the conversation without a message."""
    if row.last_id is None:
        return None
    status, _ = status_of({"status": row.last_status}, row.last_leased_until)
    return {
        "create_time": unix_seconds(row.last_time),
        "message_id": dashed(row.last_id),
        "query": row.last_query,
        "status": status,
    }
