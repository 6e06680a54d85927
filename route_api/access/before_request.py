"""The three checks that every request passes before its view runs: authentication, rate limit, authorization.

A fourth check needs the request's parameters: :func:`callers.fill_in_own_user_id`, called in `views/parameters.py`.
"""

from flask import Flask, Response, request

from .callers import authenticate, authorize
from .cross_origin import answer_preflight
from .limits import request_limit


def init_app(app: Flask) -> None:
    """Run :func:`check_request` before every request."""
    app.before_request(check_request)


def check_request() -> Response | None:
    """Make the three checks. They share one hook, because Flask spends time on each hook.

    OPTIONS is not checked. A browser sends it without credentials before each request of another origin's page, so the
    people of an office with one address would together use up the limit of that address.

    :returns: the answer to some requests with OPTIONS; None: the view answers
    :raises TooManyRequests: the caller has used up their requests for this minute
    :raises CredentialsMissing: the request has no credentials and its view needs some
    :raises CredentialsInvalid: the service key or token is not valid
    :raises LoginEnded: the token has expired or was revoked
    :raises Forbidden: the caller may not use this view
    """
    if request.method == "OPTIONS":
        return answer_preflight()
    authenticate()
    request_limit.count_request()
    authorize()
    return None
