"""Server-sent events of a chat, read from the socket without delay.

`iter_lines` and `iter_content` of requests keep an event back until a buffer is full or the next event comes.
:class:`ChunkedBody` and `raw.read1` return the bytes that have arrived.
"""

from functools import partial
from math import inf
from time import monotonic, perf_counter, sleep
from typing import Any, Generator, Iterable, Iterator, cast

import orjson
import requests

from ..errors import DifyTimeout, DifyUnreachable, DifyUnreadable
from ..languages import Sentence
from ..monitoring import tracing
from . import shapes
from .chunked_body import READ_SIZE, ChunkedBody
from .connections import shutdown_of
from .decoder import Misfit, unusable
from .json_text import decode
from .transport import NETWORK_ERRORS, TIMEOUT_TEXT, network_error

MAX_EVENT_SIZE = 4 * 1024 * 1024
"""In bytes. Dify's events are far smaller. A server that never ends an event must not fill our memory."""

MAX_STREAM_SIZE = 256 * 1024 * 1024
"""In bytes: all events of an answer. Dify sends about 300 bytes for each token, so no model reaches this. A server that
never ends its answer does."""

PAUSE_SHARE = 0.05
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.01, 0.25
"""If nobody needs an event at once, the reader pauses after it has read all that has arrived. So it reads many events
together. A pause is this share of the time since Dify's answer began, so it delays no answer by more than 5 %."""

_LAST_EVENTS = ("message_end", "error")

_WORKFLOW_ENDS = ("workflow_finished", "workflow_paused")
"""The end of a chatflow. `message_end` or `error` may follow, as in Dify 1.12.1. In 1.16.1 the stream ends without them
if the chatflow failed, was stopped, or waits for a person (tests/contract/DIFFERENCES-1.16.md, A 1 to 3)."""

NOT_BEGUN_TEXT = Sentence(
    "Dify took the question, but did not begin to answer it in time. Its model is too slow, or its worker,"
    " which carries out chatflows, is away or busy, or has refused the question, which Dify 1.14 tells only in"
    " the log of the worker. The operator should look at Dify's worker."
)
NOT_GONE_ON_TEXT = Sentence(
    "The chatflow's answer did not go on in time. The operator should look at Dify's worker, which carries out"
    " chatflows."
)

Event = dict[str, Any]


class EventStream:
    """The events of one streamed answer, in order. Iterate it once. Close it if you stop before the end.

    It belongs to the request that is current when it is made: interrupting that request ends its reads too.
    """

    def __init__(
        self,
        response: requests.Response,
        *,
        event_timeout: float = inf,
        ping_timeout: float = inf,
        in_one_piece: bool = False,
    ) -> None:
        """
        :param event_timeout: seconds without an event or a ping after which the stream fails.
        :param ping_timeout: seconds without an event other than pings after which the stream fails.
        :param in_one_piece: whether nobody needs an event at once.
        """
        self._response = response
        self._event_timeout = event_timeout
        self._ping_timeout = ping_timeout
        self._in_one_piece = in_one_piece
        self._trace = tracing.current()
        self._shutdown = shutdown_of(response)
        self._body = _body(response.raw)
        self._pieces = tracing.timed(iter(self._body))
        self._events = self._read()
        self._read_at = self._last_event_at = self._last_answer_at = 0.0
        self._timeout_text = TIMEOUT_TEXT

    def __iter__(self) -> Iterator[Event]:
        return self._events

    def close(self) -> None:
        """Close the connection. Dify goes on generating until it gets a stop (tests/contract/FINDINGS.md, f)."""
        self._events.close()
        self._response.close()

    def interrupt(self) -> None:
        """End the reads of this stream, also a read that waits in another thread or greenlet: it fails with
        :class:`DifyUnreachable`. Later calls to Dify are not affected, unlike after :meth:`Trace.interrupt`.

        This does not close the stream; the reader does. If another thread closed the socket, its descriptor could be
        given to another connection while the reader still reads from it. A stream that is over is left alone.
        """
        self._shutdown()

    def _read(self) -> Generator[Event, None, None]:
        """Yield the events up to `message_end` or `error`, then close the connection: Dify 1.8.1 may keep it open for
        seconds after `message_end`. A stream that ends after the end of a chatflow is complete too.

        :raises DifyUnreachable: the stream broke off before its last event, or was interrupted.
        :raises DifyTimeout: no event and no ping came in time, or only pings came. Bytes that are no event, such as
            comments, do not count.
        :raises DifyUnreadable: Dify sent something that is no event, or too much.
        """
        has_workflow_ended = False
        try:
            with self._trace.interruptible(self._shutdown):
                for block in _blocks(self._timely_pieces()):
                    event = parse_event(block)
                    if event is None:
                        continue
                    self._last_event_at = self._read_at
                    self._note(event)
                    yield event
                    if event.get("event") in _LAST_EVENTS:
                        if isinstance(self._body, ChunkedBody):
                            self._body.expect_end()
                        return
                    has_workflow_ended = has_workflow_ended or event.get("event") in _WORKFLOW_ENDS
        except TimeoutError as error:
            raise DifyTimeout(self._timeout_text) from error
        except NETWORK_ERRORS as error:
            raise network_error(error, self._timeout_text) from error
        finally:
            self._response.close()
        if not has_workflow_ended:
            raise DifyUnreachable(Sentence("Dify ended the answer before it was complete."))

    def _note(self, event: Event) -> None:
        """Remember what a timeout after this event means. Since 1.16.1 a chatflow begins with a ping. If no worker of
        Dify carries it out, this ping is all that comes (tests/contract/DIFFERENCES-1.16.md, A 7)."""
        name = event.get("event")
        if name != "ping":
            self._last_answer_at = self._read_at
        if name == "ping" and self._timeout_text == TIMEOUT_TEXT:
            self._timeout_text = NOT_BEGUN_TEXT
        elif name == "workflow_started":
            self._timeout_text = NOT_GONE_ON_TEXT

    def _timely_pieces(self) -> Iterator[bytes]:
        """The pieces of the body. When the events of a piece were read, check the time, and pause if it is allowed.

        :raises DifyTimeout: the last event, or the last event that is no ping, was too long ago.
        """
        began = self._last_event_at = self._last_answer_at = monotonic()
        for piece in self._pieces:
            self._read_at = now = monotonic()
            yield piece
            if now - self._last_event_at > self._event_timeout or now - self._last_answer_at > self._ping_timeout:
                raise DifyTimeout(self._timeout_text)
            # A read that is more than half full may have left something behind. A chunk's frame takes less than half.
            if self._in_one_piece and len(piece) < READ_SIZE // 2:
                pause = min(LONGEST_PAUSE_S, (now - began) * PAUSE_SHARE)
                if pause > SHORTEST_PAUSE_S:
                    paused_at = perf_counter()
                    sleep(pause)
                    self._trace.waited_since(paused_at)  # The model goes on meanwhile.


def _body(raw: Any) -> Iterable[bytes]:
    """The body in the pieces in which it arrives. Dify sends chunks; a proxy in front of it may send none."""
    if raw.chunked and raw.supports_chunked_reads():
        # Compression is not asked for, but a server may send it: then urllib3 undoes it.
        if "Content-Encoding" not in raw.headers:
            return ChunkedBody(raw)
        return cast(Iterator[bytes], raw.read_chunked(READ_SIZE, decode_content=True))
    return iter(partial(raw.read1, READ_SIZE, decode_content=True), b"")


def _blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Join the pieces of a stream, and cut it at the blank lines.

    The time is linear however small the pieces are: each search for a blank line begins one byte before the new piece.

    :returns: the lines between two blank lines, joined by `\\n`.
    :raises DifyUnreadable: a block, or the whole stream, is too long.
    """
    pending = bytearray()
    received = 0
    ends_with_cr = False
    for piece in pieces:
        received += len(piece)
        if received > MAX_STREAM_SIZE:
            raise DifyUnreadable(Sentence("Dify sent an answer that is too long."))
        if ends_with_cr or b"\r" in piece:
            # Lines end with \n, \r\n or \r. A \r at the end of a piece ends its line at once; a \n after it is dropped.
            begins_with_lf = ends_with_cr and piece.startswith(b"\n")
            ends_with_cr = piece.endswith(b"\r")
            piece = piece[begins_with_lf:].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if not pending and piece.endswith(b"\n\n"):
            # The usual case, without a search in Python: Dify sends each event as one chunk.
            yield from piece[:-2].split(b"\n\n")
            continue
        end = max(len(pending) - 1, 0)
        pending += piece
        begin = 0
        while (end := pending.find(b"\n\n", end)) >= 0:
            yield bytes(pending[begin:end])
            begin = end = end + 2
        del pending[:begin]
        if len(pending) > MAX_EVENT_SIZE:
            raise DifyUnreadable(Sentence("Dify sent an event that is too long."))


def parse_event(block: bytes) -> Event | None:
    """Parse the lines between two blank lines.

    A message is JSON in `data:` lines. A keep-alive is the single line `event: ping` (tests/contract/README.md, 24).

    :returns: the event, `{"event": "ping"}` for a keep-alive; None if there is none.
    :raises DifyUnreadable: the data is no JSON object, or a field that our code reads has another type.
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
        event = decode(data)
    except orjson.JSONDecodeError as error:
        raise DifyUnreadable(Sentence("Dify sent an event that cannot be read.")) from error
    if not isinstance(event, dict):
        raise DifyUnreadable(Sentence("Dify sent an event that is no object."))
    name = event.get("event")
    shape = shapes.EVENTS.get(name, shapes.OTHER_EVENT) if isinstance(name, str) else shapes.OTHER_EVENT
    try:
        shape.check(event)
    except Misfit as misfit:
        raise unusable(misfit, f"a question, in the event {name},", None) from misfit
    return event
