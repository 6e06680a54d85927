"""The check of a console session: access token and CSRF token."""

import hmac
from collections.abc import Callable
from functools import wraps
from sqlite3 import Row
from typing import ParamSpec, TypeVar

from flask import g, request

from ..errors import SandboxError
from ..store import current_store
from .account_table import find_account
from .json_web_token import TokenError, read_token

P = ParamSpec("P")
R = TypeVar("R")


def require_console_session(view: Callable[P, R]) -> Callable[P, R]:
    """Refuse a request that belongs to no console session. The view finds the account in `g.account`.

    The access token comes in its cookie or as a Bearer token. In both cases the request, also a GET, needs the cookie
    csrf_token and the same value in the header X-CSRF-Token (auth/bearer-with-csrf, auth/csrf-missing).
    """

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        token = request.cookies.get("access_token") or (bearer.strip() if scheme.lower() == "bearer" else "")
        if not token:
            raise SandboxError(401, "unauthorized", "Invalid Authorization token.")
        account = find_account(current_store())
        if account is None:
            raise SandboxError(401, "unauthorized", "Invalid token.")
        try:
            if read_token(token, account["token_secret"]).get("user_id") != account["id"]:
                raise TokenError("Invalid token.")
        except TokenError as error:
            raise SandboxError(401, "unauthorized", str(error)) from error
        _check_csrf_token(account)
        g.account = account
        return view(*args, **kwargs)

    return guarded


def _check_csrf_token(account: Row) -> None:
    cookie, header = request.cookies.get("csrf_token", ""), request.headers.get("X-CSRF-Token", "")
    try:
        if not cookie or not hmac.compare_digest(cookie.encode(), header.encode()):
            raise TokenError("the cookie and the header differ")
        if read_token(cookie, account["token_secret"]).get("sub") != account["id"]:
            raise TokenError("it is no CSRF token of this account")
    except TokenError as error:
        raise SandboxError(401, "unauthorized", "CSRF token is missing or invalid.") from error
