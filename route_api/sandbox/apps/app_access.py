"""The check of a request to an app's service API: the key names the app, a parameter names the end user."""

from collections.abc import Callable
from functools import wraps
from typing import Literal, ParamSpec, TypeVar

from flask import g, request

from ..access.api_key_check import require_app_key
from ..errors import SandboxError
from ..store import current_store
from .app_table import get_app
from .end_user_table import remember_end_user

DEFAULT_USER = "DEFAULT-USER"
"""The user of each GET without the parameter user (chat/conversations-no-user)."""
MAX_USER_LENGTH = 255
_WRONG_MODE = {
    "chat": ("not_chat_app", "Please check if your app mode matches the right API route."),
    "completion": ("app_unavailable", "App unavailable, please check your app configurations."),
    "workflow": ("not_workflow_app", "Please check if your app mode matches the right API route."),
}
"""Code and text of the refusal for an app of another mode than the route's, from Dify's code."""

UserFrom = Literal["json", "json, optional", "query", "form", "nowhere"]

P = ParamSpec("P")
R = TypeVar("R")


def require_app(user_from: UserFrom, mode: str = "") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Refuse a request without the key of an app whose service API is enabled.

    The view finds the app's row in `g.app` and the end user in `g.user`.

    :param user_from: where the user is named: `json` requires it in the body; in the `query`, in the `form` and in
        `json, optional` it is optional; `nowhere`: the route knows no user
    :param mode: the only mode of apps that have this route; "": all apps have it
    """

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @require_app_key
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            g.app = get_app(g.app_id)
            if not g.app["api_enabled"]:
                raise SandboxError(403, "forbidden", "The app's API service has been disabled.")
            g.user = _user(user_from)
            if "\0" in g.user:
                text = "A string literal cannot contain NUL (0x00) characters."
                raise SandboxError(400, "invalid_param", text)
            if len(g.user) > MAX_USER_LENGTH:
                raise SandboxError(500, "unknown", "Internal Server Error")  # Dify: chat/user-256
            if user_from != "nowhere":
                remember_end_user(current_store(), g.app["id"], g.user)
            if mode not in ("", g.app["mode"]):
                raise wrong_mode(mode)
            return view(*args, **kwargs)

        return guarded

    return decorate


def wrong_mode(mode: str) -> SandboxError:
    """Make the error of an app of another mode than the route's."""
    return SandboxError(400, *_WRONG_MODE[mode])


def _user(user_from: UserFrom) -> str:
    """Return the user whom the request names.

    In a JSON body any true value, such as a number or a list, is taken as text (chat/user-number).
    """
    if user_from in ("query", "form"):
        return (request.args if user_from == "query" else request.form).get("user") or DEFAULT_USER
    if user_from == "nowhere":
        return DEFAULT_USER
    body = request.get_json()
    user = body.get("user") if isinstance(body, dict) else None
    if not user and user_from == "json":
        raise SandboxError(400, "invalid_param", "Arg user must be provided.")
    return str(user or DEFAULT_USER)
