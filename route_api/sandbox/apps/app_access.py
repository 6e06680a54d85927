"""The check of a request to an app's service API: the key names the app, a parameter names the end user."""

from collections.abc import Callable
from functools import wraps
from typing import Literal, ParamSpec, TypeVar

from flask import g, request

from ..access.api_key_check import require_app_key
from ..errors import SandboxError
from .app_table import get_app

DEFAULT_USER = "DEFAULT-USER"
"""The user of each GET without the parameter user (chat/conversations-no-user)."""
MAX_USER_LENGTH = 255

P = ParamSpec("P")
R = TypeVar("R")


def require_app(user_from: Literal["json", "query"]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Refuse a request without the key of an app whose service API is enabled.

    The view finds the app's row in `g.app` and the end user in `g.user`.

    :param user_from: where the user is named: `json` requires it in the body, in the `query` it is optional
    """

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @require_app_key
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            g.app = get_app(g.app_id)
            if not g.app["api_enabled"]:
                raise SandboxError(403, "forbidden", "The app's API service has been disabled.")
            g.user = _user_in_body() if user_from == "json" else request.args.get("user") or DEFAULT_USER
            if "\0" in g.user:
                text = "A string literal cannot contain NUL (0x00) characters."
                raise SandboxError(400, "invalid_param", text)
            if len(g.user) > MAX_USER_LENGTH:
                raise SandboxError(500, "unknown", "Internal Server Error")  # Dify: chat/user-256
            return view(*args, **kwargs)

        return guarded

    return decorate


def _user_in_body() -> str:
    """Return the user in the JSON body.

    Any true value, such as a number or a list, is taken as text (chat/user-number).
    """
    body = request.get_json()
    user = body.get("user") if isinstance(body, dict) else None
    if not user:
        raise SandboxError(400, "invalid_param", "Arg user must be provided.")
    return str(user)
