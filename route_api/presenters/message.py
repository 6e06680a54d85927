"""A turn, or its stored message -> the answers of `conversation/completion`, `conversation/messages`, `message/get`."""

from typing import Any

from ..dify.records import document_name, score, segment_text
from ..prompts.thinking import split_thinking
from ..storage.models import dashed
from ..storage.turns import status_of
from .chunk import document_counts
from .formats import unix_seconds

Json = dict[str, Any]

PUBLIC_META_DATA: Json = {
    "forms": [],
    "inputs": {},
    "kb_ids": [],
    "max_tokens": None,
    "model_name": None,
    "prompt_name": None,
    "references": [],
    "temperature": None,
    "usage": None,
}
"""The keys of a message's `meta_data` that its user sees, with their defaults. The other keys are for the gateway."""


def reference(record: Json) -> Json:
    """Build an entry of `rag_info.references`: a passage that the model was given.

    :param record: Dify's retrieval record, with the `kb_id` that it comes from. Its `source` is "app" if the app itself
        has found it, in the knowledge that it has in Dify
    """
    segment = record["segment"]
    return {
        "chunk_id": segment["id"],
        "content": segment_text(segment),
        "doc_id": segment.get("document_id") or (segment.get("document") or {}).get("id"),
        "doc_name": document_name(record),
        "kb_id": record.get("kb_id"),
        "score": score(record),
        "source": record.get("source", "kb"),
    }


def record_of_reference(reference: Json) -> Json:
    """Turn an entry of :func:`reference`, as it is stored with a message, back into a record."""
    return {
        "kb_id": reference["kb_id"],
        "score": reference["score"],
        "segment": {
            "content": reference["content"],
            "document": {"id": reference["doc_id"], "name": reference["doc_name"]},
            "document_id": reference["doc_id"],
            "id": reference["chunk_id"],
        },
        "source": reference.get("source", "kb"),
    }


def form(reason: Json) -> Json:
    """Build a form that a paused answer waits for.

    :param reason: Dify's reason for the pause
    """
    defaults = reason.get("resolved_default_values") or {}
    inputs = [
        {
            "default": defaults.get(field["output_variable_name"], (field.get("default") or {}).get("value") or ""),
            "name": field["output_variable_name"],
            "options": (field.get("option_source") or {}).get("value") or [],
            "type": field["type"],
        }
        for field in reason.get("inputs") or []
    ]
    return {
        "actions": [{"id": action["id"], "title": action.get("title") or ""} for action in reason.get("actions") or []],
        "content": reason.get("form_content") or "",
        "expires_at": reason.get("expiration_time"),
        "form_id": reason["form_id"],
        "inputs": inputs,
        "title": reason.get("node_title") or "",
    }


def ragflow_reference(records: list[Json]) -> Json:
    """Build the `reference` that RAGFlow's UI shows under an answer."""
    chunks = [
        {
            "content": segment_text(record["segment"]),
            "dataset_id": record.get("kb_id"),
            "document_id": record["segment"]["document_id"],
            "document_name": document_name(record),
            "id": record["segment"]["id"],
            "positions": [],
            "similarity": score(record),
            "source": record.get("source", "kb"),
        }
        for record in records
    ]
    return {"chunks": chunks, "doc_aggs": document_counts(records)}


def answer_data(
    text: str,
    *,
    ids: Json,
    status: str,
    think: str,
    is_streamed: bool,
    forms: list[Json],
    passages: list[Json] | None,
) -> Json:
    """Build the `data` of a complete answer.

    :param text: what the model said, with its reasoning
    :param think: where the reasoning goes: keep, drop or separate
    :param is_streamed: whether a stream has sent the text before, so that `answer` must be what it has sent
    :param forms: the forms that a paused answer waits for
    :param passages: Dify's records that the model was given; None if the answer shows none
    """
    thinking, content = split_thinking(text)
    shown = split_thinking(text, is_streamed=True)[1] if is_streamed else content
    data = {
        "answer": text if think == "keep" else shown,
        **ids,
        "content": content,
        "forms": forms,
        "status": status,
        "thinking": "" if think == "drop" else thinking,
    }
    if passages is not None:
        data["reference"] = ragflow_reference(passages)
    return data


def rag_info(kb_ids: tuple[str, ...], context: str, passages: list[Json]) -> Json:
    """Build the `rag_info` that stands beside the data of an answer from knowledge bases."""
    return {
        "context_length": len(context),
        "context_used": bool(passages),
        "kb_id": kb_ids[0] if kb_ids else None,
        "kb_ids": list(kb_ids),
        "references": [reference(record) for record in passages],
    }


def message_row(row: Any) -> Json:
    """Build a row of `conversation/messages`, from a row of `storage/messages.py`."""
    status, reason = status_of(row.meta_data, row.leased_until)
    thinking, content = split_thinking(row.response)
    return {
        "chat_type": row.chat_type,
        "content": content,
        "conversation_id": dashed(row.conversation_id),
        "create_time": unix_seconds(row.create_time),
        "feedback_reason": row.feedback_reason,
        "feedback_score": row.feedback_score,
        "id": dashed(row.id),
        "message_id": dashed(row.id),
        "meta_data": {name: row.meta_data.get(name, default) for name, default in PUBLIC_META_DATA.items()},
        "position": row.position,
        "query": row.query,
        "reason": reason,
        "response": row.response,
        "status": status,
        "thinking": thinking,
    }
