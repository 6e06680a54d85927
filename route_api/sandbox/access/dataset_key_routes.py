"""The console's routes for dataset keys."""

import uuid
from typing import Any

from flask import Blueprint, Response

from ..store import current_store
from .api_key_table import create_key, delete_key, list_keys
from .console_session import require_console_session

blueprint = Blueprint("keys", __name__)


@blueprint.get("/console/api/datasets/api-keys")
@require_console_session
def list_dataset_keys() -> dict[str, Any]:
    """List all dataset keys with their values."""
    return {"data": list_keys(current_store(), "dataset")}


@blueprint.post("/console/api/datasets/api-keys")
@require_console_session
def create_dataset_key() -> dict[str, Any]:
    """Create a dataset key. The status is 200; for an app's key it is 201 (provisioning/dataset-api-key-create)."""
    return create_key(current_store(), "dataset")


@blueprint.delete("/console/api/datasets/api-keys/<uuid:key_id>")
@require_console_session
def delete_dataset_key(key_id: uuid.UUID) -> Response:
    """Delete a dataset key; the status is 204."""
    delete_key(current_store(), "dataset", str(key_id))
    return Response(status=204, content_type="application/json")
