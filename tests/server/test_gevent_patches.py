"""The changes to gevent and urllib3, in a process that gevent has patched."""

import subprocess
import sys

from config import PROJECT_DIR

START = """
from gevent import monkey
monkey.patch_all()
import gevent, socket, threading
from route_api.server.gevent_patches import patch_sendall, patch_wait_for_socket
patch_sendall()
import urllib3
patch_wait_for_socket()
"""

SENDING = """
def read_all():
    data = b""
    while piece := theirs.recv(1_000_000):
        data += piece
        gevent.sleep(0.001)
    return data

for sent in (b"", b"small", b"x" * 20_000_000, bytearray(b"y" * 3_000_000), memoryview(b"z" * 5)):
    ours, theirs = socket.socketpair()
    reader = gevent.spawn(read_all)
    ours.sendall(sent)
    ours.close()
    print(reader.get(timeout=20) == bytes(sent))
ours, theirs = socket.socketpair()
ours.settimeout(0.2)
try:
    ours.sendall(b"x" * 50_000_000)
except TimeoutError:
    print("a reader who does not read ends the wait")
"""

REUSE = """
from tests.support.loopback import answer, loopback, ok

def answer_and_hang_up(connection, request):
    connection.sendall(answer(b'{"ok":true}'))
    connection.close()

for handle in (ok, answer_and_hang_up):
    with loopback(handle) as server:
        pools = urllib3.PoolManager()
        for _ in range(3):
            assert pools.request("POST", f"{server.url}/v1/x", body=b"{}", retries=False).status == 200
            gevent.sleep(0.1)
        print("connections:", server.connections)
"""


def run(program: str) -> list[str]:
    command = [sys.executable, "-c", START + program]
    done = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_everything_that_is_sent_arrives_and_a_timeout_still_holds() -> None:
    assert run(SENDING) == ["True"] * 5 + ["a reader who does not read ends the wait"]


def test_a_connection_is_used_again_unless_the_server_has_closed_it() -> None:
    """A POST is never sent twice, so it must not go into a closed connection."""
    assert run(REUSE) == ["connections: 1", "connections: 3"]
