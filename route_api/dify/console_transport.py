"""Calls to Dify's console, signed with the session of the console login."""

from typing import Any

import requests

from ..errors import DifyAuthFailed
from .console_login import ConsoleLogin
from .transport import Transport, read_json


class ConsoleTransport:
    """Sends calls with the current session, and once more with a new one where Dify refuses that.

    Each may raise any :class:`DifyError`, :class:`ConsoleNotConfigured` and :class:`ConsoleLoginRefused` among them.
    """

    def __init__(self, transport: Transport, login: ConsoleLogin) -> None:
        self._transport = transport
        self._login = login

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Make a call as :meth:`Transport.request` does."""
        with self.open(method, path, **options) as response:
            return read_json(response)

    def open(self, method: str, path: str, **options: Any) -> requests.Response:
        """Make a call as :meth:`Transport.open` does. The caller must close the answer."""
        session = self._login.session()
        try:
            return self._transport.open(method, path, auth=session, **options)
        except DifyAuthFailed:  # Nothing was done, so that this may be sent again whatever the method.
            return self._transport.open(method, path, auth=self._login.renew(session), **options)
