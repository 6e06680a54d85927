"""A client of a Dify, with short time limits."""

from typing import Any

from route_api.dify import Dify

SHORT_TIMEOUTS = {
    "connect_timeout": 2.0,
    "read_timeout": 10.0,
    "chat_timeout": 10.0,
    "upload_timeout": 10.0,
    "event_timeout": 10.0,
}


def dify_client(url: str, **overrides: Any) -> Dify:
    """A client with keys and without a console login.

    :param overrides: other arguments of :class:`Dify`
    """
    keys = {"dataset_api_key": "dataset-secret", "app_api_key": "app-secret"}
    return Dify(url, **{**keys, **SHORT_TIMEOUTS, **overrides})
