"""Server-sent events of a chat, read from the socket without delay.

`iter_lines` and `iter_content` of requests hold an event back until a buffer is full or the next event comes;
`raw.read_chunked` returns each piece that Dify sent, and `raw.read1` what has arrived.
"""

from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any, Generator, Iterator, cast

import orjson
import requests

from ..errors import DifyFailed, DifyTimeout, DifyUnreachable
from ..monitoring import tracing
from .transport import NETWORK_ERRORS, TOO_LATE, network_error

LONGEST_EVENT = 4 * 1024 * 1024
"""Bytes. No event of Dify comes near; a server that never ends one must not fill our memory."""

_READ_SIZE = 64 * 1024
_LAST_EVENTS = ("message_end", "error")

Event = dict[str, Any]


class EventStream:
    """The events of one streamed answer, in order. Iterate once; close it whenever reading stops early."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response
        self._pieces = tracing.Timed(_pieces(response.raw))
        self._events = self._read()
        self._patience_s: float | None = None
        self._was_silent = False

    def __iter__(self) -> Iterator[Event]:
        return self._events

    def close(self) -> None:
        """Drop the connection. Dify goes on generating: only a stop ends that (FINDINGS f)."""
        self._events.close()
        self._response.close()

    def interrupt(self) -> None:
        """End a read that waits in another thread or greenlet, which then fails with :class:`DifyUnreachable`.

        The reader closes the stream: to close it from here would wait for the reader, or give its descriptor to
        somebody else while it still reads. A stream that is over already is left alone.
        """
        with suppress(ValueError, RuntimeError, OSError):  # closed, given back, or dropped by Dify
            self._response.raw.shutdown()

    def leave_timing(self) -> None:
        """Let reads wait without a limit of their own: from now on the caller calls :meth:`end_silence` every second.

        gevent sets up and takes down a timer for each read that has a timeout, a tenth of what a token costs.
        """
        connection = self._response.raw.connection
        if connection is not None and connection.sock is not None:
            self._patience_s = connection.sock.gettimeout()
            connection.sock.settimeout(None)

    def end_silence(self) -> None:
        """Have a read that has waited for longer than it might fail with :class:`DifyTimeout`."""
        since, patience = self._pieces.waits_since, self._patience_s
        if since is not None and patience is not None and perf_counter() - since > patience:
            self._was_silent = True
            self.interrupt()

    def _read(self) -> Generator[Event, None, None]:
        """Yield events until `message_end` or `error`, which is the last.

        What follows is not waited for: Dify 1.8.1 may keep the connection open for seconds after
        `message_end`.

        :raises DifyUnreachable: the stream broke off before its last event.
        :raises DifyTimeout: nothing came, not even a ping, for the read timeout.
        :raises DifyFailed: something came that is no event.
        """
        pending = b""
        try:
            for piece in self._pieces:
                pending += piece
                if b"\r" in pending:
                    pending = pending.replace(b"\r\n", b"\n")
                *blocks, pending = pending.split(b"\n\n")
                for block in blocks:
                    event = parse_event(block)
                    if event is None:
                        continue
                    yield event
                    if event.get("event") in _LAST_EVENTS:
                        return
                if len(pending) > LONGEST_EVENT:
                    raise DifyFailed("Dify sent an event that is too long.")
        except NETWORK_ERRORS as error:
            if not self._was_silent:
                raise network_error(error) from error
        finally:
            self._response.close()
        if self._was_silent:
            raise DifyTimeout(TOO_LATE)
        raise DifyUnreachable("Dify ended the answer before it was complete.")


def _pieces(raw: Any) -> Iterator[bytes]:
    """What comes, as it comes. A chunked answer is read chunk by chunk: that costs a third of `read1`, which would do
    as well; a proxy in front of Dify may send the answer whole."""
    if raw.chunked and raw.supports_chunked_reads():
        return cast(Iterator[bytes], raw.read_chunked(_READ_SIZE))
    return iter(partial(raw.read1, _READ_SIZE), b"")


def parse_event(block: bytes) -> Event | None:
    """The event written in the lines of `block`, which stood between blank lines; None if there is none.

    A message is JSON in `data:` lines. A keep-alive is the line `event: ping` alone (contract README, 24),
    and becomes `{"event": "ping"}`.

    :raises DifyFailed: the data is no JSON object.
    """
    if block.startswith(b"data:") and b"\n" not in block:
        data = block[5:]
    else:
        lines = block.split(b"\n")
        data = b"\n".join(line[5:] for line in lines if line.startswith(b"data:"))
        if not data:
            names = [line[6:].strip().decode(errors="replace") for line in lines if line.startswith(b"event:")]
            return {"event": names[-1]} if names else None
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise DifyFailed("Dify sent an event that cannot be read.") from error
    if not isinstance(event, dict):
        raise DifyFailed("Dify sent an event that is no object.")
    return event
