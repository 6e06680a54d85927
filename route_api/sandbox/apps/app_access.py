"""Who calls a service endpoint of an app: the app by its key, and the end user that the caller names."""

from collections.abc import Callable
from functools import wraps
from typing import Literal, ParamSpec, TypeVar

from flask import g, request

from ..access.api_key_check import require_app_key
from ..errors import SandboxError
from .app_table import get_app

DEFAULT_USER = "DEFAULT-USER"
"""Who a GET without user speaks for: everybody without a name shares it (chat/conversations-no-user)."""
MAX_USER_LENGTH = 255

P = ParamSpec("P")
R = TypeVar("R")


def require_app(user_from: Literal["json", "query"]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let only requests with the key of an open app through; `g.app` is its row, `g.user` the end user.

    :param user_from: the JSON body must name the user; the query may
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
    """Anything true is taken as text: a number, a list (chat/user-number, user-list)."""
    body = request.get_json()
    user = body.get("user") if isinstance(body, dict) else None
    if not user:
        raise SandboxError(400, "invalid_param", "Arg user must be provided.")
    return str(user)
