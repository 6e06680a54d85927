"""The service API's route for end users, which 1.12.1 does not have."""

import uuid
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, g

from ..access.account_table import WORKSPACE_ID
from ..errors import SandboxError
from ..store import current_store
from ..version import only_since_1_16
from .app_access import DEFAULT_USER, require_app
from .end_user_table import find_end_user

blueprint = Blueprint("end_users", __name__)


@blueprint.get("/v1/end-users/<uuid:user_id>")
@only_since_1_16
@require_app("nowhere")
def show_end_user(user_id: uuid.UUID) -> dict[str, Any]:
    """Show an end user of the app; `created_by` of an uploaded file has such an id."""
    row = find_end_user(current_store(), g.app["id"], str(user_id))
    if row is None:
        raise SandboxError(404, "end_user_not_found", "End user not found.")
    created_at = datetime.fromtimestamp(row["created_at"], UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return {
        "id": row["id"],
        "tenant_id": WORKSPACE_ID,
        "app_id": row["app_id"],
        "type": "service-api",
        "external_user_id": row["user"],
        "name": None,
        "is_anonymous": row["user"] == DEFAULT_USER,
        "session_id": row["user"],
        "created_at": created_at,
        "updated_at": created_at,
    }
