"""The login to Dify's console: made once, refreshed before it expires, shared by all threads.

Six refused logins lock the account for a day (tests/contract/README.md, auth). So no process that shares the
:class:`LoginTries` tries a refused login again.
"""

import base64
import threading
import time
from typing import Any, Callable, Literal, Protocol

import orjson
import requests
from requests.cookies import RequestsCookieJar, extract_cookies_to_jar

from ..errors import ConsoleLoginRefused, ConsoleNotConfigured, DifyFailed, DifyUnreadable
from ..languages import Sentence
from ..monitoring import tracing
from . import shapes
from .credentials import BearerSession, ConsoleSession, CookieSession
from .decoder import Misfit
from .json_text import decode
from .transport import MAX_ERROR_SIZE, Transport, read_body
from .versions import version_tuple

REFRESH_AFTER = 50 * 60.0
"""Seconds of age at which a session is refreshed. Dify's access tokens live for 60 minutes."""

BASE64_SINCE = (1, 12, 1)
"""Since this version the password must be in base64. 1.8.1 wants it as it is (tests/contract/DIFFERENCES.md, 1)."""

_WANTS_BASE64 = b"Invalid encrypted data"
"""A Dify that wants base64 answers this to a plain password. It does not count as a wrong password."""

_REFUSED_STATUSES = (400, 401, 403, 429)

_NOT_READY_CODES = ("not_setup", "not_init_validated")
"""Dify answers 401 with these codes if it has no account yet (tests/contract, provisioning/empty-login)."""

LOGIN_TIMEOUT_S = 30.0
"""Seconds to wait for the answer to a login. While a process tries, the others wait."""

_NOT_CONFIGURED = Sentence(
    "This needs a login to Dify's console, which is not configured. The operator should set DIFY_CONSOLE_EMAIL"
    " and DIFY_CONSOLE_PASSWORD."
)
_LOGIN_REFUSED = Sentence(
    "Dify refused the gateway's login to its console. It is not tried again, because six wrong passwords lock"
    " the account for a day. The operator should correct DIFY_CONSOLE_EMAIL and DIFY_CONSOLE_PASSWORD and"
    " restart; if they are right, `flask dify check` tries them again."
)
_NOT_TRIED = {
    "refused": _LOGIN_REFUSED,
    "locked": Sentence(
        "Dify accepts no login to its console for now, because there were too many. It is tried again later."
    ),
    "later": Sentence("The gateway's login to Dify's console is being tried; try again in a moment."),
}

Permission = Literal["granted", "refused", "locked", "later"]
Outcome = Literal["accepted", "refused", "locked", "unknown"]


class LoginTries(Protocol):
    """What was found out about a login, here or by other processes. No method raises anything."""

    def begin(self) -> Permission:
        """Ask for the permission to try. After `granted` the caller must try and then call :meth:`end`."""

    def end(self, outcome: Outcome) -> None:
        """Tell the outcome of a try. `locked`: Dify did not check the password. `unknown`: Dify did not answer."""

    def forget(self) -> bool:
        """Allow another try after a refusal, because the operator wants it. Returns whether there was a refusal."""


class TriesHere:
    """The tries of this object alone, for a command that runs once."""

    def __init__(self) -> None:
        self._is_refused = False

    def begin(self) -> Permission:
        return "refused" if self._is_refused else "granted"

    def end(self, outcome: Outcome) -> None:
        self._is_refused = outcome in ("refused", "locked")

    def forget(self) -> bool:
        was_refused, self._is_refused = self._is_refused, False
        return was_refused


class ConsoleLogin:
    """Hands out the current console session."""

    def __init__(
        self,
        transport: Transport,
        email: str | None,
        password: str | None,
        *,
        tries: LoginTries | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._tries = tries or TriesHere()
        self._email = email
        self._password = password
        self._clock = clock
        self._lock = threading.Lock()
        self._session: ConsoleSession | None = None
        self._refresh_at = 0.0
        self._failures = 0
        self._failure: Exception | None = None

    @property
    def is_configured(self) -> bool:
        """Whether there are an e-mail address and a password."""
        return bool(self._email and self._password)

    def session(self) -> ConsoleSession:
        """The session to sign a call with.

        :raises ConsoleNotConfigured: there is no login.
        :raises ConsoleLoginRefused: Dify has refused the login, now or before.
        :raises DifyError: the call for the session failed otherwise.
        """
        session = self._session
        if session is None or self._clock() >= self._refresh_at:
            return self.renew(session)
        return session

    def forget(self) -> None:
        """Behave from now on as if no login were configured."""
        self._email = self._password = self._session = None

    def renew(self, stale: ConsoleSession | None) -> ConsoleSession:
        """The session that takes the place of `stale`. Threads that call this at the same time get the same session, or
        the same error: otherwise each of them would wait for a silent Dify after the other.

        Errors are those of :meth:`session`.
        """
        failures = self._failures
        with self._lock:
            if self._failure is not None and self._failures != failures:
                raise self._failure
            if self._session is None or self._session is stale:
                try:
                    self._session = self._refresh(stale) or self._log_in()
                except Exception as error:
                    if not tracing.current().is_interrupted:  # Then it says nothing about Dify.
                        self._failures, self._failure = self._failures + 1, error
                    raise
                self._refresh_at = self._clock() + REFRESH_AFTER
            return self._session

    def try_again(self) -> bool:
        """Let the next call try the login, also if Dify has refused it. Each try counts on Dify's side.

        :returns: whether a refusal was remembered
        """
        return self._tries.forget()

    def _refresh(self, stale: ConsoleSession | None) -> ConsoleSession | None:
        """Exchange the refresh token of the old session.

        :returns: the new session; None if there was no old session, or if Dify refuses the token.
        """
        if stale is None:
            return None
        self._session = None  # The token can be used once. It is not sent again, even if this call fails.
        return self._exchange("/console/api/refresh-token", **stale.refresh_request())[0]

    def _log_in(self) -> ConsoleSession:
        if not self._email or not self._password:  # For mypy too, which is_configured would not tell.
            raise ConsoleNotConfigured(_NOT_CONFIGURED)
        in_base64 = base64.b64encode(self._password.encode()).decode()
        wants_base64 = version_tuple(self._transport.server_version()) >= BASE64_SINCE
        permission = self._tries.begin()
        if permission != "granted":
            raise ConsoleLoginRefused(_NOT_TRIED[permission])
        outcome: Outcome = "unknown"
        try:
            session, outcome, answer = self._send_password(in_base64 if wants_base64 else self._password)
            if not wants_base64 and _WANTS_BASE64 in answer:
                outcome = "unknown"
                session, outcome, _ = self._send_password(in_base64)
        finally:
            self._tries.end(outcome)
        if session is None:
            raise ConsoleLoginRefused(_NOT_TRIED[outcome])
        return session

    def _send_password(self, password: str) -> tuple[ConsoleSession | None, Outcome, bytes]:
        """
        :returns: the session, or None if Dify gave none; the outcome; the body of the answer.
        :raises DifyError: Dify has neither given nor refused a session.
        """
        body = {"email": self._email, "password": password, "remember_me": True}
        session, status, answer = self._exchange("/console/api/login", json=body, read_timeout=LOGIN_TIMEOUT_S)
        if session is not None:
            return session, "accepted", answer
        known = _json_object(answer)  # A proxy in front of Dify answers something else.
        if status == 200 and (known or {}).get("result") != "fail":  # The password is not wrong.
            raise DifyUnreadable(Sentence("Dify's console answered a login without a session."), dify_status=200)
        if known is not None and known.get("code") not in _NOT_READY_CODES:
            return None, "locked" if status == 429 else "refused", answer
        raise _failed(status)

    def _exchange(self, path: str, **request: Any) -> tuple[ConsoleSession | None, int, bytes]:
        """Send a login or a refresh.

        :returns: the session, or None if Dify gave none; the status and the body of the answer.
        :raises DifyError: Dify has neither given nor refused a session.
        """
        with self._transport.send("POST", self._transport.base_url + path, **request) as response:
            answer, status = read_body(response, MAX_ERROR_SIZE), response.status_code
            if status == 200:
                return _session_in(response, answer), status, answer
            if status in _REFUSED_STATUSES:
                return None, status, answer
            raise _failed(status)


def _session_in(response: requests.Response, body: bytes) -> ConsoleSession | None:
    """Read the session from an answer's cookies or from its body (tests/contract/DIFFERENCES.md, 2).

    :returns: None if neither has a session.
    """
    jar = RequestsCookieJar()
    extract_cookies_to_jar(jar, response.request, response.raw)
    cookies = {cookie.name: cookie.value or "" for cookie in jar}
    try:
        if any(name.endswith("csrf_token") for name in cookies):  # A load balancer may set others.
            return CookieSession(cookies)
        answer = decode(body)
        shapes.LOGIN.check(answer)
        return BearerSession(answer["data"]["access_token"], answer["data"]["refresh_token"])
    except (orjson.JSONDecodeError, KeyError, Misfit):
        return None


def _failed(status: int) -> DifyFailed:
    return DifyFailed(
        Sentence("Dify's console answered a login with HTTP status {status}.", status=status), dify_status=status
    )


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return decoded if isinstance(decoded, dict) else None
