"""The login to Dify's console: made once, refreshed before it expires, shared by all threads.

Six refused logins lock the account for a day (tests/contract/README.md, auth). So a refused login is never tried again.
"""

import base64
import threading
import time
from typing import Any, Callable

import orjson
import requests
from requests.cookies import RequestsCookieJar, extract_cookies_to_jar

from ..errors import ConsoleLoginRefused, ConsoleNotConfigured, DifyFailed
from .credentials import BearerSession, ConsoleSession, CookieSession
from .transport import Transport, read_body
from .versions import version_tuple

REFRESH_AFTER = 50 * 60.0
"""Seconds of age at which a session is refreshed. Dify's access tokens live for 60 minutes."""

BASE64_SINCE = (1, 12, 1)
"""Since this version the password must be in base64. 1.8.1 wants it as it is (tests/contract/DIFFERENCES.md, 1)."""

_WANTS_BASE64 = b"Invalid encrypted data"
"""A Dify that wants base64 answers this to a plain password. It does not count as a wrong password."""

_REFUSED_STATUSES = (400, 401, 403, 429)

_NOT_CONFIGURED = (
    "This needs a login to Dify's console, which is not configured. The operator should set"
    " DIFY_CONSOLE_EMAIL and DIFY_CONSOLE_PASSWORD."
)
_LOGIN_REFUSED = (
    "Dify refused the gateway's login to its console. It is not tried again, because six wrong passwords"
    " lock the account for a day. The operator should correct DIFY_CONSOLE_EMAIL and DIFY_CONSOLE_PASSWORD"
    " and restart."
)


class ConsoleLogin:
    """Hands out the current console session."""

    def __init__(
        self,
        transport: Transport,
        email: str | None,
        password: str | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._email = email
        self._password = password
        self._clock = clock
        self._lock = threading.Lock()
        self._session: ConsoleSession | None = None
        self._refresh_at = 0.0
        self._refused = False

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
        """The session that takes the place of `stale`. Threads that call this at the same time get the same session.

        Errors are those of :meth:`session`.
        """
        with self._lock:
            if self._session is None or self._session is stale:
                self._session = self._refresh(stale) or self._log_in()
                self._refresh_at = self._clock() + REFRESH_AFTER
            return self._session

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
        if self._refused:
            raise ConsoleLoginRefused(_LOGIN_REFUSED)
        in_base64 = base64.b64encode(self._password.encode()).decode()
        if version_tuple(self._transport.server_version()) >= BASE64_SINCE:
            session, _ = self._send_password(in_base64)
        else:
            session, answer = self._send_password(self._password)
            if _WANTS_BASE64 in answer:
                session, _ = self._send_password(in_base64)
        if session is None:
            self._refused = True
            raise ConsoleLoginRefused(_LOGIN_REFUSED)
        return session

    def _send_password(self, password: str) -> tuple[ConsoleSession | None, bytes]:
        body = {"email": self._email, "password": password, "remember_me": True}
        return self._exchange("/console/api/login", json=body)

    def _exchange(self, path: str, **request: Any) -> tuple[ConsoleSession | None, bytes]:
        """Send a login or a refresh.

        :returns: the session, which is None if Dify refused, and the body of the answer.
        :raises DifyError: Dify neither gave nor refused a session.
        """
        with self._transport.send("POST", self._transport.base_url + path, **request) as response:
            answer = read_body(response)
            if response.status_code == 200:
                return _session_in(response, answer), answer
            if response.status_code in _REFUSED_STATUSES:
                return None, answer
            status = response.status_code
            raise DifyFailed(f"Dify's console answered a login with HTTP status {status}.", dify_status=status)


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
        tokens = orjson.loads(body)["data"]
        return BearerSession(tokens["access_token"], tokens["refresh_token"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
