"""The routes of datasets: `/v1/datasets`, and the console's switch for the service API."""

import json
import time
import uuid
from sqlite3 import IntegrityError
from typing import Any

from flask import Blueprint, Response, current_app, request

from ..access.account_table import account_id_and_name
from ..access.api_key_check import require_dataset_key
from ..access.console_session import require_console_session
from ..errors import SandboxError
from ..page_parameters import contains_pattern, requested_page
from ..request_fields import RequestFields
from ..store import current_store
from ..version import deleted, is_1_16
from .dataset_field_checks import check_retrieval_model, embedding_columns, limited_text, named_embedding_model
from .dataset_payload import dataset_payload
from .dataset_table import find_dataset, open_dataset, update_dataset
from .passage_search import unindex_segments
from .uploaded_files import delete_files
from .vector_update import VectorUpdate

MAX_NAME, MAX_DESCRIPTION = 40, 400
TECHNIQUES = ("high_quality", "economy")
PERMISSIONS = ("only_me", "all_team_members", "partial_members")

blueprint = Blueprint("datasets", __name__)


def _checked_fields(body: RequestFields) -> dict[str, Any]:
    """Check the fields of a request.

    :returns: the columns that the request sets, and no others
    :raises SandboxError: 400 with pydantic's text
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
    """List datasets, newest first, and by id within one second. The keyword ignores case.

    With `tag_ids`, only datasets are listed that have all these tags. 1.12.1 refuses this parameter by mistake.
    """
    page = requested_page("DatasetListQuery")
    store = current_store()
    connection = store.connection()
    pattern = contains_pattern(request.args.get("keyword", ""))
    tag_ids = set(request.args.getlist("tag_ids"))
    if tag_ids and not is_1_16():
        query = RequestFields("DatasetListQuery", request.args)
        query.refuse("tag_ids", "Input should be a valid list", "list_type", request.args["tag_ids"])
    where = (
        "FROM dataset WHERE name LIKE ? ESCAPE '\\' AND ? = (SELECT count(*) FROM tag_binding"
        " WHERE dataset_id = dataset.id AND tag_id IN (SELECT value FROM json_each(?)))"
    )
    values = (pattern, len(tag_ids), json.dumps(list(tag_ids)))
    total = connection.execute(f"SELECT count(*) {where}", values).fetchone()[0]
    rows = connection.execute(
        f"SELECT * {where} ORDER BY created_at DESC, id LIMIT ? OFFSET ?", (*values, page.rows, page.offset)
    ).fetchall()
    return page.answer([dataset_payload(store, row) for row in rows], total)


@blueprint.post("/v1/datasets")
@require_dataset_key
def create_dataset() -> dict[str, Any]:
    """Create a dataset; the status is 200, not 201 (datasets/create-all-fields)."""
    body = RequestFields("DatasetCreatePayload", request.get_json())
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
        "created_by": account_id_and_name(store)[0],
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
    """Show one dataset.

    With the permission `partial_members`, the members are shown, too (datasets/get-partial-members).
    """
    dataset = open_dataset(dataset_id)
    payload = dataset_payload(current_store(), dataset)
    if dataset["permission"] == "partial_members":
        payload["partial_member_list"] = json.loads(dataset["partial_members"])
    return payload


@blueprint.patch("/v1/datasets/<uuid:dataset_id>")
@require_dataset_key
def patch_dataset(dataset_id: uuid.UUID) -> dict[str, Any]:
    """Change the fields in the request and keep all others, as 1.12.1 does (datasets/patch-empty-object)."""
    dataset = open_dataset(dataset_id)
    fields = _checked_fields(RequestFields("DatasetUpdatePayload", request.get_json()))
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
    if technique == "high_quality":  # An economy dataset has no vectors, and may have become a high_quality one.
        vector_update: VectorUpdate = current_app.extensions["sandbox_vector_update"]
        vector_update.start()
    dataset = find_dataset(store, dataset_id)
    members = json.loads(dataset["partial_members"]) if dataset["permission"] == "partial_members" else []
    return {**dataset_payload(store, dataset), "partial_member_list": members}


@blueprint.delete("/v1/datasets/<uuid:dataset_id>")
@require_dataset_key
def delete_dataset(dataset_id: uuid.UUID) -> Response:
    """Delete a dataset with its documents; in 1.12.1 the status is 200, and the JSON body is 204 (datasets/delete)."""
    dataset = open_dataset(dataset_id)
    store = current_store()
    with store.transaction() as connection:
        file_ids = connection.execute("SELECT file_id FROM document WHERE dataset_id = ?", (dataset["id"],)).fetchall()
        seqs = connection.execute("SELECT seq FROM segment WHERE dataset_id = ?", (dataset["id"],)).fetchall()
        unindex_segments(connection, (row["seq"] for row in seqs))
        connection.execute("DELETE FROM dataset WHERE id = ?", (dataset["id"],))
    delete_files(store, [row["file_id"] for row in file_ids])
    return deleted()


@blueprint.post("/console/api/datasets/<uuid:dataset_id>/api-keys/<any(enable, disable):action>")
@require_console_session
def switch_service_api(dataset_id: uuid.UUID, action: str) -> dict[str, str]:
    """Enable or disable the service API for a dataset."""
    store = current_store()
    dataset = find_dataset(store, dataset_id)
    with store.transaction() as connection:
        update_dataset(connection, dataset["id"], {"enable_api": action == "enable"})
    return {"result": "success"}
