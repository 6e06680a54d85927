"""Event streams, for a Dify on loopback."""

import socket
from typing import Any

from route_api.dify import EventStream

CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
PLAIN_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
FIRST = 'data: {"event":"message","answer":"知"}\n\n'.encode()
END = b'data: {"event":"message_end"}\n\n'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def last_event(stream: EventStream) -> dict[str, Any]:
    """Read a whole stream, and return its last event."""
    return list(stream)[-1]


class silent_after_the_first_event:
    """Start a Dify that sends one event and then nothing, until the client closes the connection."""

    def __init__(self, start: bytes = CHUNKED_HEAD + chunk(FIRST)) -> None:
        self._start = start

    def __call__(self, connection: socket.socket, request: bytes) -> None:
        connection.sendall(self._start)
        connection.recv(1)
