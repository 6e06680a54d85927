"""Registering, logging in and changing a password: the limits on attempts, the check, and the token."""

from typing import Any

from flask import current_app, g

from ..errors import Forbidden, LoginFailed
from ..extensions import db
from ..languages import Sentence
from . import users
from .limits import login_throttle
from .tokens import Login, tokens

Json = dict[str, Any]


def register(username: str, password: str) -> Json:
    """Create a user who can log in.

    :returns: the user as JSON
    :raises Forbidden: registration is closed and the caller has no service key
    :raises TooManyRequests: too many registrations came from the caller's address
    :raises UsernameTaken: another user has this name
    """
    if not g.caller.is_service:
        if current_app.config["REGISTRATION"] != "open":
            raise Forbidden(Sentence("Registration is closed here: ask the operator for an account."))
        login_throttle.count_registration()
    return users.register(db.engine, username, password)


def log_in(username: str, password: str) -> Json:
    """Check a password.

    :returns: `data` of `user/login`: a token and how to use it
    :raises LoginFailed: the username or the password is wrong
    :raises TooManyRequests: there were too many attempts
    :raises AccountsNotConfigured: SECRET_KEY is not set
    """
    return _login_data(*_check_password(username, password))


def change_password(password: str, new_password: str) -> Json:
    """Change the password of the user who calls, which ends all their logins.

    :param password: the present one
    :returns: `data` of `user/login`, with a token for the new login
    :raises Forbidden: the caller is not a logged-in user
    :raises LoginFailed: the present password is wrong
    :raises TooManyRequests: there were too many attempts
    :raises UserNotFound: the caller cannot log in any more
    """
    user_id = g.caller.user_id
    if user_id is None:
        raise Forbidden(Sentence("A password is changed by its own user, who logs in first."))
    _, user = _check_password(users.username_of(db.engine, user_id), password)
    return _login_data(users.change_password(db.engine, user_id, new_password), user)


def _check_password(username: str, password: str) -> tuple[Login, Json]:
    login_throttle.count_attempt(username)
    found = users.check_password(db.engine, username, password)
    if found is None:
        raise LoginFailed
    login_throttle.count_success(username)
    return found


def _login_data(login: Login, user: Json) -> Json:
    return {"expires_in": tokens.lifetime, "token": tokens.write(login), "token_type": "Bearer", "user": user}
