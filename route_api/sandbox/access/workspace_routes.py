"""The console's routes about the account, the workspace and the server."""

from typing import Any

from flask import Blueprint, current_app, g

from ..version import is_1_16, since_1_16
from .account_table import WORKSPACE_ID
from .console_session import require_console_session

blueprint = Blueprint("console", __name__)


@blueprint.get("/console/api/account/profile")
@require_console_session
def profile() -> dict[str, Any]:
    """Show the account of the session."""
    account = g.account
    return {
        "avatar": None,
        "id": account["id"],
        "name": account["name"],
        "email": account["email"],
        "is_password_set": True,
        "interface_language": "en-US",
        "interface_theme": "light",
        "timezone": "UTC",
        "last_login_at": account["last_login_at"],
        "last_login_ip": account["last_login_ip"],
        "created_at": account["created_at"],
        "avatar_url": None,
    }


@blueprint.get("/console/api/workspaces")
@require_console_session
def list_workspaces() -> dict[str, Any]:
    """List the workspaces: there is one."""
    return {
        "workspaces": [
            {**_workspace("sandbox"), "current": True, **since_1_16(last_opened_at=g.account["last_login_at"])}
        ]
    }


@blueprint.post("/console/api/workspaces/current")
@require_console_session
def current_workspace() -> dict[str, Any]:
    """Show the workspace in full.

    The method is POST, as in Dify (provisioning/workspace-current-get has status 405).
    """
    return {
        **_workspace(None if is_1_16() else "basic"),
        "role": "owner",
        "in_trial": None,
        "trial_end_reason": None,
        "custom_config": None,
        "trial_credits": None,
        "trial_credits_used": None,
        "next_credit_reset_date": None,
        **since_1_16(trial_credits_exhausted_at=None),
    }


def _workspace(plan: str | None) -> dict[str, Any]:
    return {
        "id": WORKSPACE_ID,
        "name": f"{g.account['name']}'s Workspace",
        "plan": plan,
        "status": "normal",
        "created_at": g.account["created_at"],
    }


@blueprint.get("/console/api/version")
def version() -> dict[str, Any]:
    """Tell the version of Dify that the sandbox follows; no login is needed (general/version-0)."""
    return {
        "version": current_app.config["DIFY_VERSION"],
        "release_date": "",
        "release_notes": "",
        "can_auto_update": False,
        "features": {"can_replace_logo": False, "model_load_balancing_enabled": False},
    }


@blueprint.get("/console/api/system-features")
def system_features() -> dict[str, Any]:
    """List the features of the server; no login is needed. The application title names the sandbox."""
    return {
        "sso_enforced_for_signin": False,
        "sso_enforced_for_signin_protocol": "",
        "enable_marketplace": False,
        "max_plugin_package_size": 15728640,
        "enable_email_code_login": False,
        "enable_email_password_login": True,
        "enable_social_oauth_login": False,
        "is_allow_register": False,
        "is_allow_create_workspace": False,
        "is_email_setup": False,
        "license": {
            "status": "none",
            "expired_at": "",
            "workspaces": {"enabled": False, "size": 0, "limit": 0},
        },
        "branding": {
            "enabled": False,
            "application_title": "Route API sandbox",
            "login_page_logo": "",
            "workspace_logo": "",
            "favicon": "",
        },
        "webapp_auth": {
            "enabled": False,
            "allow_sso": False,
            "sso_config": {"protocol": ""},
            "allow_email_code_login": False,
            "allow_email_password_login": False,
        },
        "plugin_installation_permission": {
            "plugin_installation_scope": "all",
            "restrict_to_marketplace_only": False,
        },
        "enable_change_email": False,
        "plugin_manager": {"enabled": False},
        "trial_models": [],
        "enable_trial_app": False,
        "enable_explore_banner": False,
    }
