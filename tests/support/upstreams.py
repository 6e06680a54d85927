"""Gateways that behave wrongly on purpose, for tests of how nginx reacts."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Records each request, and answers it or closes the connection."""

    protocol_version = "HTTP/1.1"
    server: "Upstream"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, self.path, dict(self.headers), body))
        if self.server.breaks_off:
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST = do_DELETE = answer

    def log_message(self, *_: Any) -> None:
        """Log nothing: the test reads `requests`."""


class Upstream(ThreadingHTTPServer):
    """A server that stands in for a gateway behind nginx.

    :param breaks_off: reads each request and closes the connection without an answer, as a killed worker does
    """

    daemon_threads = True

    def __init__(self, *, breaks_off: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.breaks_off = breaks_off
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.port = int(self.server_address[1])

    def __enter__(self) -> "Upstream":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
