"""The changes to gevent and urllib3, in a process that gevent has patched."""

import subprocess
import sys

from config import PROJECT_DIR

from ..support.patience import PATIENCE_S

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
    done = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_everything_that_is_sent_arrives_and_a_timeout_still_holds() -> None:
    assert run(SENDING) == ["True"] * 5 + ["a reader who does not read ends the wait"]


def test_a_connection_is_used_again_unless_the_server_has_closed_it() -> None:
    """A POST is never sent twice, so it must not go into a closed connection."""
    assert run(REUSE) == ["connections: 1", "connections: 3"]


FAIRNESS = """
import time
from route_api.server.gevent_patches import patch_slow_functions, patch_sockets_to_give_way
patch_sockets_to_give_way()
patch_slow_functions()
import hashlib, os, sys, tempfile
from werkzeug import formparser

def count_others(work):
    others, is_over = 0, False
    def others_run():
        nonlocal others
        while not is_over:
            gevent.sleep(0.001)
            others += 1
    greenlet = gevent.spawn(others_run)
    gevent.sleep(0)
    begun = time.process_time()  # On a busy machine this process gets little of each second.
    work()
    took, is_over = time.process_time() - begun, True
    seen = others
    greenlet.join()
    return seen / took

def ready_to_read():
    for _ in range(300):
        theirs.sendall(b"x" * 50_000)
        for _ in range(50):
            assert len(ours.recv(1000)) == 1000
            sum(range(1000))  # As a parser would use the CPU.

def ready_to_write():
    buffer = bytearray(50_000)
    for _ in range(300):
        for _ in range(50):
            theirs.sendall(b"x" * 1000)
            sum(range(1000))
        left = 50_000
        while left:
            left -= ours.recv_into(buffer, left)

def hash_passwords():
    for _ in range(5):
        hashlib.scrypt(b"x", salt=b"y", n=2**14, r=8, p=1)

ours, theirs = socket.socketpair()
for work in (ready_to_read, ready_to_write, hash_passwords):
    print(work.__name__, count_others(work) > 20)

folder = tempfile.mkdtemp()
descriptor = os.open(f"{folder}/a", os.O_WRONLY | os.O_CREAT)
with os.fdopen(descriptor, "wb") as file:
    file.write(b"whole")
os.replace(f"{folder}/a", f"{folder}/b")
print(open(f"{folder}/b", "rb").read())
os.unlink(f"{folder}/b")
os.rmdir(folder)
for size in (10, 3_000_000):
    container = formparser.default_stream_factory(size, None, None)
    for _ in range(10):
        container.write(b"x" * (size // 10))
    container.seek(0)
    print(type(container).__name__, len(container.read()) == size)
    container.close()
"""


def test_one_greenlet_that_never_waits_lets_the_others_run() -> None:
    """Without the patches, the others do not run at all."""
    assert run(FAIRNESS) == [
        "ready_to_read True",
        "ready_to_write True",
        "hash_passwords True",
        "b'whole'",
        "UploadedFile True",
        "UploadedFile True",
    ]


CLOCK = """
import time
from route_api.server import gevent_patches
now = time.time
gevent_patches.patch_sockets_to_give_way()
ours, theirs = socket.socketpair()
for step in (-3600, 3600):
    gevent_patches.time = lambda: now() + step
    others = []
    greenlet = gevent.spawn(lambda: [others.append(gevent.sleep(0.001)) for _ in range(10)])
    ends_at = time.monotonic() + 60
    while len(others) < 10 and time.monotonic() < ends_at:
        theirs.send(b"x")
        ours.recv(1)
    print(len(others))
"""


def test_a_clock_that_is_set_back_or_forward_does_not_stop_the_others() -> None:
    assert run(CLOCK) == ["10", "10"]
