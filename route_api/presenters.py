"""Dify's JSON -> our JSON: the only place where dataset, document and segment become kb, document and chunk.

Pure functions. Keys and types are those of the examples in the API document; keys that RAGFlow's own UI reads besides
are added where the types do not clash.
"""

from collections import Counter
from email.utils import formatdate
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]

DEFAULT_VECTOR_WEIGHT = 0.6
DEFAULT_SCORE_THRESHOLD = 0.25

KB_PARSER_CONFIG: Json = {
    "graphrag": {"community": True, "entity_types": [], "method": "", "resolution": True, "use_graphrag": True},
    "layout_recognize": "",
}
"""RAGFlow's parser settings of a kb, which have no counterpart in Dify: the constants of the API document."""

RUN_OF_STATUS = {
    "waiting": "0",
    "parsing": "1",
    "cleaning": "1",
    "splitting": "1",
    "indexing": "1",
    "paused": "2",
    "completed": "3",
    "error": "4",
}
"""RAGFlow's `run`: 0 not started, 1 running, 2 cancelled, 3 done, 4 failed. Its UI goes blank on anything else."""


# ------------------------------------------------------------------ kb


def kb_row(dataset: Json) -> Json:
    """A row of `kb/list`.

    Dify counts neither tokens nor chunks of a dataset (FINDINGS d): `token_num` is its count of characters, and
    `chunk_num` the number of documents that can be found, a lower bound, since each has one chunk at least.
    """
    return {
        "avatar": "",
        "chunk_num": dataset.get("total_available_documents", dataset.get("document_count")) or 0,
        "description": dataset.get("description") or "",
        "doc_num": dataset.get("document_count") or 0,
        "embd_id": embedding_id(dataset),
        "id": dataset["id"],
        "language": "Chinese",
        "name": dataset["name"],
        "nickname": dataset.get("author_name") or "",
        "parser_id": "naive",
        "permission": dataset.get("permission") or "only_me",
        "token_num": dataset.get("word_count") or 0,
        "update_time": dataset.get("updated_at") or dataset.get("created_at") or 0,
    }


def kb_detail(dataset: Json) -> Json:
    """The answer of `kb/detail`."""
    return {
        **kb_row(dataset),
        "auth_list": [],
        "manager_list": dataset.get("partial_member_list") or [],
        "pagerank": 0,
        "parser_config": KB_PARSER_CONFIG,
    }


def kb_updated(dataset: Json) -> Json:
    """The answer of `kb/update`: the whole row, with the retrieval settings as they are stored now."""
    retrieval = dataset.get("retrieval_model_dict") or {}
    created_at = dataset.get("created_at") or 0
    updated_at = dataset.get("updated_at") or created_at
    return {
        **kb_row(dataset),
        "create_date": http_date(created_at),
        "create_time": created_at,
        "created_by": dataset.get("created_by") or "",
        "pagerank": 0,
        "parser_config": {"auto_keywords": 0, "auto_questions": 0, **KB_PARSER_CONFIG, "raptor": {"use_raptor": True}},
        "similarity_threshold": retrieval.get("score_threshold") or 0.0,
        "status": "1",
        "tenant_id": "",
        "top_k": retrieval.get("top_k") or 0,
        "update_date": http_date(updated_at),
        "vector_similarity_weight": vector_weight(retrieval),
    }


def kb_created(dataset: Json) -> Json:
    """The answer of `kb/create`; `kb_id` is where RAGFlow's UI looks."""
    return {
        "description": dataset.get("description") or "",
        "id": dataset["id"],
        "kb_id": dataset["id"],
        "name": dataset["name"],
    }


def embedding_id(dataset: Json) -> str:
    """`model@provider`, as RAGFlow writes it; empty while the dataset has no embedding model."""
    model, provider = dataset.get("embedding_model"), dataset.get("embedding_model_provider")
    return f"{model}@{provider}" if model and provider else model or ""


def vector_weight(retrieval_model: Json) -> float:
    """The share of meaning against words in a stored retrieval model."""
    vector_setting = (retrieval_model.get("weights") or {}).get("vector_setting") or {}
    return float(vector_setting.get("vector_weight", DEFAULT_VECTOR_WEIGHT))


# ------------------------------------------------------------------ document


def document_row(document: Json, kb_id: str, segments: Json | None = None) -> Json:
    """A row of `document/list`.

    :param segments: `completed_segments` and `total_segments` of the document, where Dify's console told them
    """
    upload = _upload_file(document)
    status = document.get("indexing_status") or "waiting"
    created_at = document.get("created_at") or 0
    done, total = _segment_counts(segments)
    return {
        "chunk_num": total,
        "create_date": http_date(created_at),
        "create_time": int(created_at),
        "created_by": document.get("created_by") or "",
        "id": document["id"],
        "kb_id": kb_id,
        "location": "",
        "meta_fields": meta_fields(document.get("doc_metadata")),
        "name": document["name"],
        "parser_config": {"pages": [[]]},
        "parser_id": "naive",
        "process_begin_at": None,
        "process_duation": 0,
        "process_duration": 0,
        "progress": progress(status, done, total),
        "progress_msg": document.get("error") or "",
        "run": RUN_OF_STATUS.get(status, "1"),
        "size": upload.get("size") or 0,
        "source_type": "local",
        "status": "1" if document.get("enabled") and not document.get("archived") else "0",
        "thumbnail": "",
        "token_num": document.get("tokens") or 0,
        "type": document.get("doc_form") or "text_model",
        "update_date": http_date(created_at),
        "update_time": int(created_at),
    }


def progress(status: str, done: int, total: int) -> float:
    """How far a document is: 0..1, -1 when it failed. Counts say it best; without them only the ends are known."""
    if status == "error":
        return -1
    if status == "completed":
        return 1
    return round(done / total, 4) if total else 0


def meta_fields(doc_metadata: Any) -> Json:
    """Dify's list of metadata values as a name-to-value object; the built-in ones have values as well."""
    if not isinstance(doc_metadata, list):
        return doc_metadata if isinstance(doc_metadata, dict) else {}
    return {entry["name"]: entry.get("value") for entry in doc_metadata if "name" in entry}


def uploaded_document(created: Json, kb_id: str) -> Json:
    """An entry of the answer of `document/upload`, from Dify's answer to create-by-file."""
    document = created["document"]
    return {
        "batch": created["batch"],
        "created_by": document.get("created_by") or "",
        "id": document["id"],
        "kb_id": kb_id,
        "location": "",
        "name": document["name"],
        "parser_config": {"pages": [[]]},
        "parser_id": "naive",
        "run": RUN_OF_STATUS.get(document.get("indexing_status") or "waiting", "1"),
        "size": _upload_file(document).get("size") or 0,
        "thumbnail": "",
        "type": file_extension(document["name"]),
    }


def indexing_status(documents: list[Json]) -> list[Json]:
    """The documents of `document/status`, with the `progress` that the old system left out."""
    return [
        {
            **document,
            "progress": progress(document.get("indexing_status") or "waiting", *_segment_counts(document)),
        }
        for document in documents
    ]


def file_info(info: Json) -> Json:
    """The `file_info` of `document/get`: Dify's facts about a file, its addresses without the host.

    The addresses are signed and good for minutes; the host is left out because callers cannot reach it, nor should they
    know it.
    """
    keys = ("created_at", "created_by", "extension", "id", "mime_type", "name", "size")
    addresses = {key: without_host(info.get(key) or "") for key in ("download_url", "url")}
    return {**{key: info.get(key) for key in keys}, **addresses}


def without_host(address: str) -> str:
    """`/files/…` of `http://dify/files/…`."""
    parts = urlsplit(address)
    return parts._replace(scheme="", netloc="").geturl()


def file_extension(name: str) -> str:
    """`txt` of `a.TXT`, empty if there is none."""
    return PurePath(name).suffix[1:].lower()


def _upload_file(document: Json) -> Json:
    """What Dify knows of a document's file; its two generations and its list and detail keep it in different places."""
    for source in (document.get("data_source_detail_dict"), document.get("data_source_info")):
        upload = (source or {}).get("upload_file")
        if isinstance(upload, dict):
            return upload
    return {}


def _segment_counts(segments: Json | None) -> tuple[int, int]:
    if not segments:
        return 0, 0
    return segments.get("completed_segments") or 0, segments.get("total_segments") or 0


# ------------------------------------------------------------------ chunk


def chunk_row(segment: Json, document_name: str) -> Json:
    """A row of `chunk/list`."""
    return {
        "available_int": 1 if segment.get("enabled") else 0,
        "chunk_id": segment["id"],
        "content_with_weight": segment_text(segment),
        "doc_id": segment["document_id"],
        "docnm_kwd": document_name,
        "image_id": "",
        "important_kwd": segment.get("keywords"),
        "positions": [],
        "question_kwd": [],
    }


def chunk_document(document: Json, kb_id: str) -> Json:
    """The `doc` of `chunk/list`: the row of `document/list`, with the counts that a document's detail has."""
    total = document.get("segment_count") or 0
    done = total if document.get("indexing_status") == "completed" else 0
    row = document_row(document, kb_id, {"completed_segments": done, "total_segments": total})
    updated_at = document.get("updated_at") or row["update_time"]
    return {**row, "update_date": http_date(updated_at), "update_time": int(updated_at)}


def segment_text(segment: Json) -> str:
    """What a person reads of a segment: its text, and under it the answer where it is a question of a qa_model."""
    content, answer = segment.get("content") or "", segment.get("answer")
    return f"{content}\n{answer}" if answer else content


def retrieval(question: str, records: list[Json], total: int) -> Json:
    """The answer of `chunk/retrieval_test`: the document's `records`, and what RAGFlow's UI reads instead.

    :param records: Dify's records, best first
    :param total: how many there are on all pages
    """
    return {
        "query": question,
        "records": [_record(record) for record in records],
        "chunks": [_retrieved_chunk(record) for record in records],
        "doc_aggs": document_counts(records),
        "total": total,
    }


def reference(record: Json) -> Json:
    """One of `rag_info.references`: a passage that the model was given."""
    segment = record["segment"]
    document = segment.get("document") or {}
    return {
        "chunk_id": segment["id"],
        "content": segment_text(segment),
        "doc_id": segment.get("document_id") or document.get("id"),
        "doc_name": document.get("name") or "",
        "kb_id": record.get("kb_id"),
        "score": score(record),
    }


def ragflow_reference(records: list[Json]) -> Json:
    """The `reference` that RAGFlow's UI shows under an answer."""
    chunks = [
        {
            "content": segment_text(record["segment"]),
            "dataset_id": record.get("kb_id"),
            "document_id": record["segment"]["document_id"],
            "document_name": (record["segment"].get("document") or {}).get("name") or "",
            "id": record["segment"]["id"],
            "positions": [],
            "similarity": score(record),
        }
        for record in records
    ]
    return {"chunks": chunks, "doc_aggs": document_counts(records)}


def score(record: Json) -> float:
    """A record's score, 0..1; Dify 1.8.1 has null for keyword search."""
    return float(record.get("score") or 0.0)


def document_counts(records: list[Json]) -> list[Json]:
    """RAGFlow's `doc_aggs`: the documents of the records, the one with most passages first."""
    names = {}
    counts: Counter[str] = Counter()
    for record in records:
        document_id = record["segment"]["document_id"]
        names[document_id] = (record["segment"].get("document") or {}).get("name") or ""
        counts[document_id] += 1
    return [
        {"count": count, "doc_id": document_id, "doc_name": names[document_id]}
        for document_id, count in counts.most_common()
    ]


def _record(record: Json) -> Json:
    segment = record["segment"]
    document = segment.get("document") or {}
    return {
        "answer": segment.get("answer"),
        "content": segment.get("content") or "",
        "document": {"id": segment["document_id"], "name": document.get("name") or ""},
        "score": score(record),
    }


def _retrieved_chunk(record: Json) -> Json:
    similarity = min(max(score(record), 0.0), 1.0)
    row = chunk_row(record["segment"], (record["segment"].get("document") or {}).get("name") or "")
    return {**row, "similarity": similarity, "term_similarity": similarity, "vector_similarity": similarity}


# ------------------------------------------------------------------ model


def provider_row(provider: Json) -> Json:
    """An entry of `llm/my_llms`: Dify's, its icons as in the API document, without the address of Dify's host.

    Dify 1.12.1 has no `icon_large` any more (models/list-llm); the small one stands in for it.
    """
    small = _icon_addresses(provider.get("icon_small"))
    large = _icon_addresses(provider.get("icon_large")) or small
    return {**provider, "icon_large": large, "icon_small": small, "icon_small_dark": None}


def _icon_addresses(icon: Any) -> Json:
    if not isinstance(icon, dict):
        return {}
    return {language: without_host(url) for language, url in icon.items() if url}


def http_date(seconds: float) -> str:
    """RFC 1123, as RAGFlow writes its `*_date`; empty for an unknown time."""
    return formatdate(seconds, usegmt=True) if seconds else ""
