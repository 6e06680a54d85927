"""The JSON in which Dify shows documents, in lists and alone, to the service API and to the console.

All functions take rows of `document_table.find_document`.
"""

import json
from sqlite3 import Row
from typing import Any

from ..access.account_table import account_id_and_name
from ..store import Store
from ..version import is_1_16, since_1_16
from .metadata_table import document_metadata

STEP_TIMES = (
    "processing_started_at",
    "parsing_completed_at",
    "cleaning_completed_at",
    "splitting_completed_at",
    "completed_at",
)


def _seconds(moment: float | None) -> int | None:
    return None if moment is None else int(moment)


def _upload_file(document: Row) -> dict[str, Any]:
    return {
        "id": document["file_id"],
        "name": document["file_name"],
        "size": document["file_size"],
        "extension": document["file_extension"],
        "mime_type": document["file_mime_type"],
        "created_by": document["created_by"],
        "created_at": document["file_created_at"],
    }


def _common(store: Store, dataset: Row, document: Row) -> dict[str, Any]:
    """The fields that all forms of a document have."""
    return {
        "id": document["id"],
        "position": document["position"],
        "data_source_type": "upload_file",
        "dataset_process_rule_id": document["process_rule_id"],
        "name": document["name"],
        "created_from": "api",
        "created_by": document["created_by"],
        "created_at": int(document["created_at"]),
        "tokens": document["tokens"],
        "indexing_status": document["indexing_status"],
        "error": document["error"],
        "enabled": bool(document["enabled"]),
        "disabled_at": _seconds(document["disabled_at"]),
        "disabled_by": document["disabled_by"],
        "archived": bool(document["archived"]),
        "display_status": document["display_status"],
        "hit_count": 0,
        "doc_metadata": document_metadata(store.connection(), dataset, document, account_id_and_name(store)[1]),
        "need_summary": False,
    }


def list_item(store: Store, dataset: Row, document: Row) -> dict[str, Any]:
    """A document in a list, and in the answer of an upload."""
    return {
        **_common(store, dataset, document),
        "data_source_info": {"upload_file_id": document["file_id"]},
        "data_source_detail_dict": {"upload_file": _upload_file(document)},
        "word_count": document["word_count"],
        "doc_form": document["doc_form"],
        "summary_index_status": None,
    }


def console_list_item(store: Store, dataset: Row, document: Row) -> dict[str, Any]:
    """A document in the console's list. 1.16.1 adds its rule."""
    return {**list_item(store, dataset, document), **since_1_16(process_rule_dict=_stored_rule(document))}


def list_item_with_segments(store: Store, dataset: Row, document: Row) -> dict[str, Any]:
    """A document in the console's list with `fetch=true`: with the numbers of segments and the rule. 1.12.1 leaves out
    `doc_form`."""
    item = console_list_item(store, dataset, document)
    if not is_1_16():
        del item["doc_form"]
    return {
        **item,
        "process_rule_dict": _stored_rule(document),
        "completed_segments": document["completed_segments"],
        "total_segments": document["total_segments"],
    }


def detail(store: Store, dataset: Row, document: Row) -> dict[str, Any]:
    """A document by itself, as the service API shows it."""
    segments, words = document["total_segments"], document["word_count"] or 0
    rule = _stored_rule(document)
    return {
        **_common(store, dataset, document),
        "data_source_info": {"upload_file": _upload_file(document)},
        "dataset_process_rule": {"mode": rule["mode"], "rules": rule["rules"]},
        "document_process_rule": rule,
        "completed_at": _seconds(document["completed_at"]),
        "updated_at": int(document["updated_at"]),
        "indexing_latency": document["indexing_latency"],
        "doc_type": None,
        "segment_count": segments,
        "average_segment_length": words // segments if segments else 0,
        "doc_form": document["doc_form"],
        "doc_language": document["doc_language"],
        "summary_index_status": None,
    }


def console_detail(store: Store, dataset: Row, document: Row) -> dict[str, Any]:
    """A document by itself, as the console shows it."""
    payload = detail(store, dataset, document)
    del payload["summary_index_status"]
    return {
        **payload,
        "data_source_info": {"upload_file_id": document["file_id"]},
        "data_source_detail_dict": {"upload_file": _upload_file(document)},
    }


def _stored_rule(document: Row) -> dict[str, Any]:
    return {
        "id": document["process_rule_id"],
        "dataset_id": document["dataset_id"],
        "mode": document["process_mode"],
        "rules": json.loads(document["process_rules"]),
    }


def indexing_status(document: Row) -> dict[str, Any]:
    """The progress of a document's indexing. Times are in seconds; the time of a later step is null."""
    return {
        "id": document["id"],
        "indexing_status": document["indexing_status"],
        **{name: _seconds(document[name]) for name in STEP_TIMES},
        "paused_at": _seconds(document["paused_at"]),
        "error": document["error"],
        "stopped_at": _seconds(document["stopped_at"]),
        "completed_segments": document["completed_segments"],
        "total_segments": document["total_segments"],
    }
