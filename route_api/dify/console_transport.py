"""Calls to Dify's console, signed with the session of the console login."""

from functools import partial
from typing import Any

import requests

from .console_login import ConsoleLogin
from .credentials import ConsoleSession
from .decoder import Kind
from .retries import with_renewed_session
from .transport import Transport, read_json


class ConsoleTransport:
    """Sends calls with the current session.

    Each may raise any :class:`DifyError`, :class:`ConsoleNotConfigured` and :class:`ConsoleLoginRefused` among them.
    """

    def __init__(self, transport: Transport, login: ConsoleLogin) -> None:
        self._transport = transport
        self._login = login

    @property
    def is_configured(self) -> bool:
        """Whether there is a console login."""
        return self._login.is_configured

    def request(self, method: str, path: str, *, shape: Kind | None = None, **options: Any) -> Any:
        """Make a call as :meth:`Transport.request` does."""
        with self.open(method, path, **options) as response:
            return read_json(response, self._transport.max_answer_size, f"{method} {path}", shape)

    def open(self, method: str, path: str, **options: Any) -> requests.Response:
        """Make a call as :meth:`Transport.open` does. The caller must close the answer."""
        call = partial(self._open, method, path, options)
        return with_renewed_session(call, self._login.session(), self._login.renew)

    def _open(self, method: str, path: str, options: dict[str, Any], session: ConsoleSession) -> requests.Response:
        return self._transport.open(method, path, auth=session, **options)
