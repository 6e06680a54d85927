"""A gevent worker with one idle connection, and a request on another one at the moment in which the worker stops.

    python -m gevent.monkey --module tests.support.stopping_gevent_worker MOMENT

It prints what the two callers get. gevent patches the standard library of the whole process, so tests start this file
in a process of its own.
"""

import functools
import socket
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gevent
from gevent import monkey
from gevent.server import StreamServer
from gunicorn.config import Config
from gunicorn.glogging import Logger

from route_api.server import gevent_worker
from route_api.server.gevent_worker import GatewayGeventWorker

from .patience import PATIENCE_S

block_all_greenlets = monkey.get_original("time", "sleep")


class Application:
    """Answers each request after a wait, as if it asked a database."""

    extensions = {"route_api": SimpleNamespace(turn_monitor=SimpleNamespace(is_stopping=False))}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        gevent.sleep(0.1)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]


def make_worker() -> GatewayGeventWorker:
    settings = Config()
    settings.set("keepalive", 75)
    worker = GatewayGeventWorker(1, 1, [], SimpleNamespace(wsgi=Application), 60, settings, Logger(settings))
    worker.load_wsgi()
    worker.monitor.end_turns = worker.monitor.drop_callers = lambda: None
    return worker


def serve(worker: GatewayGeventWorker) -> Any:
    """Serve with the worker.

    :returns: the address
    """
    listener = socket.create_server(("127.0.0.1", 0))
    StreamServer(listener, handle=functools.partial(worker.handle, listener)).start()
    return listener.getsockname()


def ask(caller: socket.socket) -> None:
    """Send a request. The kernel has it at once, the worker when its event loop runs the next time."""
    caller.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")


def answer(caller: socket.socket) -> str:
    caller.settimeout(PATIENCE_S)
    try:
        received = caller.recv(4096)
    except ConnectionError:
        return "lost"
    if not received:
        return "closed"
    assert received.startswith(b"HTTP/1.1 200 OK"), received
    return "answered for the last time" if b"Connection: close" in received else "answered"


def stop(worker: GatewayGeventWorker) -> None:
    """Do what the worker does when idle connections have had their time."""
    worker.alive = False
    worker.continue_stop(0.0)


def main(moment: str) -> None:
    """Print what a caller without a request gets, then what a caller with a request gets.

    :param moment: `before`: the kernel has the request when the worker stops, and the event loop has not looked since;
        `with`: the event loop finds the request and the timer of the stop at the same time
    """
    gevent_worker.STOP_LINGER_S = 0.0
    worker = make_worker()
    address = serve(worker)
    idle, asking = (socket.create_connection(address) for _ in range(2))
    for caller in (idle, asking):
        ask(caller)
        assert answer(caller) == "answered"
    ask(asking)
    if moment == "before":
        stop(worker)
    else:
        gevent.spawn_later(0.05, stop, worker)
        block_all_greenlets(0.1)
    print(answer(idle))
    print(answer(asking))


if __name__ == "__main__":
    main(sys.argv[1])
