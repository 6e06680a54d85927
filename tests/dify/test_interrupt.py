"""A read of a stream that waits for Dify is ended: by another thread or greenlet, or because Dify is silent."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from route_api.errors import DifyTimeout, DifyUnreachable

from ..support.dify_client import dify_client
from ..support.event_streams import CHUNKED_HEAD, END, FIRST, PLAIN_HEAD, chunk, silent_after_the_first_event
from ..support.loopback import loopback
from ..support.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]

WITH_GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent, time
from route_api.errors import DifyUnreachable
from tests.support.dify_client import dify_client
from tests.support.loopback import loopback
from tests.support.event_streams import silent_after_the_first_event

def read():
    try:
        next(events)
    except DifyUnreachable:
        return "released"

with loopback(silent_after_the_first_event()) as server:
    stream = dify_client(server.url, event_timeout=60).chat().stream({"query": "x"})
    events = iter(stream)
    next(events)
    reader = gevent.spawn(read)
    gevent.sleep(0.2)
    assert not reader.dead
    stream.interrupt()
    print(reader.get(timeout=30))
"""


@pytest.mark.parametrize("start", [CHUNKED_HEAD + chunk(FIRST), PLAIN_HEAD + FIRST])
def test_a_reader_that_waits_in_a_thread_is_released_at_once(start: bytes) -> None:
    failed: list[DifyUnreachable] = []

    def read() -> None:
        try:
            next(events)
        except DifyUnreachable as error:
            failed.append(error)

    with loopback(silent_after_the_first_event(start)) as server:
        stream = dify_client(server.url, event_timeout=60).chat().stream({"query": "x"})
        events = iter(stream)
        assert next(events)["event"] == "message"
        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        time.sleep(0.2)
        assert reader.is_alive()
        stream.interrupt()
        reader.join(PATIENCE_S)
        assert not reader.is_alive() and len(failed) == 1
        assert next(events, None) is None
        stream.close()


def test_a_reader_that_waits_in_a_greenlet_is_released_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITH_GEVENT], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.stdout == "released\n", done.stderr


def test_a_stream_that_is_interrupted_before_it_is_read_ends_after_what_has_come() -> None:
    with loopback(silent_after_the_first_event()) as server:
        stream = dify_client(server.url, event_timeout=60).chat().stream({"query": "x"})
        stream.interrupt()
        seen, begun = [], time.monotonic()
        with pytest.raises(DifyUnreachable):
            seen.extend(event["event"] for event in stream)
        assert time.monotonic() - begun < 30


def test_a_stream_that_is_over_may_be_interrupted() -> None:
    with loopback(lambda connection, request: connection.sendall(CHUNKED_HEAD + chunk(END))) as server:
        stream = dify_client(server.url).chat().stream({"query": "x"})
        assert [event["event"] for event in stream] == ["message_end"]
        stream.interrupt()
        stream.close()
        stream.interrupt()


def test_a_silence_within_a_stream_is_a_timeout() -> None:
    for start in (CHUNKED_HEAD + chunk(FIRST), PLAIN_HEAD + FIRST):
        with loopback(silent_after_the_first_event(start)) as server:
            stream = dify_client(server.url, event_timeout=0.3).chat().stream({"query": "x"})
            events = iter(stream)
            next(events)
            begun = time.monotonic()
            with pytest.raises(DifyTimeout):
                next(events)
            assert time.monotonic() - begun >= 0.3


def test_nobody_gives_up_on_a_dify_that_is_not_being_read() -> None:
    """Its events wait for us while our caller does not read."""
    with loopback(lambda connection, request: connection.sendall(CHUNKED_HEAD + chunk(FIRST) + chunk(END))) as server:
        stream = dify_client(server.url, event_timeout=0.1).chat().stream({"query": "x"})
        events = iter(stream)
        next(events)
        time.sleep(0.3)
        assert [event["event"] for event in events] == ["message_end"]
