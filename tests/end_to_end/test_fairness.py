"""One worker with callers who are very fast or very slow, and with a database that is locked: nobody else waits."""

import json
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from ..support.deployment import BIN, Process
from ..support.fast_dify import ID, MB
from ..support.patience import PATIENCE_S
from ..support.running_gateway import PROJECT_DIR, answers, free_port, session

UPLOAD_MB = 100
DOWNLOAD_MB = 300
TOKENS = 20_000
"""Before each of these gave way, it made all others wait for 0.35 seconds or more."""
MOST_WAIT_S = 0.2
"""The longest wait for a healthz; by hand 20 to 50 ms. The time for which our threads queue for a processor does not
count, see :func:`queued_s`. On a busy machine the rest may be TIMES_IDLE times the longest wait without the others."""
TIMES_IDLE = 10
SILENCE_S = 2
LOCK_S = 3
LIMITS = f"""
exec(open({str(PROJECT_DIR / "gunicorn.conf.py")!r}).read())
keepalive = {SILENCE_S}
def post_worker_init(worker):
    from route_api.monitoring import deadlines
    from route_api.server import thread_worker
    from route_api.storage import database
    deadlines.SILENCE_S = thread_worker.HEAD_TIMEOUT_S = {SILENCE_S}
    database.SQLITE_WAIT_S = {LOCK_S}
"""
"""A configuration of gunicorn with shorter limits."""
UPLOAD = "document/upload"
RAW_UPLOAD = f"datasets/{ID}/document/create_by_file"
BOUNDARY = "the-boundary"
FORM = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"


class FastDify(Process):
    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__("dify", [sys.executable, "-m", "tests.support.fast_dify", str(self.port)], folder)

    def is_up(self) -> bool:
        return answers(f"{self.url}/uploads")

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    @property
    def uploads(self) -> int:
        return int(session().get(f"{self.url}/uploads").json())


class OneWorker(Process):
    """A gateway with one worker, SQLite, and the limits of LIMITS."""

    def __init__(self, folder: Path, dify: FastDify, worker_class: str) -> None:
        self.port, self.dify, self.database = free_port(), dify, folder / "gateway.sqlite3"
        self.base = f"http://127.0.0.1:{self.port}"
        (folder / "limits.py").write_text(LIMITS)
        settings = {
            "PORT": str(self.port),
            "WORKERS": "1",
            "WORKER_CLASS": worker_class,
            "AUTH": "open",
            "RATE_LIMIT": "0",
            "UPLOADS_PER_CALLER": "2",
            "DATABASE_URL": f"sqlite:///{self.database}",
            "DOWNLOAD_ROOT": str(folder / "downloads"),
            "DIFY_BASE_URL": dify.url,
            "DIFY_DATASET_API_KEY": "dataset-key",
            "DIFY_APP_API_KEY": "app-key",
        }
        super().__init__(
            "gateway", [str(BIN / "gunicorn"), "-c", str(folder / "limits.py"), "wsgi:app"], folder, settings
        )
        migrate = [BIN / "flask", "--app", "wsgi", "db", "upgrade"]
        subprocess.run(migrate, cwd=PROJECT_DIR, env=self._environment, check=True)

    def is_up(self) -> bool:
        return answers(f"{self.base}/healthz")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def send(self, path: str, framing: str, kind: str = FORM, method: str = "POST") -> socket.socket:
        """Send the head of a request."""
        connection = self.connect()
        lines = [f"{method} /v1/{path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", kind, framing, "", ""]
        connection.sendall("\r\n".join(lines).encode())
        return connection

    def get(self, path: str, **params: Any) -> requests.Response:
        return session().get(f"{self.base}/v1/{path}", params=params, timeout=PATIENCE_S)

    def ask(self, tokens: int, user_id: str = "alice") -> requests.Response:
        body = {"user_id": user_id, "query": f"n={tokens}", "stream": True}
        return session().post(f"{self.base}/v1/chat/chat", json=body, timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def gateway(worker_class: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneWorker]:
    folder = tmp_path_factory.mktemp("fairness")
    dify = FastDify(folder)
    dify.start()
    running = OneWorker(folder, dify, worker_class)
    running.start()
    yield running
    running.stop()
    dify.stop()


def form(path: str, content: bytes = b"content") -> tuple[bytes, bytes]:
    """The beginning and the end of a form with a file. The content of the file belongs between them."""
    name, value = ("data", "{}") if path == RAW_UPLOAD else ("kb_id", ID)
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{{}}"{{}}\r\n\r\n'.format
    begin = part(name, "") + value + "\r\n" + part("file", '; filename="a.bin"')
    return begin.encode(), f"\r\n--{BOUNDARY}--\r\n".encode()


def status_of(connection: socket.socket) -> int:
    """Read an answer to its end."""
    with connection:
        got = b""
        with suppress(ConnectionResetError):  # The gateway has closed the connection with unread bytes.
            while piece := connection.recv(65536):
                got += piece
    return int(got.split()[1]) if got else 0


def upload(gateway: OneWorker, path: str, size_mb: int) -> None:
    begin, end = form(path)
    connection = gateway.send(path, f"Content-Length: {len(begin) + size_mb * MB + len(end)}")
    connection.sendall(begin)
    piece = bytes(MB)
    for _ in range(size_mb):
        connection.sendall(piece)
    connection.sendall(end)
    assert status_of(connection) == 200


def download(gateway: OneWorker) -> None:
    path = f"document/download?kb_id={ID}&document_id={ID[:-12]}{DOWNLOAD_MB:012}"
    with gateway.send(path, "X-Nothing: 0", method="GET") as connection:
        buffer, size = bytearray(MB), 0
        while got := connection.recv_into(buffer):
            size += got
    assert size > DOWNLOAD_MB * MB


def save(gateway: OneWorker) -> None:
    answer = gateway.get("document/get", kb_id=ID, document_id=f"{ID[:-12]}{DOWNLOAD_MB:012}", download_dir="here")
    assert answer.status_code == 200, answer.text


def ask(gateway: OneWorker) -> None:
    assert gateway.ask(TOKENS).text.count("\n\n") > TOKENS


SCENES: dict[str, Callable[[OneWorker], None]] = {
    "an upload": lambda gateway: upload(gateway, UPLOAD, UPLOAD_MB),
    "an upload in Dify's form": lambda gateway: upload(gateway, RAW_UPLOAD, UPLOAD_MB),
    "a download": download,
    "a saved document": save,
    "a stream of which Dify sends all tokens at once": ask,
}


def queued_s(*threads: Path) -> float:
    """Seconds for which these threads have queued for a processor; 0 if the kernel does not count.

    :param threads: their folders in /proc
    """
    nanoseconds = 0
    for thread in threads:
        with suppress(OSError):  # The thread has just ended.
            nanoseconds += int((thread / "schedstat").read_text().split()[1])
    return nanoseconds / 1e9


def longest_wait(gateway: OneWorker, scene: Callable[[], None]) -> float:
    """The longest wait for a healthz in seconds while a scene runs."""
    waits, is_over = [0.0], threading.Event()
    (worker,) = gateway.children

    def probe() -> None:
        with gateway.connect() as connection:
            while not is_over.wait(0.005):
                threads = [*Path(f"/proc/{worker}/task").iterdir(), Path("/proc/thread-self")]
                queued_before, begun = queued_s(*threads), time.monotonic()
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                while not connection.recv(65536).endswith(b"}"):
                    pass
                took = time.monotonic() - begun
                waits.append(took - (queued_s(*threads) - queued_before))

    prober = threading.Thread(target=probe)
    prober.start()
    try:
        scene()
    finally:
        is_over.set()
        prober.join()
    assert len(waits) > 1
    return max(waits)


def assert_fair(gateway: OneWorker, scene: Callable[[], None], times: int = 3) -> None:
    waits, idle = [], []
    for _ in range(times):
        idle.append(longest_wait(gateway, lambda: time.sleep(0.3)))
        waits.append(longest_wait(gateway, scene))
    most = max(MOST_WAIT_S, TIMES_IDLE * statistics.median(idle))
    assert statistics.median(waits) < most, (waits, idle)


# ------------------------------------------------------------------ those who are fast


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_one_who_never_waits_lets_the_others_go_on(gateway: OneWorker, scene: Callable[[OneWorker], None]) -> None:
    assert_fair(gateway, lambda: scene(gateway))


# ------------------------------------------------------------------ those who are slow


@pytest.mark.parametrize("path", [UPLOAD, RAW_UPLOAD])
@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_uploads_that_do_not_go_on_end_and_make_room(gateway: OneWorker, path: str, framing: str) -> None:
    arrived = gateway.dify.uploads
    begin, _ = form(path)
    stuck = [gateway.send(path, framing) for _ in range(2)]  # As many as UPLOADS_PER_CALLER allows.
    for connection in stuck:
        connection.sendall(begin if "Length" in framing else b"%x\r\n%s\r\n" % (len(begin), begin))
    assert [status_of(connection) for connection in stuck] == [408, 408]
    assert gateway.dify.uploads == arrived, "Dify has got no half file"
    upload(gateway, path, 1)
    assert gateway.dify.uploads == arrived + 1


@pytest.mark.parametrize("path", [UPLOAD, RAW_UPLOAD])
def test_an_upload_of_a_few_bytes_a_second_ends(gateway: OneWorker, path: str) -> None:
    begin, _ = form(path)
    connection = gateway.send(path, "Content-Length: 100000")
    connection.sendall(begin)
    for _ in range(10 * PATIENCE_S):
        time.sleep(0.1)
        try:
            connection.sendall(b"few")
        except OSError:  # The gateway has closed the connection.
            break
    else:
        raise AssertionError("the gateway still waits")
    connection.close()


def test_a_json_body_that_does_not_go_on_ends(gateway: OneWorker) -> None:
    connection = gateway.send("user/login", "Content-Length: 100", kind="Content-Type: application/json")
    connection.sendall(b"{")
    assert status_of(connection) == 408


def test_a_head_that_does_not_end_closes_the_connection(gateway: OneWorker) -> None:
    begun = time.monotonic()
    with gateway.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        with suppress(OSError):
            while time.monotonic() - begun < 30:
                time.sleep(0.2)
                connection.sendall(b"y")
        assert time.monotonic() - begun < 30


# ------------------------------------------------------------------ a database that is locked


def lock(gateway: OneWorker, seconds: float) -> threading.Thread:
    """Lock the database as another program would, for example a backup. Returns when it is locked."""
    is_locked = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(gateway.database)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            is_locked.set()
            time.sleep(seconds)
            connection.rollback()

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_locked.wait(PATIENCE_S)
    return thread


def test_a_locked_database_delays_only_those_who_write_to_it(gateway: OneWorker) -> None:
    answered: list[str] = []

    def turns_while_locked() -> None:
        locked = lock(gateway, LOCK_S / 3)
        answered.append(gateway.ask(3, "bob").text)
        assert gateway.get("conversation/list", user_id="bob").status_code == 200
        locked.join()

    assert_fair(gateway, turns_while_locked)
    for body in answered:
        assert json.loads(body.split("\n\n")[-3].removeprefix("data: "))["data"]["status"] == "done"


def test_a_database_that_stays_locked_is_reported(gateway: OneWorker) -> None:
    locked = lock(gateway, LOCK_S * 2)
    answer = gateway.ask(3, "carol")
    assert (answer.status_code, answer.json()["error"]) == (503, "database_unavailable")
    locked.join()
    assert gateway.ask(3, "carol").status_code == 200
    conversations = gateway.get("conversation/list", user_id="carol").json()["data"]["conversations"]
    assert len(conversations) == 1
