"""The console's routes for setup, login, refresh and logout, as in Dify 1.12.1."""

import base64
import binascii
import re
import secrets
import time
from datetime import UTC, datetime
from sqlite3 import Connection, Row
from typing import Any

from flask import Blueprint, Response, jsonify, request
from werkzeug.security import check_password_hash

from ..errors import SandboxError
from ..request_fields import RequestFields
from ..store import Store, current_store
from .account_table import create_account, find_account
from .console_session import require_console_session
from .json_web_token import issue_token

ACCESS_TOKEN_LIFETIME_S = 3600
REFRESH_TOKEN_LIFETIME_S = 30 * 24 * 3600
MAX_WRONG_PASSWORDS = 5
"""After more wrong passwords in a row than this, the e-mail address is locked for `LOCK_S`
(auth/login-bad-password)."""
LOCK_S = 24 * 3600

blueprint = Blueprint("account", __name__)


@blueprint.get("/console/api/setup")
def setup_status() -> dict[str, str | None]:
    """Tell whether the account exists."""
    account = find_account(current_store())
    if account is None:
        return {"step": "not_started", "setup_at": None}
    setup_at = datetime.fromtimestamp(account["created_at"], UTC).replace(tzinfo=None)
    return {"step": "finished", "setup_at": setup_at.isoformat()}


@blueprint.get("/console/api/init")
def init_status() -> dict[str, str]:
    """Tell that the step `init` is finished: the sandbox has no INIT_PASSWORD."""
    return {"status": "finished"}


@blueprint.post("/console/api/setup")
def set_up() -> tuple[Response, int]:
    """Create the account, once. The errors of this route have another form (provisioning/setup-again)."""
    body = request.get_json()
    fields = body if isinstance(body, dict) else {}
    if find_account(current_store()) is not None:
        error: dict[str, Any] = {"type": "authorization_error", "message": "Forbidden", "status": 403}
        return jsonify({"error": error}), 403
    email, name, password = (str(fields.get(field) or "") for field in ("email", "name", "password"))
    if not (is_email(email) and name and is_strong_password(password)):
        text = "Validation error for parameter 'payload'"
        error = {"type": "validation_error", "message": text, "status": 422, "details": text}
        return jsonify({"error": error}), 422
    create_account(current_store(), email, name, password)
    return jsonify({"result": "success"}), 201


def is_email(text: str) -> bool:
    """Return whether Dify takes the text for an e-mail address."""
    return re.fullmatch(r"[\w.!#$%&'*+/=?^`{|}~-]+@([\w-]+\.)+[\w-]{2,}", text) is not None


def is_strong_password(text: str) -> bool:
    """Return whether a password has at least 8 characters, with letters and digits (tests/contract/FINDINGS.md, j)."""
    return re.fullmatch(r"(?=.*[a-zA-Z])(?=.*\d).{8,}", text) is not None


@blueprint.post("/console/api/login")
def login() -> Response:
    """Check the e-mail address and the password (in base64), and set the three cookies of a session."""
    body = RequestFields("LoginPayload", request.get_json())
    email = body.text("email")
    if not is_email(email):
        body.refuse("email", f"Value error, {email} is not a valid email.", "value_error", email)
    encoded = body.text("password")
    store = current_store()
    account = find_account(store)
    if account is None:
        raise SandboxError(
            401,
            "not_setup",
            "Dify has not been initialized and installed yet. "
            "Please proceed with the initialization and installation process first.",
        )
    try:
        password = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise SandboxError(401, "authentication_failed", "Invalid encrypted data") from error
    _refuse_if_locked(store, email)
    if email.lower() != account["email"].lower() or not check_password_hash(account["password_hash"], password):
        store.connection().execute("INSERT INTO wrong_password VALUES (?, ?)", (email.lower(), int(time.time())))
        raise SandboxError(401, "authentication_failed", "Invalid email or password.")
    with store.transaction() as connection:
        connection.execute("DELETE FROM wrong_password WHERE email = ?", (email.lower(),))
        connection.execute(
            "UPDATE account SET last_login_at = ?, last_login_ip = ?", (int(time.time()), request.remote_addr)
        )
        refresh_token = _issue_refresh_token(connection)
    return _session_answer(account, refresh_token)


def _refuse_if_locked(store: Store, email: str) -> None:
    """Refuse a login for a locked e-mail address, before the password is checked."""
    wrong = store.connection().execute(
        "SELECT count(*) FROM wrong_password WHERE email = ? AND tried_at > ?",
        (email.lower(), int(time.time()) - LOCK_S),
    )
    if wrong.fetchone()[0] > MAX_WRONG_PASSWORDS:
        text = "Too many incorrect password attempts. Please try again later."
        raise SandboxError(429, "email_code_login_limit", text)


def _issue_refresh_token(connection: Connection) -> str:
    token = secrets.token_hex(64)
    now = int(time.time())
    connection.execute("DELETE FROM refresh_token WHERE expires_at <= ?", (now,))
    connection.execute("INSERT INTO refresh_token VALUES (?, ?)", (token, now + REFRESH_TOKEN_LIFETIME_S))
    return token


def _session_answer(account: Row, refresh_token: str) -> Response:
    """Answer `{"result": "success"}` with the three cookies. Scripts can read the CSRF token alone."""
    claims = {"user_id": account["id"], "iss": "SELF_HOSTED", "sub": "Console API Passport"}
    csrf_claims = {"sub": account["id"], "jti": secrets.token_hex(8)}
    answer = jsonify({"result": "success"})
    for name, value, lifetime_s in (
        (
            "access_token",
            issue_token(claims, account["token_secret"], ACCESS_TOKEN_LIFETIME_S),
            ACCESS_TOKEN_LIFETIME_S,
        ),
        ("refresh_token", refresh_token, REFRESH_TOKEN_LIFETIME_S),
        (
            "csrf_token",
            issue_token(csrf_claims, account["token_secret"], ACCESS_TOKEN_LIFETIME_S),
            ACCESS_TOKEN_LIFETIME_S,
        ),
    ):
        answer.set_cookie(
            name,
            value,
            max_age=lifetime_s,
            expires=time.time() + lifetime_s,
            httponly=name != "csrf_token",
            samesite="Lax",
        )
    return answer


@blueprint.post("/console/api/refresh-token")
def refresh() -> Response | tuple[Response, int]:
    """Exchange the cookie refresh_token for a new session. The old refresh token is then invalid.

    The request needs neither a body nor a CSRF token.
    """
    token = request.cookies.get("refresh_token")
    if not token:
        return jsonify({"result": "fail", "message": "No refresh token provided"}), 401
    store = current_store()
    account = find_account(store)
    with store.transaction() as connection:
        spent = connection.execute(
            "DELETE FROM refresh_token WHERE token = ? AND expires_at > ?", (token, int(time.time()))
        )
        valid = account is not None and spent.rowcount == 1
        new_token = _issue_refresh_token(connection) if valid else ""
    if account is None or not valid:
        return jsonify({"result": "fail", "message": "Invalid refresh token"}), 401
    return _session_answer(account, new_token)


@blueprint.post("/console/api/logout")
@require_console_session
def logout() -> Response:
    """Empty the cookies and delete the refresh token. As in Dify, access tokens stay valid until they expire."""
    current_store().connection().execute(
        "DELETE FROM refresh_token WHERE token = ?", (request.cookies.get("refresh_token", ""),)
    )
    answer = jsonify({"result": "success"})
    for name in ("access_token", "refresh_token", "csrf_token"):
        answer.set_cookie(name, "", expires=0, httponly=name != "csrf_token", samesite="Lax")
    return answer
