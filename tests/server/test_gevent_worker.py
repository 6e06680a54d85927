"""The gevent worker's server, in a process that gevent has patched."""

import subprocess
import sys

import pytest

from config import PROJECT_DIR

from ..support.patience import PATIENCE_S

STOPPING = """
from gevent import monkey
monkey.patch_all()
import gevent, socket
from gevent.pool import Pool
from route_api.server.gevent_worker import AcceptingServer

def answer(connection, address):
    connection.sendall(b"answer to " + connection.recv(100))
    connection.close()

listener = socket.create_server(("127.0.0.1", 0), backlog=50)
server = AcceptingServer(listener, handle=answer, spawn=Pool(100))
server.max_accept = 1
server.start()
callers = [socket.create_connection(listener.getsockname()) for _ in range(20)]
for caller in callers:
    caller.sendall(b"question")
server.close()
print([caller.recv(100) for caller in callers] == [b"answer to question"] * 20)
try:
    socket.create_connection(("127.0.0.1", server.address[1]))
except ConnectionRefusedError:
    print("later callers are refused")
"""


def test_connections_that_the_kernel_has_accepted_are_answered_when_the_server_stops() -> None:
    command = [sys.executable, "-c", STOPPING]
    done = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["True", "later callers are refused"]


@pytest.mark.parametrize("moment", ["before", "with"])
def test_a_request_that_arrives_when_idle_connections_are_closed_is_answered(moment: str) -> None:
    command = [sys.executable, "-m", "gevent.monkey", "--module", "tests.support.stopping_gevent_worker", moment]
    done = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["closed", "answered for the last time"]
