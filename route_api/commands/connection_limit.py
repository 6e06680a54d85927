"""Whether Dify serves more than the ten connections of its default settings (SERVER_WORKER_CONNECTIONS)."""

import socket
from contextlib import ExitStack
from urllib.parse import urlsplit

from ..dify import Transport

DEFAULT_CONNECTIONS = 10
"""Dify's default, with one API worker (tests/contract/DIFFERENCES-1.16.md, H)."""

ANSWER_S = 1.0
"""Seconds to wait for an answer that takes milliseconds."""


def has_more_connections(transport: Transport) -> bool | None:
    """Hold ten connections open for a moment, and look whether Dify answers on another one.

    :returns: None if it cannot be seen: the address is https, or a proxy is in front of Dify, or may be. From 1.14 on
        Dify's own server names itself in no header (seen on a live 1.14.2), and nor do some proxies
    :raises DifyError: Dify does not answer
    """
    with transport.send("GET", transport.base_url + "/v1/") as response:
        server = response.headers.get("Server", "")
    address = urlsplit(transport.base_url)
    if address.scheme != "http" or server and not server.startswith("gunicorn"):
        return None
    target = (address.hostname or "", address.port or 80)
    with ExitStack() as held:
        try:
            for _ in range(DEFAULT_CONNECTIONS):
                held.enter_context(socket.create_connection(target, ANSWER_S))
            last = held.enter_context(socket.create_connection(target, ANSWER_S))
            last.sendall(f"GET /v1/ HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n".encode())
            return None if last.recv(1) and not server else True
        except OSError:
            return False
