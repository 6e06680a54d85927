"""The service API's routes about an app: parameters, name, icons, web page."""

from typing import Any

from flask import Blueprint, g

from ..access.account_table import account_id_and_name
from ..store import current_store
from .app_access import require_app
from .app_config import PARAMETER_FIELDS
from .app_payloads import site_of
from .app_table import config_of

blueprint = Blueprint("app_info", __name__)


@blueprint.get("/v1/parameters")
@require_app("query")
def parameters() -> dict[str, Any]:
    """Show the parts of the published configuration that a client needs, such as the form."""
    config = config_of(g.app)
    return {
        **{field: config[field] for field in PARAMETER_FIELDS},
        "opening_statement": config["opening_statement"] or "",
        "system_parameters": {
            "image_file_size_limit": 10,
            "video_file_size_limit": 100,
            "audio_file_size_limit": 50,
            "file_size_limit": 15,
            "workflow_file_upload_limit": 10,
        },
    }


@blueprint.get("/v1/info")
@require_app("query")
def info() -> dict[str, Any]:
    """Show the name and the mode of the app."""
    return {
        "name": g.app["name"],
        "description": g.app["description"],
        "tags": [],
        "mode": g.app["mode"],
        "author_name": account_id_and_name(current_store())[1],
    }


@blueprint.get("/v1/meta")
@require_app("query")
def meta() -> dict[str, Any]:
    """List the icons of the app's tools. A chat app has no tools."""
    return {"tool_icons": {}}


@blueprint.get("/v1/site")
@require_app("query")
def site() -> dict[str, Any]:
    """Show the settings of the app's web page."""
    return site_of(g.app)
