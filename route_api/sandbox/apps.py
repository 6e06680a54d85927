"""The console's apps: make, list, configure, keys. The sandbox has chat apps only."""

import json
import secrets
import time
import uuid
from sqlite3 import Row
from typing import Any

from flask import Blueprint, Response, g, jsonify, request

from .account import require_console_session
from .app_config import Config, fresh_config, saved_config
from .errors import SandboxError
from .keys import create_key, delete_key, list_keys
from .models import default_model
from .payload import Payload
from .store import Store, current_store

APP_MODES = ("chat", "agent-chat", "advanced-chat", "workflow", "completion")

SCHEMA = """
CREATE TABLE IF NOT EXISTS app (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    icon_type TEXT,
    icon TEXT,
    icon_background TEXT,
    api_enabled INTEGER NOT NULL DEFAULT 1,
    site_code TEXT NOT NULL,
    config TEXT NOT NULL,
    config_saved_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
"""

blueprint = Blueprint("apps", __name__)


def find_app(store: Store, app_id: str) -> Row | None:
    """The app's row, if there is one."""
    return store.connection().execute("SELECT * FROM app WHERE id = ?", (app_id,)).fetchone()


def get_app(app_id: object) -> Row:
    """The app's row.

    :raises SandboxError: 404, there is no such app
    """
    app = find_app(current_store(), str(app_id))
    if app is None:
        raise SandboxError(404, "app_not_found", "App not found.")
    return app


def config_of(app: Row) -> Config:
    """The app's published configuration."""
    return json.loads(app["config"])


def create_app(store: Store, account_id: str, config: Config, **fields: str | None) -> str:
    """Make an app and return its id.

    :param fields: name, and optionally description, icon_type, icon, icon_background
    """
    app_id, now = str(uuid.uuid4()), int(time.time())
    with store.transaction() as connection:
        connection.execute(
            "INSERT INTO app (id, name, description, icon_type, icon, icon_background, site_code, config,"
            " config_saved_at, created_by, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                app_id,
                fields["name"],
                fields.get("description") or "",
                fields.get("icon_type"),
                fields.get("icon"),
                fields.get("icon_background"),
                secrets.token_urlsafe(12),
                json.dumps(config, ensure_ascii=False),
                now,
                account_id,
                now,
                now,
            ),
        )
    return app_id


def save_config(store: Store, app_id: str, config: Config) -> None:
    """Publish a configuration; running conversations keep the one they were started with."""
    with store.transaction() as connection:
        connection.execute(
            "UPDATE app SET config = ?, config_saved_at = ? WHERE id = ?",
            (json.dumps(config, ensure_ascii=False), int(time.time()), app_id),
        )


def _authorship(app: Row, changed_at: int) -> dict[str, Any]:
    return {
        "created_by": app["created_by"],
        "created_at": app["created_at"],
        "updated_by": app["created_by"],
        "updated_at": changed_at,
    }


def _common(app: Row) -> dict[str, Any]:
    return {
        "id": app["id"],
        "name": app["name"],
        "description": app["description"],
        "mode": "chat",
        "icon": app["icon"],
        "icon_background": app["icon_background"],
        "workflow": None,
        "use_icon_as_answer_icon": False,
        **_authorship(app, app["updated_at"]),
        "access_mode": None,
        "tags": [],
    }


def _summary(app: Row) -> dict[str, Any]:
    """What create and api-enable answer: provisioning/app-create."""
    return {
        **_common(app),
        "enable_site": True,
        "enable_api": bool(app["api_enabled"]),
        "model_config": {**config_of(app), **_authorship(app, app["config_saved_at"])},
        "tracing": None,
    }


def _detail(app: Row) -> dict[str, Any]:
    """Source: provisioning/app-get-fresh."""
    base = request.host_url.rstrip("/")
    return {
        **_summary(app),
        "icon_type": app["icon_type"],
        "api_base_url": f"{base}/v1",
        "max_active_requests": None,
        "deleted_tools": [],
        "site": {
            **site_of(app),
            "access_token": app["site_code"],
            "code": app["site_code"],
            "customize_domain": None,
            "customize_token_strategy": "not_allow",
            "prompt_public": False,
            "app_base_url": base,
            **_authorship(app, app["updated_at"]),
        },
        "icon_url": None,
    }


def site_of(app: Row) -> dict[str, Any]:
    """How the app's web page would look: chat/site."""
    return {
        "title": app["name"],
        "chat_color_theme": None,
        "chat_color_theme_inverted": False,
        "icon_type": app["icon_type"],
        "icon": app["icon"],
        "icon_background": app["icon_background"],
        "description": None,
        "copyright": None,
        "privacy_policy": None,
        "custom_disclaimer": "",
        "default_language": "en-US",
        "show_workflow_steps": True,
        "use_icon_as_answer_icon": False,
        "icon_url": None,
    }


def _row(app: Row) -> dict[str, Any]:
    """One row of the list: provisioning/app-list."""
    config = config_of(app)
    return {
        **_common(app),
        "max_active_requests": None,
        "icon_type": app["icon_type"],
        "model_config": {
            "model": config["model"],
            "pre_prompt": config["pre_prompt"],
            **_authorship(app, app["config_saved_at"]),
        },
        "create_user_name": None,
        "author_name": g.account["name"],
        "has_draft_trigger": False,
        "icon_url": None,
    }


@blueprint.post("/console/api/apps")
@require_console_session
def create() -> tuple[dict[str, Any], int]:
    """Make an app with the default model; names need not be unique."""
    body = Payload("CreateAppPayload", request.get_json())
    name, mode = body.text("name"), body.choice("mode", APP_MODES)
    if mode != "chat":
        raise SandboxError(400, "invalid_param", f"The Route API sandbox has apps of mode chat only, not {mode}.")
    optional = {field: body.optional_text(field) for field in ("description", "icon_type", "icon", "icon_background")}
    app_id = create_app(current_store(), g.account["id"], fresh_config(default_model("llm")), name=name, **optional)
    return _summary(get_app(app_id)), 201


@blueprint.get("/console/api/apps")
@require_console_session
def list_apps() -> dict[str, Any]:
    """Apps, newest first; `name` means contains, `mode` other than chat or all finds none."""
    query = Payload("AppListQuery", request.args)
    page, limit = query.number("page", 1, 1, 99999), query.number("limit", 20, 1, 100)
    name = query.optional_text("name") or ""
    rows = (
        current_store()
        .connection()
        .execute(
            "SELECT * FROM app WHERE instr(lower(name), lower(?)) > 0 ORDER BY created_at DESC, rowid DESC",
            (name,),
        )
        .fetchall()
    )
    if query.fields.get("mode", "all") not in ("chat", "all"):
        rows = []
    shown = rows[(page - 1) * limit : page * limit]
    return {
        "page": page,
        "limit": limit,
        "total": len(rows),
        "has_more": len(rows) > page * limit,
        "data": [_row(row) for row in shown],
    }


@blueprint.get("/console/api/apps/<uuid:app_id>")
@require_console_session
def get(app_id: uuid.UUID) -> dict[str, Any]:
    """One app with its configuration."""
    return _detail(get_app(app_id))


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
    """Publish a configuration; what is not sent gets Dify's default, not the old value."""
    app = get_app(app_id)
    sent = request.get_json()
    save_config(current_store(), app["id"], saved_config(sent if isinstance(sent, dict) else {}))
    return {"result": "success"}


@blueprint.post("/console/api/apps/<uuid:app_id>/api-enable")
@require_console_session
def enable_api(app_id: uuid.UUID) -> dict[str, Any]:
    """Open or close the service API of an app."""
    app = get_app(app_id)
    enabled = Payload("AppApiStatusPayload", request.get_json()).required("enable_api")
    current_store().connection().execute("UPDATE app SET api_enabled = ? WHERE id = ?", (bool(enabled), app["id"]))
    return _summary(get_app(app_id))


@blueprint.get("/console/api/apps/<uuid:app_id>/api-keys")
@require_console_session
def list_app_keys(app_id: uuid.UUID) -> dict[str, Any] | tuple[Response, int]:
    """The app's keys, in full."""
    if find_app(current_store(), str(app_id)) is None:
        return _no_such_app()
    return {"data": list_keys(current_store(), "app", str(app_id))}


@blueprint.post("/console/api/apps/<uuid:app_id>/api-keys")
@require_console_session
def create_app_key(app_id: uuid.UUID) -> tuple[dict[str, Any] | Response, int]:
    """A new key for the app: HTTP 201."""
    if find_app(current_store(), str(app_id)) is None:
        return _no_such_app()
    return create_key(current_store(), "app", str(app_id)), 201


@blueprint.delete("/console/api/apps/<uuid:app_id>/api-keys/<uuid:key_id>")
@require_console_session
def delete_app_key(app_id: uuid.UUID, key_id: uuid.UUID) -> Response | tuple[Response, int]:
    """Delete a key of the app: a true 204."""
    if find_app(current_store(), str(app_id)) is None:
        return _no_such_app()
    delete_key(current_store(), "app", str(key_id), str(app_id))
    return Response(status=204, content_type="application/json")


def _no_such_app() -> tuple[Response, int]:
    """The one 404 of Dify that has nothing but a message: provisioning/app-api-key-unknown-app."""
    return jsonify({"message": "App not found."}), 404
