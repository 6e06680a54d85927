"""Changes to how gunicorn reads requests, in workers of both classes: the time limits of `monitoring/deadlines.py` see
each read, and the first line of a request may be longer."""

from functools import partial
from typing import Any

from gunicorn.http import message
from gunicorn.http.unreader import SocketUnreader

LONGEST_REQUEST_LINE = 65_536
"""In bytes: method, path and query. A question of `chunk/retrieval_test` may have 4,000 characters, and a character
takes 9 bytes (Chinese) or 12 (emoji) in a query. In deploy/nginx.conf, `large_client_header_buffers` is the same."""


def patch_longest_request_line() -> None:
    """Let gunicorn's setting `limit_request_line` be LONGEST_REQUEST_LINE.

    gunicorn takes at most 8190 bytes, or any number; with any number, a line without an end would fill the memory.

    Relies on: `Request.__init__` lowers the setting to the value that this constant has then.
    """
    message.MAX_REQUEST_LINE = LONGEST_REQUEST_LINE


def patch_unreader() -> None:
    """Note how long each read of a request takes and how many bytes it returns, if the connection has a time limit.

    gunicorn reads a body until it has as many bytes as the application wants. So the application does not see how long
    the caller was silent in between. The patch costs 0.3 us for each read.

    Relies on: gunicorn reads from `SocketUnreader.sock` in `SocketUnreader.chunk` alone.
    """
    # Imported here because its lock must not be made before gevent has patched the standard library.
    from ..monitoring.deadlines import deadlines

    chunk = SocketUnreader.chunk

    def noted_chunk(self: Any, size_hint: int | None = None) -> bytes:
        return deadlines.read(self.sock, partial(chunk, self, size_hint))

    SocketUnreader.chunk = noted_chunk
