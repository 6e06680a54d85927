"""The JSON in which Dify's console shows apps."""

from sqlite3 import Row
from typing import Any

from flask import g, request

from ..version import is_1_16, since_1_16
from .app_table import config_of


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
        "mode": app["mode"],
        "icon": app["icon"],
        "icon_background": app["icon_background"],
        "workflow": None,
        "use_icon_as_answer_icon": False,
        **_authorship(app, app["updated_at"]),
        "access_mode": None,
        "tags": [],
        **since_1_16(maintainer=app["created_by"], permission_keys=[]),
    }


def app_summary(app: Row) -> dict[str, Any]:
    """An app as `create` and `api-enable` show it (provisioning/app-create)."""
    return {
        **_common(app),
        "enable_site": True,
        "enable_api": bool(app["api_enabled"]),
        "model_config": {**config_of(app), **_authorship(app, app["config_saved_at"])},
        "tracing": None,
    }


def app_detail(app: Row) -> dict[str, Any]:
    """An app by itself (provisioning/app-get-fresh)."""
    base = request.host_url.rstrip("/")
    return {
        **app_summary(app),
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
        **since_1_16(app_id=None, bound_agent_id=None),
    }


def created_app(app: Row) -> dict[str, Any]:
    """An app as `create` shows it. 1.16.1 shows all of it (provisioning/app-create)."""
    return app_detail(app) if is_1_16() else app_summary(app)


def site_of(app: Row) -> dict[str, Any]:
    """The settings of the app's web page (chat/site)."""
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
        **since_1_16(input_placeholder=None),
    }


def app_list_item(app: Row) -> dict[str, Any]:
    """An app in the list (provisioning/app-list)."""
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
        **since_1_16(app_id=None, bound_agent_id=None, is_starred=False),
    }
