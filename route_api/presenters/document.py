"""Dify's documents and files -> the documents of our answers, `document/…`."""

from pathlib import PurePath
from typing import Any

from .formats import http_date, without_host

Json = dict[str, Any]

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
"""Dify's `indexing_status` -> RAGFlow's `run`: 0 not started, 1 running, 2 cancelled, 3 done, 4 failed.

RAGFlow's UI shows nothing for any other value."""


def document_row(document: Json, kb_id: str, segments: Json | None = None) -> Json:
    """Build a row of `document/list`.

    :param segments: the document's `completed_segments` and `total_segments`, if Dify's console was asked for them
    """
    upload = upload_file_of(document)
    status = document.get("indexing_status") or "waiting"
    created_at = document.get("created_at") or 0
    completed, total = _segment_counts(segments)
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
        "progress": progress(status, completed, total),
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


def document_row_from_detail(document: Json, kb_id: str) -> Json:
    """Build the `doc` of `chunk/list`: a row of `document/list`, with the counts and times of Dify's detail."""
    total = document.get("segment_count") or 0
    completed = total if document.get("indexing_status") == "completed" else 0
    row = document_row(document, kb_id, {"completed_segments": completed, "total_segments": total})
    updated_at = document.get("updated_at") or row["update_time"]
    return {**row, "update_date": http_date(updated_at), "update_time": int(updated_at)}


def progress(status: str, completed: int, total: int) -> float:
    """Compute how much of a document is indexed.

    :param status: Dify's `indexing_status`
    :param total: segments of the document; 0 if the number is not known
    :returns: 0 to 1, or -1 if indexing failed; 0 for a document in work whose segments are not known
    """
    if status == "error":
        return -1
    if status == "completed":
        return 1
    return round(completed / total, 4) if total else 0


def meta_fields(doc_metadata: Any) -> Json:
    """Turn Dify's list of metadata entries into an object from name to value; built-in entries are included."""
    if not isinstance(doc_metadata, list):
        return doc_metadata if isinstance(doc_metadata, dict) else {}
    return {entry["name"]: entry.get("value") for entry in doc_metadata if "name" in entry}


def uploaded_document(created: Json, kb_id: str) -> Json:
    """Build an entry of the answer of `document/upload` from Dify's answer to create-by-file."""
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
        "size": upload_file_of(document).get("size") or 0,
        "thumbnail": "",
        "type": file_extension(document["name"]),
    }


def indexing_status(documents: list[Json]) -> list[Json]:
    """Build the documents of `document/status`: Dify's, with the `progress` that the old system left out."""
    return [
        {
            **document,
            "progress": progress(document.get("indexing_status") or "waiting", *_segment_counts(document)),
        }
        for document in documents
    ]


def file_info(info: Json) -> Json:
    """Build the `file_info` of `document/get`: Dify's description of a file, its addresses without the host.

    The addresses are signed, and valid for a few minutes.
    """
    keys = ("created_at", "created_by", "extension", "id", "mime_type", "name", "size")
    addresses = {key: without_host(info.get(key) or "") for key in ("download_url", "url")}
    return {**{key: info.get(key) for key in keys}, **addresses}


def file_extension(name: str) -> str:
    """Return `txt` for `a.TXT`; empty if the name has no extension."""
    return PurePath(name).suffix[1:].lower()


def upload_file_of(document: Json) -> Json:
    """Find Dify's description of a document's file: the versions of Dify, and its list and its detail, differ in the
    key that holds it."""
    for source in (document.get("data_source_detail_dict"), document.get("data_source_info")):
        upload = (source or {}).get("upload_file")
        if isinstance(upload, dict):
            return upload
    return {}


def _segment_counts(segments: Json | None) -> tuple[int, int]:
    if not segments:
        return 0, 0
    return segments.get("completed_segments") or 0, segments.get("total_segments") or 0
