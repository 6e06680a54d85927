"""A small server on loopback, for tests that a mock cannot serve: timing, broken connections, reuse of connections."""

import socket
import threading
from contextlib import contextmanager
from typing import Callable, Iterator

import orjson

from .patience import PATIENCE_S


class Loopback:
    """Accepts connections until it is closed. `handle` gets each request and writes the answer to the socket.

    :param at_once: the number of connections that are served at the same time; the others wait
    """

    def __init__(self, handle: Callable[[socket.socket, bytes], None], at_once: int = 10_000) -> None:
        self._handle = handle
        self._slots = threading.Semaphore(at_once)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[bytes] = []
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # Only a shutdown wakes a thread that waits in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._slots.acquire()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S)
        try:
            with connection:
                while request := self._read_request(connection):
                    with self._lock:
                        self.requests.append(request)
                    self._handle(connection, request)
        except OSError:  # The handler or the client has closed or reset the connection.
            return
        finally:
            self._slots.release()

    @staticmethod
    def _read_request(connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            chunk = connection.recv(65536)
            if not chunk:
                return b""
            data += chunk
        head, _, body = data.partition(b"\r\n\r\n")
        if b"\r\ntransfer-encoding: chunked" in head.lower():
            while not data.endswith(b"\r\n0\r\n\r\n"):
                chunk = connection.recv(65536)
                if not chunk:  # The client has left in the middle of its request.
                    return b""
                data += chunk
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                missing = int(line[15:]) - len(body)
                while missing > 0:
                    chunk = connection.recv(65536)
                    if not chunk:  # The client has left in the middle of its request.
                        return b""
                    data += chunk
                    missing -= len(chunk)
        return data


@contextmanager
def loopback(handle: Callable[[socket.socket, bytes], None], at_once: int = 10_000) -> Iterator[Loopback]:
    server = Loopback(handle, at_once)
    try:
        yield server
    finally:
        server.close()


def answer(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    """A complete JSON answer, after which the connection stays open."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


OK = {"id": "d", "name": "d", "answer": "ok", "records": []}
"""An answer that has the form of a dataset, of a chat's answer and of a search's."""

OK_BODY = orjson.dumps(OK)


def ok(connection: socket.socket, request: bytes) -> None:
    """A handler that answers every request with success."""
    connection.sendall(answer(OK_BODY))


def reset(connection: socket.socket) -> None:
    """Close a connection with a TCP reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    connection.close()
