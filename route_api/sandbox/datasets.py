"""Knowledge bases: `/v1/datasets` and what the console adds."""

import json
import time
import uuid
from sqlite3 import Connection, IntegrityError, Row
from typing import Any

from flask import Blueprint, Response, jsonify, request

from .account import require_console_session
from .checks import (
    check_retrieval_model,
    default_retrieval_model,
    embedding_columns,
    limited_text,
    named_embedding_model,
)
from .errors import SandboxError
from .files import delete_files
from .keys import require_dataset_key
from .metadata import dataset_fields
from .owner import owner_of
from .paging import contains_pattern, requested_page
from .payload import Payload
from .search import unindex_segments
from .store import Store, current_store

MAX_NAME, MAX_DESCRIPTION = 40, 400
TECHNIQUES = ("high_quality", "economy")
PERMISSIONS = ("only_me", "all_team_members", "partial_members")

SCHEMA = """
CREATE TABLE IF NOT EXISTS dataset (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    permission TEXT NOT NULL,
    indexing_technique TEXT,
    embedding_model TEXT,
    embedding_model_provider TEXT,
    retrieval_model TEXT,
    doc_form TEXT,
    partial_members TEXT NOT NULL DEFAULT '[]',
    enable_api INTEGER NOT NULL DEFAULT 1,
    built_in_metadata INTEGER NOT NULL DEFAULT 0,
    ever_indexed INTEGER NOT NULL DEFAULT 0,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
"""

blueprint = Blueprint("datasets", __name__)


def find_dataset(store: Store, dataset_id: uuid.UUID | str) -> Row:
    """A dataset's row.

    :raises SandboxError: 404, there is none
    """
    row = store.connection().execute("SELECT * FROM dataset WHERE id = ?", (str(dataset_id),)).fetchone()
    if row is None:
        raise SandboxError(404, "not_found", "Dataset not found.")
    return row


def open_dataset(dataset_id: uuid.UUID) -> Row:
    """A dataset's row, for a call of the service API.

    :raises SandboxError: 404, there is none; 403, it is closed for the service API
    """
    dataset = find_dataset(current_store(), dataset_id)
    if not dataset["enable_api"]:
        raise SandboxError(403, "forbidden", "Dataset api access is not enabled.")
    return dataset


def dataset_payload(store: Store, dataset: Row) -> dict[str, Any]:
    """A dataset as Dify shows it."""
    connection = store.connection()
    counts = connection.execute(
        "SELECT count(*) AS documents, coalesce(sum(word_count), 0) AS words,"
        " coalesce(sum(enabled AND NOT archived AND indexing_status = 'completed'), 0) AS available"
        " FROM document WHERE dataset_id = ?",
        (dataset["id"],),
    ).fetchone()
    stored = dataset["retrieval_model"]
    retrieval_model = json.loads(stored) if stored else default_retrieval_model(dataset["indexing_technique"])
    return {
        "id": dataset["id"],
        "name": dataset["name"],
        "description": dataset["description"],
        "provider": "vendor",
        "permission": dataset["permission"],
        "data_source_type": "upload_file" if counts["documents"] else None,
        "indexing_technique": dataset["indexing_technique"],
        "app_count": 0,
        "document_count": counts["documents"],
        "word_count": counts["words"],
        "created_by": dataset["created_by"],
        "author_name": owner_of(store)[1],
        "created_at": dataset["created_at"],
        "updated_by": dataset["created_by"],
        "updated_at": dataset["updated_at"],
        "embedding_model": dataset["embedding_model"],
        "embedding_model_provider": dataset["embedding_model_provider"],
        "embedding_available": True,
        "retrieval_model_dict": retrieval_model,
        "summary_index_setting": dict.fromkeys(("enable", "model_name", "model_provider_name", "summary_prompt")),
        "tags": [],
        "doc_form": dataset["doc_form"],
        "external_knowledge_info": {
            f"external_knowledge_{field}": None for field in ("id", "api_id", "api_name", "api_endpoint")
        },
        "external_retrieval_model": {
            "top_k": retrieval_model["top_k"],
            "score_threshold": retrieval_model.get("score_threshold") or 0.0,
            "score_threshold_enabled": retrieval_model["score_threshold_enabled"],
        },
        "doc_metadata": dataset_fields(connection, dataset),
        "built_in_field_enabled": bool(dataset["built_in_metadata"]),
        "pipeline_id": None,
        "runtime_mode": "general",
        "chunk_structure": None,
        "icon_info": dict.fromkeys(("icon_type", "icon", "icon_background", "icon_url")),
        "is_published": False,
        "total_documents": counts["documents"],
        "total_available_documents": counts["available"],
        "enable_api": bool(dataset["enable_api"]),
        "is_multimodal": False,
    }


def _checked_fields(body: Payload) -> dict[str, Any]:
    """The columns that a request sets; what it leaves out is not in the answer.

    :raises SandboxError: 400, in pydantic's words
    """
    fields: dict[str, Any] = {}
    for name, lowest, highest in (("name", 1, MAX_NAME), ("description", 0, MAX_DESCRIPTION)):
        if name in body.fields:
            fields[name] = limited_text(body, name, lowest, highest)
    if body.fields.get("indexing_technique") is not None:
        fields["indexing_technique"] = body.choice("indexing_technique", TECHNIQUES)
    if body.fields.get("permission") is not None:
        fields["permission"] = body.choice("permission", PERMISSIONS, "enum")
    if body.fields.get("retrieval_model") is not None:
        fields["retrieval_model"] = json.dumps(check_retrieval_model(body.model, body.fields["retrieval_model"]))
    if body.fields.get("partial_member_list") is not None:
        fields["partial_members"] = json.dumps([member["user_id"] for member in body.fields["partial_member_list"]])
    fields.update(named_embedding_model(body.fields))
    return fields


@blueprint.get("/v1/datasets")
@require_dataset_key
def list_datasets() -> dict[str, Any]:
    """Newest first, those of one second by id; the keyword ignores case."""
    page = requested_page("DatasetListQuery")
    store = current_store()
    connection = store.connection()
    pattern = contains_pattern(request.args.get("keyword", ""))
    where = "FROM dataset WHERE name LIKE ? ESCAPE '\\'"
    total = connection.execute(f"SELECT count(*) {where}", (pattern,)).fetchone()[0]
    rows = connection.execute(
        f"SELECT * {where} ORDER BY created_at DESC, id LIMIT ? OFFSET ?", (pattern, page.rows, page.offset)
    ).fetchall()
    return page.answer([dataset_payload(store, row) for row in rows], total)


@blueprint.post("/v1/datasets")
@require_dataset_key
def create_dataset() -> dict[str, Any]:
    """A new dataset: HTTP 200, not 201 (datasets/create-all-fields)."""
    body = Payload("DatasetCreatePayload", request.get_json())
    body.required("name")
    fields = _checked_fields(body)
    technique = fields.get("indexing_technique")
    named_model = {name: fields.pop(name) for name in list(fields) if name.startswith("embedding_model")}
    store = current_store()
    now = int(time.time())
    row = {
        "id": str(uuid.uuid4()),
        "description": "",
        "permission": "only_me",
        "created_by": owner_of(store)[0],
        "created_at": now,
        "updated_at": now,
        **fields,
        **embedding_columns(technique, named_model),
    }
    try:
        with store.transaction() as connection:
            connection.execute(
                f"INSERT INTO dataset ({', '.join(row)}) VALUES (:{', :'.join(row)})",
                row,
            )
    except IntegrityError as error:
        text = "The dataset name already exists. Please modify your dataset name."
        raise SandboxError(409, "dataset_name_duplicate", text) from error
    return dataset_payload(store, find_dataset(store, row["id"]))


@blueprint.get("/v1/datasets/<uuid:dataset_id>")
@require_dataset_key
def get_dataset(dataset_id: uuid.UUID) -> dict[str, Any]:
    """One dataset; one for some members has these too (datasets/get-partial-members)."""
    dataset = open_dataset(dataset_id)
    payload = dataset_payload(current_store(), dataset)
    if dataset["permission"] == "partial_members":
        payload["partial_member_list"] = json.loads(dataset["partial_members"])
    return payload


@blueprint.patch("/v1/datasets/<uuid:dataset_id>")
@require_dataset_key
def patch_dataset(dataset_id: uuid.UUID) -> dict[str, Any]:
    """Change what is named and keep the rest, as 1.12.1 does (datasets/patch-empty-object)."""
    dataset = open_dataset(dataset_id)
    fields = _checked_fields(Payload("DatasetUpdatePayload", request.get_json()))
    technique = fields.get("indexing_technique")
    if technique is not None and technique != dataset["indexing_technique"]:
        named_model = {name: fields[name] for name in fields if name.startswith("embedding_model")}
        fields.update(embedding_columns(technique, named_model))
    fields["updated_at"] = int(time.time())
    store = current_store()
    try:
        with store.transaction() as connection:
            update_dataset(connection, dataset["id"], fields)
    except IntegrityError as error:
        raise SandboxError(400, "invalid_param", "Dataset name already exists") from error
    dataset = find_dataset(store, dataset_id)
    members = json.loads(dataset["partial_members"]) if dataset["permission"] == "partial_members" else []
    return {**dataset_payload(store, dataset), "partial_member_list": members}


def update_dataset(connection: Connection, dataset_id: str, fields: dict[str, Any]) -> None:
    """Set columns of a dataset, within the caller's transaction."""
    assignments = ", ".join(f"{name} = :{name}" for name in fields)
    connection.execute(f"UPDATE dataset SET {assignments} WHERE id = :dataset_id", {**fields, "dataset_id": dataset_id})


@blueprint.delete("/v1/datasets/<uuid:dataset_id>")
@require_dataset_key
def delete_dataset(dataset_id: uuid.UUID) -> Response:
    """Delete a dataset with all that is in it: HTTP 200 with the JSON body 204 (datasets/delete)."""
    dataset = open_dataset(dataset_id)
    store = current_store()
    with store.transaction() as connection:
        file_ids = connection.execute("SELECT file_id FROM document WHERE dataset_id = ?", (dataset["id"],)).fetchall()
        seqs = connection.execute("SELECT seq FROM segment WHERE dataset_id = ?", (dataset["id"],)).fetchall()
        unindex_segments(connection, (row["seq"] for row in seqs))
        connection.execute("DELETE FROM dataset WHERE id = ?", (dataset["id"],))
    delete_files(store, [row["file_id"] for row in file_ids])
    return jsonify(204)


@blueprint.post("/console/api/datasets/<uuid:dataset_id>/api-keys/<any(enable, disable):action>")
@require_console_session
def switch_service_api(dataset_id: uuid.UUID, action: str) -> dict[str, str]:
    """Open or close a dataset for the service API."""
    store = current_store()
    dataset = find_dataset(store, dataset_id)
    with store.transaction() as connection:
        update_dataset(connection, dataset["id"], {"enable_api": action == "enable"})
    return {"result": "success"}
