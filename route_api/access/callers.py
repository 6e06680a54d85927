"""Who is calling, which views they may use, and for which user they may speak.

There are three kinds of callers: a backend with a service key, which speaks for any user; a logged-in user, who speaks
for nobody else; and, only with the setting `AUTH=open`, everybody. A view that carries none of the decorators below is
open to service keys and to logged-in users.
"""

import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any, TypeVar

from flask import current_app, g, request

from ..errors import ApiError, CredentialsInvalid, CredentialsMissing, Forbidden, LoginEnded
from ..extensions import component, db
from ..languages import Sentence
from . import users
from .other_sites import refuse_other_sites
from .tokens import tokens

View = TypeVar("View", bound=Callable[..., Any])

ADMIN = "admin"
"""The role of a user who may change knowledge bases. The operator grants it with `flask user role`."""


class Access(StrEnum):
    """The callers that a view is open to."""

    PUBLIC = "public"
    AUTHENTICATED = "authenticated"
    ADMIN = "admin"
    SERVICE_KEY = "service_key"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    :param label: the caller's name in the log; never a secret
    :param user_id: the only user for whom the caller may speak; None: any user
    :param is_service: whether the caller has the rights of a service key
    :param may_administer: whether the caller may change knowledge bases
    :param is_authenticated: whether the request had valid credentials
    """

    label: str
    user_id: str | None = None
    is_service: bool = False
    may_administer: bool = False
    is_authenticated: bool = True


UNAUTHENTICATED = Caller("anonymous", is_authenticated=False)
"""The caller of a request without valid credentials."""

OPEN_ACCESS = Caller("anonymous", is_service=True, may_administer=True, is_authenticated=False)
"""The caller of a request without valid credentials where the setting is AUTH=open: everything is allowed."""


def public(view: View) -> View:
    """Open a view to everybody, without credentials."""
    view.access = Access.PUBLIC  # type: ignore[attr-defined]
    return view


def admin_required(view: View) -> View:
    """Open a view to service keys and to users with the role `admin`. It changes data that all users share."""
    view.access = Access.ADMIN  # type: ignore[attr-defined]
    return view


def service_key_required(view: View) -> View:
    """Open a view to service keys only."""
    view.access = Access.SERVICE_KEY  # type: ignore[attr-defined]
    return view


def access_of(view: Callable[..., Any]) -> Access:
    """The callers that a view is open to."""
    access: Access = getattr(view, "access", Access.AUTHENTICATED)
    return access


service_keys: dict[bytes, Caller] = component("service_keys")


def service_keys_of(api_keys: Iterable[str]) -> dict[bytes, Caller]:
    """The callers with a service key, by the SHA-256 of the key.

    :param api_keys: the setting API_KEYS
    """
    return {
        sha256(key.encode()).digest(): Caller(f"service-{number}", is_service=True, may_administer=True)
        for number, key in enumerate(api_keys, start=1)
    }


def authenticate() -> None:
    """Find out who calls and store it in `g.caller`.

    Invalid credentials raise nothing yet: the request has to be counted first, and a public view ignores them. The
    error waits in `g.authentication_error`, and :func:`authorize` raises it.
    """
    g.authentication_error = None
    try:
        g.caller = _caller(request.headers.get("Authorization", ""))
    except ApiError as error:
        g.caller, g.authentication_error = UNAUTHENTICATED, error


def authorize() -> None:
    """Refuse the request if its view is not open to its caller.

    :raises CredentialsMissing: the request has no credentials
    :raises CredentialsInvalid: the service key or token is not valid
    :raises LoginEnded: the token has expired or was revoked
    :raises Forbidden: the view is open to other callers only
    """
    endpoint = request.endpoint
    if endpoint is None:
        return  # An unknown path is a 404 for everybody.
    access = access_of(current_app.view_functions[endpoint])
    if access == Access.PUBLIC:
        return
    if g.authentication_error is not None:
        raise g.authentication_error
    caller: Caller = g.caller
    if access == Access.ADMIN and not caller.may_administer:
        raise Forbidden(
            Sentence("This changes what all users share: it takes a service key, or a user with the role admin.")
        )
    if access == Access.SERVICE_KEY and not caller.is_service:
        raise Forbidden(Sentence("This is for service keys alone."))


def fill_in_own_user_id(parameters: dict[str, Any]) -> None:
    """Set `user_id` to a logged-in user's own id, in the parameters of an endpoint that has a `user_id`.

    Other callers may name any user, so their parameters stay as they are.

    :raises Forbidden: a logged-in user named another user
    """
    own_id: str | None = g.caller.user_id
    if own_id is None:
        return
    if parameters.get("user_id") not in (own_id, None, ""):
        raise Forbidden(
            Sentence("A logged-in user can only speak for themselves: leave user_id out, or give your own.")
        )
    parameters["user_id"] = own_id


def _caller(header: str) -> Caller:
    scheme, _, credential = header.strip().partition(" ")
    # RAGFlow's own frontend sends the token without "Bearer".
    secret = credential.strip() if scheme.lower() == "bearer" else header.strip()
    if secret:
        if service := _service(secret):
            return service
        if login := tokens.read(secret):
            role, login_generation = users.find_role_and_generation(db.engine, login.user_id)
            if login_generation != login.generation:
                raise LoginEnded
            return Caller(f"user-{login.user_id}", user_id=login.user_id, may_administer=role == ADMIN)
    if current_app.config["AUTH"] == "open":
        refuse_other_sites()
        return OPEN_ACCESS  # Even with unknown credentials: a client that used RAGFlow before still sends its token.
    raise CredentialsInvalid if secret else CredentialsMissing


def _service(secret: str) -> Caller | None:
    """The caller whose service key this is.

    The secret is compared with every key, in constant time, so that the time taken reveals nothing about any key.
    """
    given, found = sha256(secret.encode("utf-8", "surrogateescape")).digest(), None
    for digest, caller in service_keys.items():
        if hmac.compare_digest(digest, given):
            found = caller
    return found
