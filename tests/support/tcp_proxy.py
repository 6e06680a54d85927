"""A TCP proxy in front of a database or Redis, which can break its connections or fall silent."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class TcpProxy:
    """Passes bytes on to a server.

    :ivar url_part: host and port of the proxy, as an address has them
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._passes = threading.Event()
        self._passes.set()
        self._is_away = False
        self.url_part = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def go_away(self) -> None:
        """Break all connections, and every new one at once, as the host of a dead server does."""
        self._is_away = True
        self._break_all()

    def pause(self) -> None:
        """Accept connections and bytes, and pass nothing on."""
        self._passes.clear()

    def recover(self) -> None:
        """Serve again. What was held back in a pause is passed on."""
        self._is_away = False
        self._passes.set()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._passes.set()
        self._break_all()

    def _break_all(self) -> None:
        while self._sockets:
            with suppress(OSError):  # The other side has closed it already.
                self._sockets.pop().shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            if self._is_away:
                caller.close()
                continue
            server = socket.create_connection(self._target)
            self._sockets += [caller, server]
            for source, sink in ((caller, server), (server, caller)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._passes.wait()
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextmanager
def tcp_proxy(host: str, port: int) -> Iterator[TcpProxy]:
    """A running proxy."""
    proxy = TcpProxy(host, port)
    try:
        yield proxy
    finally:
        proxy.close()
