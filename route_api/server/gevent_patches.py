"""Changes to gevent and urllib3: one keeps a greenlet from blocking the others, the rest make a request cheaper.

Each docstring says what the change does, how much it saves or costs, and which behaviour of the library it relies on.
These figures were measured with `benchmarks/compare.py`, one change at a time. A change that only saves time is not
worth its lines here if it saves less than 5 % of a list, a turn or a token.
"""

import hashlib
import os
import socket
from collections.abc import Callable
from functools import wraps
from select import POLLIN
from tempfile import SpooledTemporaryFile
from time import time
from typing import Any

import gevent
import gevent.socket
import gevent.ssl
from gevent.fileobject import FileObjectThread
from gevent.monkey import get_original

LOOP_PAUSE_S = 0.005
"""Seconds for which greenlets may run before the event loop looks again which sockets and timers are ready. Python lets
threads alternate after the same time."""

TURN_S = 0.001
"""Seconds for which one greenlet may go on after LOOP_PAUSE_S. A greenlet that relays one token of a stream takes a
twentieth of this, so it never gives way, however many streams a process has."""


def patch_sockets_to_give_way() -> None:
    """Let reads from sockets and writes to them give way, if one greenlet keeps the event loop from running.

    A greenlet of gevent runs until it must wait. A read from a socket on which data has already arrived does not wait,
    nor does a write to a socket with an empty buffer. So a fast caller who uploads 300 MB, or a Dify that sends 20,000
    tokens at once, would block all other greenlets of the process until the last byte. Whatever receives, parses,
    copies and sends data calls these methods for each piece, so others now run after LOOP_PAUSE_S + TURN_S + one piece.

    The check costs 0.3 us for each read and write.

    Relies on: `loop.now()` of libev is the wall clock at the time at which the loop last looked for events.
    """
    for owner, names in {
        gevent.socket.socket: ("recv", "recv_into", "send"),
        gevent.ssl.SSLSocket: ("read", "send"),  # The other methods of a TLS socket call these two.
    }.items():
        for name in names:
            setattr(owner, name, _giving_way(getattr(owner, name)))


def _giving_way(method: Any) -> Any:
    """The method of a socket, which gives way before it begins."""

    loop_time = gevent.get_hub().loop.now

    def give_way_first(self: Any, *arguments: Any, **options: Any) -> Any:
        # The absolute value, because somebody may set the clock back.
        if abs(time() - loop_time()) > LOOP_PAUSE_S:
            _give_way_after_turn(self.hub)
        return method(self, *arguments, **options)

    return give_way_first


_turn: tuple[gevent.Greenlet | None, float] = (None, 0.0)
"""The greenlet that was last seen to run for longer than LOOP_PAUSE_S, and the time at which it was seen first."""


def _give_way_after_turn(hub: Any) -> None:
    """Let all greenlets run that are ready, if the current greenlet has gone on for TURN_S.

    The event loop looks for ready greenlets before the current one goes on. `gevent.sleep(0)` would not do: the current
    greenlet may run again up to 50 times before the loop looks. `gevent.sleep` with a small number would set
    `loop.now()`, so the next greenlet could run for LOOP_PAUSE_S more.
    """
    global _turn
    current, now = gevent.getcurrent(), time()
    if current is not _turn[0]:
        _turn = current, now
    elif abs(now - _turn[1]) > TURN_S and current is not hub:  # The hub's own callbacks must not wait.
        _turn = None, 0.0
        with hub.loop.timer(0) as next_iteration:
            hub.wait(next_iteration)


def in_thread(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which runs in a real thread while other greenlets go on. A call costs about 40 us more."""

    @wraps(function)
    def wait_for_thread(*arguments: Any, **options: Any) -> Any:
        hub = gevent.get_hub()
        if gevent.getcurrent() is hub:  # The hub's own callbacks must not wait.
            return function(*arguments, **options)
        return hub.threadpool.apply(function, arguments, options)

    return wait_for_thread


def patch_slow_functions() -> None:
    """Run in real threads what takes long and waits for no socket.

    - The hash of a password takes 60 ms.
    - A write to a file waits for the disk when the kernel has too many unwritten pages: hundreds of milliseconds. We
      write files of a `document/get`, through `os.fdopen`, and uploads, through werkzeug's SpooledTemporaryFile.
    - To free the pages of a file of 300 MB takes 40 to 250 ms, when it is deleted, replaced, or closed without a name.

    Reads are left alone: the kernel reads ahead, and a thread for each 16 KB would cost more than the read.

    Relies on: SpooledTemporaryFile keeps its file in `_file`, and is `_rolled` when that file is on the disk.
    """
    hashlib.scrypt = in_thread(hashlib.scrypt)
    os.replace, os.unlink = in_thread(os.replace), in_thread(os.unlink)
    open_descriptor = os.fdopen

    def fdopen(descriptor: int, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if mode == "wb":
            return FileObjectThread(descriptor, mode, *arguments, **options)
        return open_descriptor(descriptor, mode, *arguments, **options)

    os.fdopen = fdopen  # type: ignore[assignment]
    _patch_uploads()


def _patch_uploads() -> None:
    # Imported here because werkzeug must not be imported before gevent has patched the standard library.
    from werkzeug import formparser

    class UploadedFile(SpooledTemporaryFile[bytes]):
        """An uploaded file, on the disk if it is larger than werkzeug keeps in memory."""

        def rollover(self) -> None:
            in_thread(super().rollover)()

        def write(self, data: Any) -> int:
            write = super().write
            return int(in_thread(write)(data) if self._rolled else write(data))  # type: ignore[attr-defined]

        def close(self) -> None:
            close = super().close
            in_thread(close)() if self._rolled else close()  # type: ignore[attr-defined]

    setattr(formparser, "SpooledTemporaryFile", UploadedFile)


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
