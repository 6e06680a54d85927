"""Lets `monitoring/deadlines.py` see each read from a caller's connection, in workers of both classes."""

from functools import partial
from typing import Any

from gunicorn.http.unreader import SocketUnreader


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
