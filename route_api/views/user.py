"""`/user`: users who log in, and what RAGFlow's clients ask of their tenant."""

from typing import Any

from flask import Response, current_app, g

from ..access import users
from ..access.callers import administrators, public
from ..access.tokens import Login
from ..envelope import success
from ..errors import (
    CONSOLE_ERRORS,
    DIFY_ERRORS,
    AccountsNotConfigured,
    DatabaseUnavailable,
    Forbidden,
    LoginFailed,
    UsernameTaken,
    UserNotFound,
)
from ..extensions import components, db, dify
from ..schemas import model
from ..schemas import user as schemas
from .parameters import ResourceBlueprint

blueprint = ResourceBlueprint("user", __name__, url_prefix="/user", description="Users and their workspace")


@blueprint.route("/register", methods=["POST"])
@public
@blueprint.arguments(schemas.Registration)
@blueprint.response(200, schemas.UserAnswer)
@blueprint.raises(Forbidden, UsernameTaken, DatabaseUnavailable)
def register(given: dict[str, str]) -> Response:
    """Make a user who can log in. With `REGISTRATION=closed` that takes a service key.

    Upstream calls: 0.
    """
    registration_must_be_open()
    if not g.caller.is_service:
        components.login_throttle.count_registration()
    return success(users.register(db.engine, **given))


def registration_must_be_open() -> None:
    """Whether this caller may make users.

    :raises Forbidden: the operator has closed the registration, and the caller has no service key
    """
    if current_app.config["REGISTRATION"] != "open" and not g.caller.is_service:
        raise Forbidden("Registration is closed here: ask the operator for an account.")


@blueprint.route("/login", methods=["POST"])
@public
@blueprint.arguments(schemas.Credentials)
@blueprint.response(200, schemas.LoginAnswer)
@blueprint.raises(LoginFailed, AccountsNotConfigured, DatabaseUnavailable)
def log_in(given: dict[str, str]) -> Response:
    """Get a token, to be sent as `Authorization: Bearer …` with every other request.

    Upstream calls: 0.
    """
    login, user = check_password(given["username"], given["password"])
    return login_answer(login, user)


def check_password(username: str, password: str) -> tuple[Login, dict[str, Any]]:
    """The login of this user; whoever guesses is slowed down.

    :raises LoginFailed: no such user, or another password
    :raises TooManyRequests: too many tries
    """
    guard = components.login_throttle
    guard.count(username)
    found = users.check_password(db.engine, username, password)
    if found is None:
        raise LoginFailed
    guard.succeeded(username)
    return found


def login_answer(login: Login, user: dict[str, Any]) -> Response:
    """A token for the login, and what says how to use it."""
    tokens = components.tokens
    answer = {"expires_in": tokens.lifetime, "token": tokens.write(login), "token_type": "Bearer", "user": user}
    return success(answer)


@blueprint.route("/info", methods=["GET", "POST"])
@blueprint.arguments(schemas.UserId, location="query")
@blueprint.response(200, schemas.UserAnswer)
@blueprint.raises(UserNotFound)
def get_user(given: dict[str, str]) -> Response:
    """Who I am, for a logged-in user; who somebody is, for a service key.

    Upstream calls: 0.
    """
    return success(users.read_account(db.engine, given["user_id"]))


@blueprint.route("/password", methods=["POST"])
@blueprint.arguments(schemas.NewPassword)
@blueprint.response(200, schemas.LoginAnswer)
@blueprint.raises(Forbidden, LoginFailed, UserNotFound, AccountsNotConfigured)
def change_password(given: dict[str, str]) -> Response:
    """Choose another password. All devices are signed out; the answer has a new token for this one.

    Upstream calls: 0.
    """
    if g.caller.user_id is None:
        raise Forbidden("A password is changed by its own user, who logs in first.")
    _, user = check_password(users.name_of(db.engine, g.caller.user_id), given["password"])
    return login_answer(users.change_password(db.engine, g.caller.user_id, given["new_password"]), user)


@blueprint.route("/logout", methods=["POST"])
@blueprint.arguments(schemas.UserId)
@blueprint.response(200, schemas.LogoutAnswer)
@blueprint.raises(UserNotFound)
def log_out(given: dict[str, str]) -> Response:
    """End all logins of a user, on all devices. To leave one device alone, let it forget its token.

    Upstream calls: 0.
    """
    users.end_logins(db.engine, given["user_id"])
    return success("", "Signed out on all devices.")


@blueprint.route("/set_tenant_info", methods=["POST"])
@administrators
@blueprint.arguments(model.DefaultModel)
@blueprint.response(200, model.DefaultModelAnswer)
@blueprint.raises(DIFY_ERRORS, CONSOLE_ERRORS)
def set_default_model(wanted: dict[str, str]) -> Response:
    """Choose the workspace's default model of a type. Needs a console login.

    Upstream calls: 1, and the console's login or refresh once an hour.
    """
    dify.console.set_default_model(wanted["model_type"], wanted["provider"], wanted["model"])
    return success("", "Set default model successful!")
