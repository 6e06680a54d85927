"""The three checks that every request passes before its view runs: authentication, rate limit, authorization.

A fourth check needs the request's parameters: :func:`callers.fill_in_own_user_id`, called in `views/parameters.py`.
"""

from flask import Flask

from .callers import authenticate, authorize
from .limits import request_limit


def init_app(app: Flask) -> None:
    """Run :func:`check_request` before every request."""
    app.before_request(check_request)


def check_request() -> None:
    """Make the three checks. They share one hook, because Flask spends time on each hook.

    :raises TooManyRequests: the caller has used up their requests for this minute
    :raises CredentialsMissing: the request has no credentials and its view needs some
    :raises CredentialsInvalid: the service key or token is not valid
    :raises LoginEnded: the token has expired or was revoked
    :raises Forbidden: the caller may not use this view
    """
    authenticate()
    request_limit.count_request()
    authorize()
