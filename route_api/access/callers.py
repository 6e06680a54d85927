"""Who is calling, what they may do, and for which user they may speak.

Three callers (product page, "Trust"): a backend with a service key, which speaks for any user; a logged-in user, who
speaks for nobody else; and anybody, where the operator says so (`AUTH=open`). What a view does not open further, it is
for every caller.
"""

import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import current_app, g, request
from sqlalchemy import bindparam, select

from ..errors import ApiError, CredentialsInvalid, CredentialsMissing, Forbidden, LoginEnded
from ..extensions import components, db
from ..storage.models import User

View = TypeVar("View", bound=Callable[..., Any])

ADMIN = "admin"
"""The role of a user who may change knowledge bases; the operator gives it."""

PUBLIC, CALLERS, ADMINISTRATORS, SERVICES = "public", "callers", "administrators", "services"

USER_OF_LOGIN = select(User.role, User.login_generation).where(User.id == bindparam("of_user"))


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    :param label: what the log calls them; never a secret
    :param user_id: the one user that they speak for; None: any
    :param is_service: whether they came with a service key, or may do as if
    :param may_administer: whether they may change knowledge bases
    """

    label: str
    user_id: str | None = None
    is_service: bool = False
    may_administer: bool = False
    is_known: bool = True


STRANGER = Caller("anonymous", is_known=False)
ANYBODY = Caller("anonymous", is_service=True, may_administer=True, is_known=False)
"""Everybody, where the operator has said AUTH=open."""


def public(view: View) -> View:
    """Mark a view that asks nobody who they are."""
    view.access = PUBLIC  # type: ignore[attr-defined]
    return view


def administrators(view: View) -> View:
    """Mark a view that changes what all users share: for service keys, and users with the role `admin`."""
    view.access = ADMINISTRATORS  # type: ignore[attr-defined]
    return view


def services(view: View) -> View:
    """Mark a view that only service keys may use."""
    view.access = SERVICES  # type: ignore[attr-defined]
    return view


def access_of(view: Callable[..., Any]) -> str:
    """Whom a view is for: `public`, `callers`, `administrators` or `services`."""
    access: str = getattr(view, "access", CALLERS)
    return access


def service_keys_of(api_keys: Iterable[str]) -> dict[bytes, Caller]:
    """The callers with a service key, by the SHA-256 of the key.

    :param api_keys: the setting API_KEYS
    """
    return {
        sha256(key.encode()).digest(): Caller(f"service-{number}", is_service=True, may_administer=True)
        for number, key in enumerate(api_keys, start=1)
    }


def authenticate() -> None:
    """Find out who calls. What is wrong with their credentials is kept for `authorize`."""
    g.refusal = None
    try:
        g.caller = _caller(request.headers.get("Authorization", ""))
    except ApiError as error:
        g.caller, g.refusal = STRANGER, error


def authorize() -> None:
    """Refuse the request if its caller may not make it.

    :raises CredentialsMissing: they did not say who they are
    :raises CredentialsInvalid: what they said is not true
    :raises LoginEnded: it is not true any more
    :raises Forbidden: they are not among those whom the view is for
    """
    endpoint = request.endpoint
    if endpoint is None or request.method == "OPTIONS":
        return  # An unknown path is a 404 to everybody, and a browser's preflight carries no credentials.
    access = access_of(current_app.view_functions[endpoint])
    if access == PUBLIC:
        return
    if g.refusal is not None:
        raise g.refusal
    caller: Caller = g.caller
    if access == ADMINISTRATORS and not caller.may_administer:
        raise Forbidden("This changes what all users share: it takes a service key, or a user with the role admin.")
    if access == SERVICES and not caller.is_service:
        raise Forbidden("This is for service keys alone.")


def _caller(header: str) -> Caller:
    scheme, _, credential = header.strip().partition(" ")
    # RAGFlow's own frontend sends the bare token.
    secret = credential.strip() if scheme.lower() == "bearer" else header.strip()
    if secret:
        if service := _service(secret):
            return service
        if login := components.tokens.read(secret):
            with db.engine.connect() as connection:
                user = connection.execute(USER_OF_LOGIN, {"of_user": login.user_id}).first()
            if user is None or user.login_generation != login.generation:
                raise LoginEnded
            return Caller(f"user-{login.user_id}", user_id=login.user_id, may_administer=user.role == ADMIN)
    if current_app.config["AUTH"] == "open":
        if _is_from_another_site():
            raise Forbidden("A web page of another site sent this; the operator can let its origin in: CORS_ORIGINS.")
        return ANYBODY  # Credentials of another system do no harm: whoever comes from RAGFlow sends some.
    raise CredentialsInvalid if secret else CredentialsMissing


def _is_from_another_site() -> bool:
    """Whether a browser sent this for a page from elsewhere, which may post forms to any address that the browser's
    user reaches. It says so in Origin. Ports do not count: nginx may leave its own out of Host."""
    origin, allowed = request.headers.get("Origin"), current_app.config["CORS_ORIGINS"]
    if origin is None or origin in allowed or "*" in allowed:
        return False
    try:
        return urlsplit(origin).hostname != urlsplit(f"//{request.host}").hostname
    except ValueError:
        return True


def _service(secret: str) -> Caller | None:
    """Whose service key this is. It is held against each, whole: the time taken tells nothing about any of them."""
    given, found = sha256(secret.encode("utf-8", "surrogateescape")).digest(), None
    for digest, caller in components.service_keys.items():
        if hmac.compare_digest(digest, given):
            found = caller
    return found


def speak_for_caller(given: dict[str, Any]) -> None:
    """Put a logged-in user's own id into the parameters of a request that has a `user_id`; others name theirs.

    :raises Forbidden: a logged-in user named somebody else
    """
    own: str | None = g.caller.user_id
    if own is None:
        return
    if given.setdefault("user_id", own) not in (own, None, ""):
        raise Forbidden("A logged-in user can only speak for themselves: leave user_id out, or give your own.")
    given["user_id"] = own
