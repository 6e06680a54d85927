"""Starts the gateway and its sandbox as a user does: in separate processes, each on its own port."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any

import requests

from route_api.dify import Dify
from route_api.parent_process import PARENT_VARIABLE
from route_api.sandbox.gateway_settings import prepare_gateway_settings

from .dify_client import dify_client
from .patience import PATIENCE_S
from .sandbox_console import SandboxConsole

PROJECT_DIR = Path(__file__).resolve().parents[2]
PORTS = range(10_100, 32_000)
"""For servers of the tests. Linux gives the ports from 32,768 on to connections; Chromium refuses port 10,080."""
_next_port = cycle([*PORTS[os.getpid() * 613 % len(PORTS) :], *PORTS])
ENDS_WITH_US = {PARENT_VARIABLE: str(os.getpid())}
"""In the environment of gateways and their workers. If this process is killed, they end too."""


class Gateway:
    """A running `python -m route_api`. It accepts settings."""

    def __init__(
        self,
        data_dir: Path,
        database_url: str | None = None,
        *,
        command: Sequence[str] = (sys.executable, "-m", "route_api"),
        **settings: str,
    ) -> None:
        self._command = command
        self.data_dir = data_dir
        self._settings = settings
        self.database_url = database_url or f"sqlite:///{data_dir / 'gateway.sqlite3'}"
        self.port = free_port()
        self.sandbox_port = free_port()
        self.base = f"http://127.0.0.1:{self.port}/v1"
        self.log_path = data_dir / "gateway.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.http = session()

    def start(self) -> None:
        settings = {
            "PORT": str(self.port),
            "WORKERS": "2",
            "DATABASE_URL": self.database_url,
            "SANDBOX_PORT": str(self.sandbox_port),
            "DOWNLOAD_ROOT": str(self.data_dir / "downloads"),
            "DEAD_LETTERS_DIR": str(self.data_dir / "dead_letters"),
            "SANDBOX_DATA_DIR": str(self.data_dir / "sandbox"),
            **ENDS_WITH_US,
            **self._settings,
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("DIFY_")}
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=PROJECT_DIR,
                env={**inherited, **settings},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        for _ in range(PATIENCE_S * 10):
            if self._process.poll() is not None:
                break
            if answers(f"{self.base}/healthz"):
                return
            time.sleep(0.1)
        raise AssertionError(f"the gateway did not start:\n{self.log_path.read_text()}")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def terminate(self) -> None:
        """Send SIGTERM to the process and to its gunicorn, as systemd may do."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        for process in _children(self.pid):
            if b"wsgi:app" in Path(f"/proc/{process}/cmdline").read_bytes():
                os.kill(process, signal.SIGTERM)

    def stop(self) -> int:
        """Send SIGTERM, as systemd does, wait for the end, and return the exit status."""
        assert self._process is not None
        self.http.close()  # The gateway keeps idle connections open for two seconds.
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait until the process has ended, and return its exit status."""
        assert self._process is not None
        try:
            return self._process.wait(PATIENCE_S)
        finally:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def dify(self) -> Dify:
        """A client of the sandbox with the keys of the gateway."""
        keys = prepare_gateway_settings(self.data_dir / "sandbox")
        return dify_client(
            f"http://127.0.0.1:{self.sandbox_port}",
            dataset_api_key=keys["DIFY_DATASET_API_KEY"],
            app_api_key=keys["DIFY_APP_API_KEY"],
            console_email=keys["DIFY_CONSOLE_EMAIL"],
            console_password=keys["DIFY_CONSOLE_PASSWORD"],
        )

    def sandbox_console(self) -> SandboxConsole:
        """A session in the sandbox's console."""
        keys = prepare_gateway_settings(self.data_dir / "sandbox")
        address = f"http://127.0.0.1:{self.sandbox_port}"
        return SandboxConsole(address, keys["DIFY_CONSOLE_EMAIL"], keys["DIFY_CONSOLE_PASSWORD"])

    def kill_worker_of(self, answer: requests.Response) -> None:
        """Send SIGKILL to the gunicorn worker that is writing this answer."""
        connection = answer.raw.connection.sock
        caller_port = connection.getsockname()[1]
        inodes = {
            row[9]
            for row in (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
            if row[1].endswith(f":{self.port:04X}") and row[2].endswith(f":{caller_port:04X}")
        }
        for process in Path("/proc").glob("[0-9]*"):
            try:
                opened = {os.readlink(descriptor) for descriptor in (process / "fd").iterdir()}
            except OSError:
                continue
            if opened & {f"socket:[{inode}]" for inode in inodes}:
                os.kill(int(process.name), signal.SIGKILL)
                # The connections close when the last thread has ended, which takes a moment on a busy machine.
                wait_for(lambda: not process.exists())
                return
        raise AssertionError("no worker holds the connection")

    def kill_workers(self) -> None:
        """Send SIGKILL to all gunicorn workers. gunicorn starts new ones."""
        for master in _children(self.pid):
            if b"wsgi:app" in Path(f"/proc/{master}/cmdline").read_bytes():
                for worker in _children(master):
                    os.kill(worker, signal.SIGKILL)

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.http.post(f"{self.base}/{path}", json=body, timeout=PATIENCE_S)
        assert answer.json()["code"] == 0, answer.text
        return answer.json()

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        answer = self.http.get(f"{self.base}/{path}", params=params, timeout=PATIENCE_S)
        assert answer.json()["code"] == 0, answer.text
        return answer.json()

    def create_kb(self, name: str) -> str:
        return self.post("kb/create", name=f"{name} {time.monotonic_ns()}")["data"]["kb_id"]

    def upload(self, kb_id: str, path: Path, **settings: str) -> dict[str, Any]:
        with path.open("rb") as file:
            answer = self.http.post(
                f"{self.base}/document/upload",
                data={"kb_id": kb_id, **settings},
                files={"file": file},
                timeout=PATIENCE_S,
            )
        assert answer.json()["code"] == 0, answer.text
        return answer.json()["data"][0]

    def wait_until_indexed(self, kb_id: str, batch: str) -> dict[str, Any]:
        for _ in range(PATIENCE_S * 10):
            status = self.post("document/status", kb_id=kb_id, batch=batch)["data"]["data"][0]
            if status["indexing_status"] in ("completed", "error"):
                return status
            time.sleep(0.1)
        raise AssertionError(f"not indexed after {PATIENCE_S} s: {status}")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(true: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    """Wait until something is true. Give `seconds` only where it matters that it does not take longer."""
    for _ in range(int(seconds * 10)):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s")


def session(token: str = "") -> requests.Session:
    """An HTTP session with this token, which ignores proxies of the environment."""
    http = requests.Session()
    http.trust_env = False
    if token:
        http.headers["Authorization"] = f"Bearer {token}"
    return http


def answers(url: str) -> bool:
    """Whether a server answers there, also that the path does not exist."""
    with suppress(requests.RequestException), session() as http:
        return http.get(url, timeout=PATIENCE_S, allow_redirects=False).status_code < 500
    return False


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens. Until the test's server listens there, no connection takes it: the
    kernel gives higher ports to connections. Another test process hardly takes it either: each begins elsewhere."""
    while True:
        with suppress(OSError), socket.create_server(("127.0.0.1", next(_next_port))) as server:
            return server.getsockname()[1]


def stream(gateway: Gateway, body: dict[str, Any]) -> list[dict]:
    answer = gateway.http.post(f"{gateway.base}/conversation/completion_db", json=body, stream=True, timeout=PATIENCE_S)
    assert answer.headers["Content-Type"].startswith("text/event-stream"), answer.text
    lines = [line for line in answer.iter_lines() if line.startswith(b"data: ")]
    return [json.loads(line.removeprefix(b"data: ")) for line in lines]
