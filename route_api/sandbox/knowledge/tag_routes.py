"""The routes of tags of datasets: `/v1/datasets/tags`, and two of the console."""

import uuid
from sqlite3 import Row
from typing import Any

from flask import Blueprint, Response, jsonify, request

from ..access.api_key_check import require_dataset_key
from ..access.console_session import require_console_session
from ..errors import SandboxError
from ..request_fields import RequestFields
from ..store import current_store
from ..version import deleted, is_1_16
from .dataset_field_checks import limited_text
from .dataset_table import find_dataset, open_dataset
from .tag_table import (
    add_tag,
    bind_tags,
    delete_tag,
    get_tag,
    list_tags,
    require_free_name,
    tags_of,
    unbind_tags,
)

MAX_NAME = 50

blueprint = Blueprint("tags", __name__)


def _payload(tag: Row) -> dict[str, str]:
    """A tag with the number of its datasets, which is a text (datasets/tags-list in 1.16.1, tags-console-list)."""
    return {"id": tag["id"], "name": tag["name"], "type": "knowledge", "binding_count": str(tag["bindings"])}


def _refuse_own_answer(model: str, counts: dict[str, int]) -> None:
    """Fail as 1.12.1 does, which cannot check its own answer: it has numbers where its model wants texts.

    What was asked for is done all the same (datasets/tags-create, tags-list).

    :param counts: the number of datasets by its place in the answer
    """
    if is_1_16() or not counts:
        return
    lines = "\n".join(
        f"{place}\n  Input should be a valid string [type=string_type, input_value={count}, input_type=int]\n"
        "    For further information visit https://errors.pydantic.dev/2.11/v/string_type"
        for place, count in counts.items()
    )
    errors = "1 validation error" if len(counts) == 1 else f"{len(counts)} validation errors"
    raise SandboxError(400, "invalid_param", f"{errors} for {model}\n{lines}")


@blueprint.get("/v1/datasets/tags")
@require_dataset_key
def list_all_tags() -> Response:
    """List the tags of the workspace, newest first."""
    tags = list_tags(current_store())
    _refuse_own_answer("list[DataSetTag]", {f"{n}.binding_count": tag["bindings"] for n, tag in enumerate(tags)})
    return jsonify([_payload(tag) for tag in tags])


@blueprint.post("/v1/datasets/tags")
@require_dataset_key
def create_tag() -> dict[str, str]:
    """Create a tag."""
    body = RequestFields("TagCreatePayload", request.get_json())
    tag = add_tag(current_store(), limited_text(body, "name", 1, MAX_NAME))
    _refuse_own_answer("DataSetTag", {"binding_count": tag["bindings"]})
    return _payload(tag)


@blueprint.patch("/v1/datasets/tags")
@require_dataset_key
def rename_tag() -> dict[str, str]:
    """Rename a tag. 1.12.1 refuses the name that the tag has."""
    body = RequestFields("TagUpdatePayload", request.get_json())
    name, tag_id = limited_text(body, "name", 1, MAX_NAME), body.text("tag_id")
    store = current_store()
    if not is_1_16():
        require_free_name(store, name)
    tag = get_tag(store, tag_id)
    require_free_name(store, name, tag["id"])
    store.connection().execute("UPDATE tag SET name = ? WHERE id = ?", (name, tag["id"]))
    _refuse_own_answer("DataSetTag", {"binding_count": tag["bindings"]})
    return _payload(get_tag(store, tag["id"]))


@blueprint.delete("/v1/datasets/tags")
@require_dataset_key
def delete_one_tag() -> Response:
    """Delete the tag that the body names; in 1.12.1 the status is 200, and the JSON body is 204."""
    delete_tag(current_store(), RequestFields("TagDeletePayload", request.get_json()).text("tag_id"))
    return deleted()


@blueprint.post("/v1/datasets/tags/binding")
@require_dataset_key
def bind() -> Response:
    """Give a dataset tags."""
    body = RequestFields("TagBindingPayload", request.get_json())
    tag_ids, target_id = body.texts("tag_ids"), body.text("target_id")
    if not tag_ids:
        body.refuse("tag_ids", "Value error, Tag IDs is required.", "value_error", tag_ids)
    bind_tags(current_store(), _dataset_id(target_id), tag_ids)
    return deleted()


@blueprint.post("/v1/datasets/tags/unbinding")
@require_dataset_key
def unbind() -> Response:
    """Take tags from a dataset: `tag_id`, or, in 1.16.1, several `tag_ids`."""
    body = RequestFields("TagUnbindingPayload", request.get_json())
    if is_1_16():
        tag_ids = body.texts("tag_ids") if body.fields.get("tag_ids") else []
        if not tag_ids and not body.fields.get("tag_id"):
            body.refuse("", "Value error, Tag IDs is required.", "value_error", dict(body.fields))
        tag_ids = tag_ids or [body.text("tag_id")]
    else:
        tag_ids = [body.text("tag_id")]
    unbind_tags(current_store(), _dataset_id(body.text("target_id")), tag_ids)
    return deleted()


def _dataset_id(target_id: str) -> str:
    try:
        return str(find_dataset(current_store(), target_id)["id"])
    except SandboxError as error:
        # Here alone Dify's text has no full stop.
        raise SandboxError(404, "not_found", "Dataset not found") from error


@blueprint.get("/v1/datasets/<uuid:dataset_id>/tags")
@require_dataset_key
def list_tags_of_dataset(dataset_id: uuid.UUID) -> dict[str, Any]:
    """List the tags of a dataset."""
    tags = tags_of(current_store().connection(), open_dataset(dataset_id)["id"])
    return {"data": [{"id": tag["id"], "name": tag["name"]} for tag in tags], "total": len(tags)}


@blueprint.get("/console/api/tags")
@require_console_session
def list_tags_in_console() -> Response:
    """List the tags of datasets, for `type=knowledge`; the sandbox has no tags of apps."""
    is_knowledge = request.args.get("type", "") in ("", "knowledge")
    tags = list_tags(current_store(), request.args.get("keyword", "")) if is_knowledge else []
    return jsonify([_payload(tag) for tag in tags])


@blueprint.delete("/console/api/tags/<uuid:tag_id>")
@require_console_session
def delete_tag_in_console(tag_id: uuid.UUID) -> Response:
    """Delete a tag (datasets/tags-console-delete)."""
    delete_tag(current_store(), str(tag_id))
    return deleted()
