"""The credentials that the gateway sends to Dify: service keys and console sessions.

Each is a `requests` auth object, so that a secret is in one place, and only that place writes it into requests.
"""

import re
from typing import Any

from requests import PreparedRequest
from requests.auth import AuthBase

_WHOLE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_MASKED_KEY = re.compile(r"(.{5})\W+(.{4})")
"""Dify 1.17 and later show a key of a list by its first five and last four characters, such as `datas…BnVq`. Read in
Dify's code, not recorded."""


def is_whole_key(token: str) -> bool:
    """Whether a list shows a key in full. A mask must never be used or stored as a key."""
    return _WHOLE_KEY.fullmatch(token) is not None


class Credential(AuthBase):
    """A secret that signs requests. `setting` is the name of the operator's setting that holds the secret."""

    setting: str

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        r.headers.update(self.headers())
        return r

    def headers(self) -> dict[str, str]:
        """The request headers that prove who we are."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.setting}>"


class ServiceKey(Credential):
    """A key of Dify's service API: a dataset key, or the key of one app."""

    def __init__(self, key: str, setting: str) -> None:
        self.setting = setting
        self._authorization = _bearer(key)

    def headers(self) -> dict[str, str]:
        return {"Authorization": self._authorization}

    def is_key(self, token: str) -> bool:
        """Whether this is the key that the console shows as `token`."""
        return self._authorization == _bearer(token)

    def may_be_key(self, token: str) -> bool:
        """Whether `token` is a mask that fits this key. Another key may fit it too."""
        mask = _MASKED_KEY.fullmatch(token)
        key = self._authorization.removeprefix("Bearer ")
        return mask is not None and not is_whole_key(token) and key.startswith(mask[1]) and key.endswith(mask[2])


def _bearer(key: str) -> str:
    """The value of the header. http.client fails on characters outside latin-1, such as the … of a key that was copied
    from an example. With these bytes Dify refuses the key like any other wrong key."""
    return f"Bearer {key}".encode().decode("latin-1")


class ConsoleSession(Credential):
    """A login to Dify's console. It is valid for 60 minutes; its refresh token for 30 days, and once."""

    setting = "DIFY_CONSOLE_EMAIL"

    def refresh_request(self) -> dict[str, Any]:
        """The arguments of :meth:`Transport.send` for a refresh."""
        raise NotImplementedError


class BearerSession(ConsoleSession):
    """The console session of Dify 1.8.1: the answer to a login has both tokens (tests/contract, auth/login)."""

    def __init__(self, access_token: str, refresh_token: str) -> None:
        self._access_token = access_token
        self._refresh_token = refresh_token

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._access_token}"}

    def refresh_request(self) -> dict[str, Any]:
        return {"json": {"refresh_token": self._refresh_token}}


class CookieSession(ConsoleSession):
    """The console session of Dify 1.12.1: three cookies, one of which is also sent as a header (tests/contract,
    auth/profile).

    Behind https Dify puts `__Host-` before the names of the cookies, and expects the cookies under those names.
    """

    def __init__(self, cookies: dict[str, str]) -> None:
        """
        :param cookies: the cookies of a login or refresh, by their names.
        :raises KeyError: one of the three is missing.
        """
        names = {name.removeprefix("__Host-"): name for name in cookies}
        access, csrf, refresh = names["access_token"], names["csrf_token"], names["refresh_token"]
        self._csrf_token = cookies[csrf]
        self._cookie = f"{access}={cookies[access]}; {csrf}={cookies[csrf]}"
        self._refresh_cookie = f"{refresh}={cookies[refresh]}"

    def headers(self) -> dict[str, str]:
        return {"Cookie": self._cookie, "X-CSRF-Token": self._csrf_token}

    def refresh_request(self) -> dict[str, Any]:
        return {"headers": {"Cookie": self._refresh_cookie}}
