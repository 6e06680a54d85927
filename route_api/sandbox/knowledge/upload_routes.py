"""The routes that create and update documents, by file and by text. Each path has two spellings."""

import json
import secrets
import time
import uuid
from collections.abc import Mapping
from sqlite3 import Connection, Row
from typing import Any

from flask import Blueprint, request

from ..access.account_table import account_id_and_name
from ..access.api_key_check import require_dataset_key
from ..errors import SandboxError
from ..request_fields import RequestFields
from ..store import Store, current_store
from ..version import only_since_1_16
from .dataset_field_checks import default_retrieval_model, embedding_columns, named_embedding_model
from .dataset_table import find_dataset, open_dataset, update_dataset
from .document_payloads import list_item
from .document_table import find_document, require_editable, segment_seqs
from .indexer import current_indexer
from .passage_search import unindex_segments
from .process_rules import AUTOMATIC, ProcessRule, check_process_rule
from .uploaded_files import delete_files, insert_file, save_text, save_upload

FIRST_UPLOAD_TOP_K = 4
"""The top_k of the retrieval_model that the first document gives its dataset
(datasets/get-fresh-after-first-document)."""

blueprint = Blueprint("uploads", __name__)

DATASET = "/v1/datasets/<uuid:dataset_id>"


@blueprint.post(f"{DATASET}/document/create-by-file")
@blueprint.post(f"{DATASET}/document/create_by_file", endpoint="create_by_file_old_spelling")
@require_dataset_key
def create_by_file(dataset_id: uuid.UUID) -> dict[str, Any]:
    """Create a document from the multipart part `file`, and the optional part `data` (JSON)."""
    dataset = open_dataset(dataset_id)
    fields = _data_part()
    technique = _technique(dataset, fields)
    named_embedding_model(fields)
    return _create(dataset, fields, technique, _save_file_part())


@blueprint.post(f"{DATASET}/document/create-by-text")
@blueprint.post(f"{DATASET}/document/create_by_text", endpoint="create_by_text_old_spelling")
@require_dataset_key
def create_by_text(dataset_id: uuid.UUID) -> dict[str, Any]:
    """Create a document from a name and a text."""
    dataset = open_dataset(dataset_id)
    body = RequestFields("DocumentTextCreatePayload", request.get_json())
    name, text = body.text("name"), body.text("text")
    technique = _technique(dataset, body.fields)
    named_embedding_model(body.fields)
    fields = {"process_rule": {"mode": AUTOMATIC.mode}, **body.fields}
    if "process_rule" not in body.fields and _latest_rule(dataset["id"]) is not None:
        del fields["process_rule"]
    return _create(dataset, fields, technique, save_text(current_store(), name, text))


@blueprint.post(f"{DATASET}/documents/<uuid:document_id>/update-by-file")
@blueprint.post(f"{DATASET}/documents/<uuid:document_id>/update_by_file", endpoint="update_by_file_old_spelling")
@require_dataset_key
def update_by_file(dataset_id: uuid.UUID, document_id: uuid.UUID) -> dict[str, Any]:
    """Replace a document's file, or only its process rule if there is no part `file`. The document keeps its id."""
    dataset = open_dataset(dataset_id)
    document = find_document(current_store(), dataset["id"], document_id, missing="Document not found")
    fields = _data_part()
    return _update(dataset, document, fields, _save_file_part() if request.files else None)


@blueprint.patch(f"{DATASET}/documents/<uuid:document_id>")
@only_since_1_16
def patch_document(dataset_id: uuid.UUID, document_id: uuid.UUID) -> dict[str, Any]:
    """Do the same as `update-by-file`. 1.12.1 has no such route."""
    return update_by_file(dataset_id, document_id)


@blueprint.post(f"{DATASET}/documents/<uuid:document_id>/update-by-text")
@blueprint.post(f"{DATASET}/documents/<uuid:document_id>/update_by_text", endpoint="update_by_text_old_spelling")
@require_dataset_key
def update_by_text(dataset_id: uuid.UUID, document_id: uuid.UUID) -> dict[str, Any]:
    """Replace a document's text and name, or only its process rule if there is no text. The document keeps its id."""
    dataset = open_dataset(dataset_id)
    store = current_store()
    document = find_document(store, dataset["id"], document_id, missing="Document not found")
    body = RequestFields("DocumentTextUpdate", request.get_json())
    text = body.optional_text("text")
    name = body.optional_text("name") or document["name"]
    return _update(dataset, document, body.fields, None if text is None else save_text(store, name, text))


def _data_part() -> dict[str, Any]:
    """Read the multipart part `data`.

    :raises SandboxError: 400, if it is no JSON object (documents/create-by-file-broken-data-part)
    """
    try:
        fields = json.loads(request.form.get("data", "{}"))
    except ValueError as error:
        raise SandboxError(400, "invalid_param", str(error)) from error
    if not isinstance(fields, dict):
        raise SandboxError(400, "invalid_param", "data must be a JSON object")
    return fields


def _save_file_part() -> dict[str, Any]:
    if "file" not in request.files:
        raise SandboxError(400, "no_file_uploaded", "Please upload your file.")
    if len(request.files) > 1:
        raise SandboxError(400, "too_many_files", "Only one file is allowed.")
    return save_upload(current_store(), request.files["file"])


def _technique(dataset: Row, fields: Mapping[str, Any]) -> str:
    """Return the dataset's indexing technique, or the sent one if the dataset has none.

    The source is documents/create-by-file-economy-into-high-quality.
    """
    technique = dataset["indexing_technique"] or fields.get("indexing_technique")
    if not technique:
        raise SandboxError(400, "invalid_param", "indexing_technique is required.")
    return str(technique)


def _latest_rule(dataset_id: str) -> ProcessRule | None:
    row = (
        current_store()
        .connection()
        .execute(
            "SELECT process_mode, process_rules FROM document WHERE dataset_id = ?" " ORDER BY queued_at DESC LIMIT 1",
            (dataset_id,),
        )
        .fetchone()
    )
    return None if row is None else ProcessRule(row["process_mode"], json.loads(row["process_rules"]))


def _create(dataset: Row, fields: Mapping[str, Any], technique: str, file: dict[str, Any]) -> dict[str, Any]:
    """Store the document of a saved file. If this fails, the file is deleted."""
    store = current_store()
    try:
        rule = check_process_rule(fields["process_rule"]) if fields.get("process_rule") else _latest_rule(dataset["id"])
        if rule is None:
            raise SandboxError(400, "invalid_param", "process_rule is required.")
        doc_form = fields.get("doc_form") or dataset["doc_form"] or "text_model"
        if dataset["doc_form"] and doc_form != dataset["doc_form"]:
            raise SandboxError(400, "invalid_param", "doc_form is different from the dataset doc_form.")
        with store.transaction() as connection:
            _complete_dataset(connection, dataset, technique, doc_form, fields)
            # A second upload with the same name replaces the document, unless it is disabled
            # (tests/contract/README.md, 13).
            old = connection.execute(
                "SELECT * FROM document WHERE dataset_id = ? AND name = ? AND enabled",
                (dataset["id"], file["name"]),
            ).fetchone()
            insert_file(connection, file)
            if old is None:
                document_id = _insert(connection, dataset["id"], file, rule, doc_form, fields)
            else:
                document_id = old["id"]
                _replace(connection, document_id, file["name"], file["id"], rule)
    except BaseException:
        delete_files(store, [file["id"]])
        raise
    if old is not None:
        delete_files(store, [old["file_id"]])
    return _queued(store, dataset["id"], document_id)


def _update(dataset: Row, document: Row, fields: Mapping[str, Any], file: dict[str, Any] | None) -> dict[str, Any]:
    """Replace a document's file or process rule, and index it again."""
    store = current_store()
    try:
        require_editable(document)
        old_rule = ProcessRule(document["process_mode"], json.loads(document["process_rules"]))
        rule = check_process_rule(fields["process_rule"]) if fields.get("process_rule") else old_rule
        with store.transaction() as connection:
            if file is not None:
                insert_file(connection, file)
            name, file_id = (file["name"], file["id"]) if file else (document["name"], document["file_id"])
            _replace(connection, document["id"], name, file_id, rule)
    except BaseException:
        delete_files(store, [file["id"]] if file else [])
        raise
    delete_files(store, [document["file_id"]] if file else [])
    return _queued(store, dataset["id"], document["id"])


def _complete_dataset(
    connection: Connection, dataset: Row, technique: str, doc_form: str, fields: Mapping[str, Any]
) -> None:
    """Set the columns of the dataset that the first document decides."""
    settled: dict[str, Any] = {"updated_at": int(time.time())}
    if dataset["doc_form"] is None:
        settled["doc_form"] = doc_form
    if dataset["indexing_technique"] is None:
        settled |= {
            "indexing_technique": technique,
            **embedding_columns(technique, named_embedding_model(fields)),
        }
        if dataset["retrieval_model"] is None and technique == "high_quality":
            settled["retrieval_model"] = json.dumps(default_retrieval_model(technique, FIRST_UPLOAD_TOP_K))
    update_dataset(connection, dataset["id"], settled)


def _new_batch() -> str:
    return time.strftime("%Y%m%d%H%M%S", time.gmtime()) + str(100000 + secrets.randbelow(900000))


def _rule_columns(rule: ProcessRule) -> dict[str, str]:
    return {
        "process_rule_id": str(uuid.uuid4()),
        "process_mode": rule.mode,
        "process_rules": json.dumps(rule.rules, ensure_ascii=False),
    }


def _insert(
    connection: Connection,
    dataset_id: str,
    file: dict[str, Any],
    rule: ProcessRule,
    doc_form: str,
    fields: Mapping[str, Any],
) -> str:
    now = time.time()
    last_position = connection.execute(
        "SELECT coalesce(max(position), 0) FROM document WHERE dataset_id = ?", (dataset_id,)
    ).fetchone()[0]
    row = {
        "id": str(uuid.uuid4()),
        "dataset_id": dataset_id,
        "position": last_position + 1,
        "name": file["name"],
        "file_id": file["id"],
        "batch": _new_batch(),
        "doc_form": doc_form,
        "doc_language": fields.get("doc_language") or "English",
        "created_by": account_id_and_name(current_store())[0],
        "created_at": now,
        "updated_at": now,
        "queued_at": now,
        **_rule_columns(rule),
    }
    connection.execute(f"INSERT INTO document ({', '.join(row)}) VALUES (:{', :'.join(row)})", row)
    return str(row["id"])


def _replace(connection: Connection, document_id: str, name: str, file_id: str, rule: ProcessRule) -> None:
    """Put a document back into the queue with another file. A search no longer finds the old text.

    The answer still has the old text's `tokens` and `word_count` (documents/create-by-file-same-name).
    """
    unindex_segments(connection, segment_seqs(connection, document_id))
    connection.execute("DELETE FROM segment WHERE document_id = ?", (document_id,))
    now = time.time()
    row = {
        "id": document_id,
        "name": name,
        "file_id": file_id,
        "batch": _new_batch(),
        "updated_at": now,
        "queued_at": now,
        **_rule_columns(rule),
    }
    assignments = ", ".join(f"{column} = :{column}" for column in row if column != "id")
    connection.execute(f"UPDATE document SET {assignments}, indexing_status = 'waiting' WHERE id = :id", row)


def _queued(store: Store, dataset_id: str, document_id: str) -> dict[str, Any]:
    """Make the answer of an upload, and wake the indexer.

    The row is read before, so that the answer always has the status `waiting`.
    """
    document = find_document(store, dataset_id, document_id)
    current_indexer().wake()
    return {
        "document": list_item(store, find_dataset(store, dataset_id), document),
        "batch": document["batch"],
    }
