"""The tables of annotations: questions of an app with a fixed answer, which the app gives instead of its model's."""

import math
import time
import uuid
from collections import Counter
from sqlite3 import Row
from typing import Any

from ..errors import SandboxError
from ..store import Store
from ..text.search_tokens import tokenize

JOB_LIFETIME_S = 600
"""How long the state of a job can be asked for, as in Dify's code."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS annotation (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    app_id TEXT NOT NULL REFERENCES app (id) ON DELETE CASCADE,
    question TEXT NOT NULL,
    answer TEXT NOT NULL,
    hit_count INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS annotation_of_app ON annotation (app_id);
CREATE TABLE IF NOT EXISTS annotation_setting (
    id TEXT PRIMARY KEY,
    app_id TEXT NOT NULL UNIQUE REFERENCES app (id) ON DELETE CASCADE,
    score_threshold REAL NOT NULL,
    embedding_provider_name TEXT NOT NULL,
    embedding_model_name TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS annotation_job (
    id TEXT PRIMARY KEY,
    action TEXT NOT NULL,
    error TEXT NOT NULL,
    ended_at REAL NOT NULL
);
"""
"""An app answers with its annotations while it has an `annotation_setting`."""


def get_annotation(store: Store, app_id: str, annotation_id: str) -> Row:
    """Return the row of an annotation of this app.

    1.12.1 finds those of other apps too; that this lets one app's key change another app is a bug that is not copied.

    :raises SandboxError: 404, if the app has no such annotation
    """
    row = (
        store.connection()
        .execute("SELECT * FROM annotation WHERE id = ? AND app_id = ?", (annotation_id, app_id))
        .fetchone()
    )
    if row is None:
        raise SandboxError(404, "not_found", "Annotation not found")
    return row


def add_annotation(store: Store, app_id: str, question: str, answer: str) -> Row:
    """Write an annotation, and return its row."""
    annotation_id = str(uuid.uuid4())
    store.connection().execute(
        "INSERT INTO annotation (id, app_id, question, answer, created_at) VALUES (?, ?, ?, ?, ?)",
        (annotation_id, app_id, question, answer, int(time.time())),
    )
    return get_annotation(store, app_id, annotation_id)


def annotation_reply(store: Store, app_id: str) -> dict[str, Any]:
    """Return the part `annotation_reply` of an app's configuration."""
    row = store.connection().execute("SELECT * FROM annotation_setting WHERE app_id = ?", (app_id,)).fetchone()
    if row is None:
        return {"enabled": False}
    model = {name: row[name] for name in ("embedding_provider_name", "embedding_model_name")}
    return {
        "id": row["id"],
        "enabled": True,
        "score_threshold": row["score_threshold"],
        "embedding_model": model,
    }


def save_annotation_setting(store: Store, app_id: str, score_threshold: float, provider: str, model: str) -> None:
    """Let the app answer with its annotations."""
    store.connection().execute(
        "INSERT INTO annotation_setting (id, app_id, score_threshold, embedding_provider_name, embedding_model_name)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT (app_id) DO UPDATE SET score_threshold = excluded.score_threshold,"
        " embedding_provider_name = excluded.embedding_provider_name,"
        " embedding_model_name = excluded.embedding_model_name",
        (str(uuid.uuid4()), app_id, score_threshold, provider, model),
    )


def delete_annotation_setting(store: Store, app_id: str) -> None:
    """Let the app answer with its model alone. Its annotations stay."""
    store.connection().execute("DELETE FROM annotation_setting WHERE app_id = ?", (app_id,))


def record_job(store: Store, action: str, error: str) -> str:
    """Write an ended job, delete those that nobody can ask for any more, and return the job's id."""
    job_id, now = str(uuid.uuid4()), time.time()
    with store.transaction() as connection:
        connection.execute("DELETE FROM annotation_job WHERE ended_at < ?", (now - JOB_LIFETIME_S,))
        connection.execute("INSERT INTO annotation_job VALUES (?, ?, ?, ?)", (job_id, action, error, now))
    return job_id


def find_job(store: Store, action: str, job_id: str) -> Row | None:
    """Return the row of a job of the last `JOB_LIFETIME_S` seconds, or None."""
    sql = "SELECT * FROM annotation_job WHERE id = ? AND action = ? AND ended_at >= ?"
    return store.connection().execute(sql, (job_id, action, time.time() - JOB_LIFETIME_S)).fetchone()


def matching_annotation(store: Store, app_id: str, query: str) -> Row | None:
    """Return the annotation whose question is the most similar to the query, and count the hit.

    :returns: None if the app does not answer with annotations, or no question reaches the threshold
    """
    setting = annotation_reply(store, app_id)
    if not setting["enabled"]:
        return None
    rows = store.connection().execute("SELECT * FROM annotation WHERE app_id = ? ORDER BY number", (app_id,)).fetchall()
    scored = [(similarity(row["question"], query), row) for row in rows]
    score, best = max(scored, key=lambda pair: pair[0], default=(0.0, None))
    if best is None or score < (setting["score_threshold"] or 1):
        return None
    store.connection().execute("UPDATE annotation SET hit_count = hit_count + 1 WHERE id = ?", (best["id"],))
    return best


def similarity(one: str, other: str) -> float:
    """Return the cosine of the angle between two texts' counts of tokens, 0..1. Dify compares embeddings."""
    first, second = Counter(tokenize(one)), Counter(tokenize(other))
    norm = math.sqrt(sum(n * n for n in first.values()) * sum(n * n for n in second.values()))
    return round(sum(n * second[token] for token, n in first.items()) / norm, 6) if norm else 0.0
