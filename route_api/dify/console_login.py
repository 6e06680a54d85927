"""The login to Dify's console: made once, refreshed before it expires, shared by all threads.

Six refused logins lock the account for a day (contract README, auth), so a refused one is never tried again.
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
from .separators import version_tuple
from .transport import Transport, read_body

REFRESH_AFTER = 50 * 60.0
"""Seconds of age at which a session is refreshed. Dify's access tokens live for 60 minutes."""

BASE64_SINCE = (1, 12, 1)
"""From here on the password must be in base64; 1.8.1 wants it as it is (DIFFERENCES 1)."""

_WANTS_BASE64 = b"Invalid encrypted data"
"""The answer of a Dify that wants base64 to a plain password, which does not count as a wrong one."""

_REFUSALS = (400, 401, 403, 429)

_NOT_CONFIGURED = (
    "This needs a login to Dify's console, which is not configured. The operator should set"
    " DIFY_CONSOLE_EMAIL and DIFY_CONSOLE_PASSWORD."
)
_REFUSED = (
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

    def session(self) -> ConsoleSession:
        """The session to sign a call with.

        :raises ConsoleNotConfigured: there are no credentials.
        :raises ConsoleLoginRefused: Dify has refused them, now or before.
        :raises DifyError: the console could not be asked.
        """
        session = self._session
        if session is None or self._clock() >= self._refresh_at:
            return self.renew(session)
        return session

    def forget(self) -> None:
        """From now on as if there were no credentials."""
        self._email = self._password = self._session = None

    def renew(self, stale: ConsoleSession | None) -> ConsoleSession:
        """The session that takes the place of `stale`. Threads that come together get the same one.

        Errors are those of :meth:`session`.
        """
        with self._lock:
            if self._session is None or self._session is stale:
                self._session = self._refresh(stale) or self._log_in()
                self._refresh_at = self._clock() + REFRESH_AFTER
            return self._session

    def _refresh(self, stale: ConsoleSession | None) -> ConsoleSession | None:
        """A new session for the old one's refresh token; None if there is none or Dify does not take it."""
        if stale is None:
            return None
        self._session = None  # The token can be used once: whatever happens now, it is not sent again.
        return self._exchange("/console/api/refresh-token", **stale.refresh_request())[0]

    def _log_in(self) -> ConsoleSession:
        if not self._email or not self._password:
            raise ConsoleNotConfigured(_NOT_CONFIGURED)
        if self._refused:
            raise ConsoleLoginRefused(_REFUSED)
        in_base64 = base64.b64encode(self._password.encode()).decode()
        if version_tuple(self._transport.server_version()) >= BASE64_SINCE:
            session, _ = self._send_password(in_base64)
        else:
            session, answer = self._send_password(self._password)
            if _WANTS_BASE64 in answer:
                session, _ = self._send_password(in_base64)
        if session is None:
            self._refused = True
            raise ConsoleLoginRefused(_REFUSED)
        return session

    def _send_password(self, password: str) -> tuple[ConsoleSession | None, bytes]:
        body = {"email": self._email, "password": password, "remember_me": True}
        return self._exchange("/console/api/login", json=body)

    def _exchange(self, path: str, **request: Any) -> tuple[ConsoleSession | None, bytes]:
        """Send what should give a session; the session, None if Dify refused, and the body of the answer.

        :raises DifyError: Dify neither gave nor refused one.
        """
        with self._transport.send("POST", self._transport.base_url + path, **request) as response:
            answer = read_body(response)
            if response.status_code == 200:
                return _session_in(response, answer), answer
            if response.status_code in _REFUSALS:
                return None, answer
            status = response.status_code
            raise DifyFailed(f"Dify's console answered a login with HTTP status {status}.", dify_status=status)


def _session_in(response: requests.Response, body: bytes) -> ConsoleSession | None:
    """The session that an answer brings, in cookies or in its body; None if in neither (DIFFERENCES 2)."""
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
