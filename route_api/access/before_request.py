"""Before each request: who calls, have they called too often, may they call this."""

from flask import Flask

from ..extensions import components
from .callers import authenticate, authorize


def init_app(app: Flask) -> None:
    """Let :func:`check_request` see every request first."""
    app.before_request(check_request)


def check_request() -> None:
    """Refuse the request at hand, or let it through. One hook for all three: Flask pays for each hook.

    :raises TooManyRequests: its caller has made too many
    :raises CredentialsMissing: the caller did not say who they are
    :raises CredentialsInvalid: the caller is none of those whom we know
    :raises LoginEnded: the caller's login is over
    :raises Forbidden: the caller may not make this request
    """
    authenticate()
    components.request_limit.count()
    authorize()
