"""A client of the console of a running sandbox, for tests that check the changes of the gateway there."""

import base64
from typing import Any

import requests

from .patience import PATIENCE_S


class SandboxConsole:
    """A session of the console.

    :param url: the sandbox's address
    """

    def __init__(self, url: str, email: str, password: str) -> None:
        self._url = url
        self._http = requests.Session()
        self._http.trust_env = False
        body = {"email": email, "password": base64.b64encode(password.encode()).decode(), "remember_me": True}
        answer = self._http.post(f"{url}/console/api/login", json=body, timeout=PATIENCE_S)
        assert answer.status_code == 200, answer.text
        self._http.headers["X-CSRF-Token"] = self._http.cookies["csrf_token"]

    def get(self, path: str) -> Any:
        """GET a path, without its beginning `/console/api`, and return the JSON."""
        answer = self._http.get(f"{self._url}/console/api{path}", timeout=PATIENCE_S)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST a body to a path, without its beginning `/console/api`, and return the JSON."""
        answer = self._http.post(f"{self._url}/console/api{path}", json=body, timeout=PATIENCE_S)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()
