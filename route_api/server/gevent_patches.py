"""Changes to gevent and urllib3 that make a request cheaper in a gevent worker.

Each docstring says what the change does, how much it saves, and which behaviour of the library it relies on. The
savings were measured with `benchmarks/compare.py`, one change at a time. A change that saves less than 5 % of a list, a
turn or a token is not worth its lines here.
"""

import socket
from select import POLLIN
from typing import Any

import gevent.socket
from gevent.monkey import get_original


def patch_sendall() -> None:
    """Let `sendall` of gevent's sockets try a single `send` first.

    gevent's own `sendall` asks the kernel for the size of the send buffer at each call, and cuts the data by that size.
    Nearly everything that we send fits into the buffer. This saves 7 % of a streamed token.

    Relies on: `send` of a gevent socket waits until it has sent some bytes, and returns their number, as Python's does.
    """
    send_in_parts = gevent.socket.socket.sendall

    def sendall(self: socket.socket, data: Any, flags: int = 0) -> None:
        if not isinstance(data, bytes):
            return send_in_parts(self, data, flags)
        sent = self.send(data, flags)
        if sent < len(data):
            send_in_parts(self, memoryview(data)[sent:], flags)

    gevent.socket.socket.sendall = sendall


def patch_wait_for_socket() -> None:
    """Let urllib3 check with one system call whether the server has closed an idle connection.

    Before urllib3 uses a connection of its pool again, it asks `select.poll` with a timeout of 0. gevent's `poll` makes
    three objects for that and runs its event loop once. This saves 37 us of each call to Dify, 5 % of a list.

    Relies on: urllib3 waits for sockets with `urllib3.util.wait.wait_for_socket` alone.
    """
    # Imported here because urllib3 must not be imported before gevent has patched the standard library.
    from urllib3.util import wait

    poll, wait_cooperatively = get_original("select", "poll"), wait.poll_wait_for_socket

    def wait_for_socket(
        sock: socket.socket, read: bool = False, write: bool = False, timeout: float | None = None
    ) -> bool:
        if timeout != 0 or write:
            return wait_cooperatively(sock, read, write, timeout)
        readable = poll()
        readable.register(sock, POLLIN)
        return bool(readable.poll(0))

    wait.wait_for_socket = wait_for_socket
