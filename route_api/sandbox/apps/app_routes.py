"""The console's routes for apps: create, list, configure, and their keys. The sandbox has apps of two modes."""

import uuid
from typing import Any

from flask import Blueprint, Response, g, jsonify, request

from ..access.api_key_table import create_key, delete_key, list_keys
from ..access.console_session import require_console_session
from ..errors import SandboxError
from ..model.available_models import default_model
from ..request_fields import RequestFields
from ..store import current_store
from .app_config import fresh_config, saved_config
from .app_payloads import app_detail, app_list_item, app_summary, created_app
from .app_table import create_app, find_app, get_app, save_config

APP_MODES = ("chat", "agent-chat", "advanced-chat", "workflow", "completion")
OUR_MODES = ("chat", "completion")

blueprint = Blueprint("apps", __name__)


@blueprint.post("/console/api/apps")
@require_console_session
def create() -> tuple[dict[str, Any], int]:
    """Create an app with the default model. Several apps may have the same name."""
    body = RequestFields("CreateAppPayload", request.get_json())
    name, mode = body.text("name"), body.choice("mode", APP_MODES)
    if mode not in OUR_MODES:
        text = f"The Route API sandbox has apps of the modes {' and '.join(OUR_MODES)} only, not {mode}."
        raise SandboxError(400, "invalid_param", text)
    optional = {field: body.optional_text(field) for field in ("description", "icon_type", "icon", "icon_background")}
    config = fresh_config(default_model("llm"), mode)
    app_id = create_app(current_store(), g.account["id"], config, mode=mode, name=name, **optional)
    return created_app(get_app(app_id)), 201


@blueprint.get("/console/api/apps")
@require_console_session
def list_apps() -> dict[str, Any]:
    """List apps, newest first, whose name contains `name`, of one `mode` or of all."""
    query = RequestFields("AppListQuery", request.args)
    page, limit = query.number("page", 1, 1, 99999), query.number("limit", 20, 1, 100)
    name = query.optional_text("name") or ""
    rows = (
        current_store()
        .connection()
        .execute(
            "SELECT * FROM app WHERE instr(lower(name), lower(:name)) > 0 AND :mode IN (mode, 'all')"
            " ORDER BY created_at DESC, rowid DESC",
            {"name": name, "mode": query.fields.get("mode", "all")},
        )
        .fetchall()
    )
    shown = rows[(page - 1) * limit : page * limit]
    return {
        "page": page,
        "limit": limit,
        "total": len(rows),
        "has_more": len(rows) > page * limit,
        "data": [app_list_item(row) for row in shown],
    }


@blueprint.get("/console/api/apps/<uuid:app_id>")
@require_console_session
def get(app_id: uuid.UUID) -> dict[str, Any]:
    """Show one app with its configuration."""
    return app_detail(get_app(app_id))


@blueprint.delete("/console/api/apps/<uuid:app_id>")
@require_console_session
def delete(app_id: uuid.UUID) -> Response:
    """Delete an app with its keys and conversations."""
    get_app(app_id)
    with current_store().transaction() as connection:
        connection.execute("DELETE FROM api_key WHERE app_id = ?", (str(app_id),))
        connection.execute("DELETE FROM app WHERE id = ?", (str(app_id),))
    return Response(status=204, content_type="application/json")


@blueprint.post("/console/api/apps/<uuid:app_id>/model-config")
@require_console_session
def configure(app_id: uuid.UUID) -> dict[str, str]:
    """Publish a configuration. An omitted field gets Dify's default, not its old value."""
    app = get_app(app_id)
    sent = request.get_json()
    save_config(current_store(), app["id"], saved_config(sent if isinstance(sent, dict) else {}))
    return {"result": "success"}


@blueprint.post("/console/api/apps/<uuid:app_id>/api-enable")
@require_console_session
def enable_api(app_id: uuid.UUID) -> dict[str, Any]:
    """Enable or disable the service API of an app."""
    app = get_app(app_id)
    enabled = RequestFields("AppApiStatusPayload", request.get_json()).required("enable_api")
    current_store().connection().execute("UPDATE app SET api_enabled = ? WHERE id = ?", (bool(enabled), app["id"]))
    return app_summary(get_app(app_id))


@blueprint.get("/console/api/apps/<uuid:app_id>/api-keys")
@require_console_session
def list_app_keys(app_id: uuid.UUID) -> dict[str, Any] | tuple[Response, int]:
    """List the app's keys with their values."""
    if find_app(current_store(), str(app_id)) is None:
        return _no_such_app()
    return {"data": list_keys(current_store(), "app", str(app_id))}


@blueprint.post("/console/api/apps/<uuid:app_id>/api-keys")
@require_console_session
def create_app_key(app_id: uuid.UUID) -> tuple[dict[str, Any] | Response, int]:
    """Create a key of the app; the status is 201."""
    if find_app(current_store(), str(app_id)) is None:
        return _no_such_app()
    return create_key(current_store(), "app", str(app_id)), 201


@blueprint.delete("/console/api/apps/<uuid:app_id>/api-keys/<uuid:key_id>")
@require_console_session
def delete_app_key(app_id: uuid.UUID, key_id: uuid.UUID) -> Response | tuple[Response, int]:
    """Delete a key of the app; the status is 204."""
    if find_app(current_store(), str(app_id)) is None:
        return _no_such_app()
    delete_key(current_store(), "app", str(key_id), str(app_id))
    return Response(status=204, content_type="application/json")


def _no_such_app() -> tuple[Response, int]:
    """Answer 404 with a message alone, as Dify does on these routes (provisioning/app-api-key-unknown-app)."""
    return jsonify({"message": "App not found."}), 404
