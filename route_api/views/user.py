"""`/user`: registration and login, and the default model, which RAGFlow's clients set under this path."""

from flask import Response

from ..access import logins, users
from ..access.callers import admin_required, public
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
from ..extensions import db, dify
from ..languages import Sentence
from ..schemas import model
from ..schemas import user as schemas
from .blueprint import ApiBlueprint

blueprint = ApiBlueprint("user", __name__, url_prefix="/user", description="Users and their workspace")


@blueprint.route("/register", methods=["POST"])
@public
@blueprint.arguments(schemas.Registration)
@blueprint.response(200, schemas.UserAnswer)
@blueprint.doc(security=[{}, {"bearerAuth": []}])
@blueprint.raises(Forbidden, UsernameTaken, DatabaseUnavailable)
def register(given: dict[str, str]) -> Response:
    """Create a user who can log in. With `REGISTRATION=closed` this needs a service key.

    Upstream calls: 0.
    """
    return success(logins.register(**given))


@blueprint.route("/login", methods=["POST"])
@public
@blueprint.arguments(schemas.Credentials)
@blueprint.response(200, schemas.LoginAnswer)
@blueprint.raises(LoginFailed, AccountsNotConfigured, DatabaseUnavailable)
def log_in(given: dict[str, str]) -> Response:
    """Get a token. The client sends the token as `Authorization: Bearer …` with every other request.

    The user must exist: `user/register` or the operator's `flask user` makes one.

    Upstream calls: 0.
    """
    return success(logins.log_in(**given))


@blueprint.route("/info", methods=["GET", "POST"])
@blueprint.arguments(schemas.UserId, location="query")
@blueprint.response(200, schemas.UserAnswer)
@blueprint.raises(UserNotFound)
def get_user(given: dict[str, str]) -> Response:
    """Get a user. A logged-in user gets only their own data; a service key gets any user.

    Upstream calls: 0.
    """
    return success(users.read_user(db.engine, given["user_id"]))


@blueprint.route("/password", methods=["POST"])
@blueprint.arguments(schemas.NewPassword)
@blueprint.response(200, schemas.LoginAnswer)
@blueprint.raises(Forbidden, LoginFailed, UserNotFound, AccountsNotConfigured)
def change_password(given: dict[str, str]) -> Response:
    """Change the password of the logged-in user. All devices are signed out; the answer has a new token for this one.

    The request needs the token of `user/login` in `Authorization`: a service key has no password.

    Upstream calls: 0.
    """
    return success(logins.change_password(**given))


@blueprint.route("/logout", methods=["POST"])
@blueprint.arguments(schemas.UserId)
@blueprint.response(200, schemas.LogoutAnswer)
@blueprint.raises(UserNotFound)
def log_out(given: dict[str, str]) -> Response:
    """End all logins of a user, on all devices. To sign out on one device only, delete the token there.

    Upstream calls: 0.
    """
    users.end_logins(db.engine, given["user_id"])
    return success("", Sentence("Signed out on all devices."))


@blueprint.route("/set_tenant_info", methods=["POST"])
@admin_required
@blueprint.arguments(model.DefaultModel)
@blueprint.response(200, model.DefaultModelAnswer)
@blueprint.raises(DIFY_ERRORS, CONSOLE_ERRORS)
def set_default_model(wanted: dict[str, str]) -> Response:
    """Set the workspace's default model of a type. Without a console login: 503 `console_not_configured`.

    The model must be one of `llm/my_llms`. It becomes the default of everybody who uses this workspace of Dify.

    Upstream calls: 1, and once an hour a call to log in to Dify's console.
    """
    dify.console.set_default_model(wanted["model_type"], wanted["provider"], wanted["model"])
    return success("", "Set default model successful!")
