"""The tables of conversations and messages."""

from sqlite3 import Row

from ..errors import SandboxError
from ..store import Store, current_store

NAME_LENGTH = 20
"""A conversation's name is this many characters of its first question (chat/conversations)."""

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
ADDED_COLUMNS = {
    "message": ("feedback_id TEXT", "feedback_created_at INTEGER", "feedback_updated_at INTEGER"),
}
"""With the `source` `api`, `user` is the end user; with `console`, it is the account's id. `config` is the
configuration of the first turn. `model_request` is the model's input."""


def find_conversation(store: Store, conversation_id: str, app_id: str, source: str, user: str) -> Row | None:
    """Return the conversation of this user of this app, or None."""
    return (
        store.connection()
        .execute(
            "SELECT * FROM conversation WHERE id = ? AND app_id = ? AND source = ? AND user = ?",
            (conversation_id, app_id, source, user),
        )
        .fetchone()
    )


def get_conversation(conversation_id: str, app_id: str, source: str, user: str) -> Row:
    """Return the conversation of this user of this app.

    :raises SandboxError: 404, if it does not exist, or belongs to another user
    """
    conversation = find_conversation(current_store(), conversation_id, app_id, source, user)
    if conversation is None:
        raise SandboxError(404, "not_found", "Conversation Not Exists.")
    return conversation


def first_question(store: Store, conversation_id: str) -> str:
    """Return the first question of a conversation."""
    row = (
        store.connection()
        .execute("SELECT query FROM message WHERE conversation_id = ? ORDER BY number LIMIT 1", (conversation_id,))
        .fetchone()
    )
    return row["query"] if row else ""
