"""The routes `/v1/datasets/{id}/metadata`: the fields, the built-in fields, and the values of documents."""

import json
import time
import uuid
from sqlite3 import IntegrityError
from typing import Any

from flask import Blueprint, Response, request

from ..access.api_key_check import require_dataset_key
from ..errors import SandboxError
from ..request_fields import RequestFields
from ..store import current_store
from .dataset_field_checks import limited_text
from .dataset_table import open_dataset, update_dataset
from .metadata_table import BUILT_IN_FIELDS

FIELD_TYPES = ("string", "number", "time")
MAX_NAME = 255

blueprint = Blueprint("metadata", __name__)


@blueprint.get("/v1/datasets/<uuid:dataset_id>/metadata")
@require_dataset_key
def list_fields(dataset_id: uuid.UUID) -> dict[str, Any]:
    """List the dataset's own fields, each with the number of documents that have a value."""
    dataset = open_dataset(dataset_id)
    rows = (
        current_store()
        .connection()
        .execute(
            "SELECT id, name, type, (SELECT count(*) FROM document, json_each(document.metadata) AS item"
            "  WHERE document.dataset_id = metadata_field.dataset_id"
            "  AND item.key = metadata_field.name) AS count"
            " FROM metadata_field WHERE dataset_id = ? ORDER BY created_at, id",
            (dataset["id"],),
        )
    )
    built_in = bool(dataset["built_in_metadata"])
    return {"doc_metadata": [dict(row) for row in rows], "built_in_field_enabled": built_in}


@blueprint.post("/v1/datasets/<uuid:dataset_id>/metadata")
@require_dataset_key
def create_field(dataset_id: uuid.UUID) -> tuple[dict[str, str], int]:
    """Create a field; the status is 201."""
    dataset = open_dataset(dataset_id)
    body = RequestFields("MetadataArgs", request.get_json())
    field = {"id": str(uuid.uuid4()), "type": body.choice("type", FIELD_TYPES), "name": _new_name(body)}
    try:
        current_store().connection().execute(
            "INSERT INTO metadata_field (id, dataset_id, name, type, created_at)"
            " VALUES (:id, :dataset_id, :name, :type, :created_at)",
            {**field, "dataset_id": dataset["id"], "created_at": time.time()},
        )
    except IntegrityError as error:
        raise SandboxError(400, "invalid_param", "Metadata name already exists.") from error
    return field, 201


def _new_name(body: RequestFields) -> str:
    name = limited_text(body, "name", 1, MAX_NAME)
    if name in BUILT_IN_FIELDS:
        raise SandboxError(400, "invalid_param", "Metadata name already exists in Built-in fields.")
    return name


def _field_name(dataset_id: str, field_id: str) -> str:
    row = (
        current_store()
        .connection()
        .execute("SELECT name FROM metadata_field WHERE id = ? AND dataset_id = ?", (field_id, dataset_id))
        .fetchone()
    )
    if row is None:
        raise SandboxError(404, "not_found", "Metadata not found.")
    return str(row["name"])


@blueprint.patch("/v1/datasets/<uuid:dataset_id>/metadata/<uuid:field_id>")
@require_dataset_key
def rename_field(dataset_id: uuid.UUID, field_id: uuid.UUID) -> dict[str, str]:
    """Rename a field. The documents keep their values."""
    dataset = open_dataset(dataset_id)
    name = _new_name(RequestFields("MetadataUpdatePayload", request.get_json()))
    old_name = _field_name(dataset["id"], str(field_id))
    try:
        with current_store().transaction() as connection:
            connection.execute("UPDATE metadata_field SET name = ? WHERE id = ?", (name, str(field_id)))
            connection.execute(
                "UPDATE document SET metadata = json_set("
                "  json_remove(metadata, :old), :new, json_extract(metadata, :old))"
                " WHERE dataset_id = :dataset AND json_type(metadata, :old) IS NOT NULL",
                {"old": _json_path(old_name), "new": _json_path(name), "dataset": dataset["id"]},
            )
            row = connection.execute(
                "SELECT id, name, type FROM metadata_field WHERE id = ?", (str(field_id),)
            ).fetchone()
    except IntegrityError as error:
        raise SandboxError(400, "invalid_param", "Metadata name already exists.") from error
    return dict(row)


@blueprint.delete("/v1/datasets/<uuid:dataset_id>/metadata/<uuid:field_id>")
@require_dataset_key
def delete_field(dataset_id: uuid.UUID, field_id: uuid.UUID) -> Response:
    """Delete a field and its values in all documents; the status is 204."""
    dataset = open_dataset(dataset_id)
    name = _field_name(dataset["id"], str(field_id))
    with current_store().transaction() as connection:
        connection.execute("DELETE FROM metadata_field WHERE id = ?", (str(field_id),))
        connection.execute(
            "UPDATE document SET metadata = json_remove(metadata, ?) WHERE dataset_id = ?",
            (_json_path(name), dataset["id"]),
        )
    return Response(status=204, content_type="application/json")


def _json_path(name: str) -> str:
    return f"$.{json.dumps(name, ensure_ascii=False)}"


@blueprint.get("/v1/datasets/<uuid:dataset_id>/metadata/built-in")
@require_dataset_key
def list_built_in_fields(dataset_id: uuid.UUID) -> dict[str, Any]:
    """List the built-in fields. Each document of a dataset has them while they are enabled."""
    open_dataset(dataset_id)
    return {"fields": [{"name": name, "type": kind} for name, kind in BUILT_IN_FIELDS.items()]}


@blueprint.post("/v1/datasets/<uuid:dataset_id>/metadata/built-in/<any(enable, disable):action>")
@require_dataset_key
def switch_built_in_fields(dataset_id: uuid.UUID, action: str) -> dict[str, str]:
    """Enable or disable the built-in fields, for old and new documents."""
    dataset = open_dataset(dataset_id)
    with current_store().transaction() as connection:
        update_dataset(connection, dataset["id"], {"built_in_metadata": action == "enable"})
    return {"result": "success"}


@blueprint.post("/v1/datasets/<uuid:dataset_id>/documents/metadata")
@require_dataset_key
def set_values(dataset_id: uuid.UUID) -> dict[str, str]:
    """Set the values of documents. With `partial_update` the documents keep their other values."""
    dataset = open_dataset(dataset_id)
    operations = RequestFields("MetadataOperationData", request.get_json()).required("operation_data")
    with current_store().transaction() as connection:
        for operation in operations:
            values = {item["name"]: item.get("value") for item in operation["metadata_list"]}
            change = "json_patch(metadata, ?)" if operation.get("partial_update") else "?"
            updated = connection.execute(
                f"UPDATE document SET metadata = {change}, updated_at = ? WHERE id = ? AND dataset_id = ?",
                (json.dumps(values), time.time(), operation["document_id"], dataset["id"]),
            )
            if not updated.rowcount:
                raise SandboxError(400, "invalid_param", "Document not found.")
    return {"result": "success"}
