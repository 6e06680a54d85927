"""Dify's documents and files -> the documents of our answers, `document/…`."""

from pathlib import PurePath
from typing import Any

from ..languages import Sentence, joined
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

NO_CHUNKS = Sentence("Nothing was found in the file that could become a chunk, so no search finds the document.")
NO_PAIRS = Sentence(
    "No pair of a question and its answer came of the file, so no search finds the document. With doc_form qa_model,"
    " the language model of the server writes these pairs; the sandbox reads them, from a csv with the columns question"
    " and answer or from lines that begin with Q: and A:, or 问： and 答：. To have the file's own text found, upload it"
    " with doc_form text_model."
)


def document_row(document: Json, kb_id: str, segments: Json | None = None) -> Json:
    """Build a row of `document/list`.

    :param segments: the document's `completed_segments` and `total_segments`, and perhaps the times of its processing,
        if Dify's console was asked for them
    """
    upload = upload_file_of(document)
    status = document.get("indexing_status") or "waiting"
    created_at = document.get("created_at") or 0
    completed, total = _segment_counts(segments)
    times = segments or {}
    has_none = times.get("total_segments", document.get("word_count")) == 0
    duration = _seconds_between(
        times.get("processing_started_at"), times.get("completed_at") or times.get("stopped_at")
    )
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
        "process_begin_at": http_date(times.get("processing_started_at") or 0) or None,
        "process_duation": duration,
        "process_duration": duration,
        "progress": progress(status, completed, total),
        "progress_msg": progress_message(document, has_no_segments=has_none),
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
    """Build the `doc` of `chunk/list`: a row of `document/list`, with the counts and times of Dify's detail.

    The detail does not tell when the processing began, but when it ended, without fractions of a second, and how many
    seconds the indexing took, which is its last step. So the begin and the duration are those of the indexing.
    """
    total = document.get("segment_count")
    completed = total if document.get("indexing_status") == "completed" else 0
    row = document_row(document, kb_id, {"completed_segments": completed, "total_segments": total})
    updated_at = document.get("updated_at") or row["update_time"]
    times: Json = {"update_date": http_date(updated_at), "update_time": int(updated_at)}
    latency, completed_at = document.get("indexing_latency"), document.get("completed_at")
    if latency is not None and completed_at:
        times["process_begin_at"] = http_date(completed_at - int(latency)) or None
        times["process_duation"] = times["process_duration"] = round(latency, 4)
    return {**row, **times}


def progress(status: str, completed: int, total: int) -> float:
    """Compute how much of a document is indexed.

    :param status: Dify's `indexing_status`
    :param total: segments of the document; 0 if the number is not known
    :returns: 0 to 1, or -1 if indexing failed; 0 for a document in work whose segments are not known. Only a completed
        document has 1: a client may wait for it, and nothing of another one is found, even with all segments done
    """
    if status == "error":
        return -1
    if status == "completed":
        return 1
    return min(round(completed / total, 4), 0.9999) if total else 0


def progress_message(document: Json, *, has_no_segments: bool) -> str:
    """What a person should know about the processing: why it failed, or that a document came out of it without chunks.

    :param document: with Dify's `indexing_status` and `error`, and perhaps `doc_form`
    :param has_no_segments: whether Dify has told that the document has none, also while they are not made yet
    """
    if document.get("error"):
        return str(document["error"])
    if document.get("indexing_status") != "completed" or not has_no_segments:
        return ""
    if "doc_form" not in document:
        with_pairs = Sentence("(With doc_form qa_model: no pair of a question and its answer was found.)")
        return joined([NO_CHUNKS, with_pairs])
    return NO_PAIRS if document["doc_form"] == "qa_model" else NO_CHUNKS


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
    """Build the documents of `document/status`: Dify's, with the `progress` that the old system left out, and the
    `progress_msg` of `document/list`. Dify does not tell the `doc_form` here."""
    return [
        {
            **document,
            "progress": progress(document.get("indexing_status") or "waiting", *_segment_counts(document)),
            "progress_msg": progress_message(document, has_no_segments=document.get("total_segments") == 0),
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


def _seconds_between(began: float | None, ended: float | None) -> float:
    return max(0.0, float(ended - began)) if began and ended else 0.0


def _segment_counts(segments: Json | None) -> tuple[int, int]:
    if not segments:
        return 0, 0
    return segments.get("completed_segments") or 0, segments.get("total_segments") or 0
