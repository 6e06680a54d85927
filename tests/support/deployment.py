"""Starts Route API as an operator does: nginx with deploy/nginx.conf, gunicorn behind it, and the sandbox as Dify."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from route_api.sandbox.gateway_settings import prepare_gateway_settings

from . import databases
from .patience import PATIENCE_S
from .running_gateway import ENDS_WITH_US, PROJECT_DIR, answers, free_port, session, wait_for

BIN = Path(sys.executable).parent
REDIS = "redis://127.0.0.1:6379/10"
UPLOAD_LIMIT_MB = 400
SERVICE_KEY = "the-service-key-of-a-backend"
USER_LIMIT = 20
"""The limit of requests per minute for one user of the two gateways."""


def program(name: str) -> str:
    """The path of a program. Also searches our virtual environment and Debian's folders for root."""
    found = shutil.which(name, path=f"{BIN}:{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        databases.absent(f"no {name} on this machine")
    return str(found)


class Process:
    """A server that the test starts and stops."""

    def __init__(self, name: str, command: list[str], folder: Path, settings: dict[str, str] | None = None) -> None:
        self.name = name
        self.log_path = folder / f"{name}.log"
        self._command = command
        self._environment = {**os.environ, **ENDS_WITH_US, **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def children(self) -> list[int]:
        """The ids of the worker processes."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def is_up(self) -> bool:
        """Whether the server accepts requests. Each kind of server has its own check."""
        raise NotImplementedError

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=PROJECT_DIR, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        for _ in range(PATIENCE_S * 10):
            if self._process.poll() is not None:
                break
            if self.is_up():
                return
            time.sleep(0.1)
        if self._process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        raise AssertionError(f"{self.name} did not start:\n{self.log_path.read_text()}")

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def stop(self) -> None:
        """Send SIGTERM, as systemd does."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            assert process.wait(PATIENCE_S) == 0, self.log_path.read_text()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


class Sandbox(Process):
    """The sandbox, with a higher limit for the size of files than Dify's default."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        keys = prepare_gateway_settings(folder)
        self.settings = {"DIFY_BASE_URL": f"http://127.0.0.1:{self.port}", **keys}
        limits = ["--upload-limit-mb", str(UPLOAD_LIMIT_MB), "--parent-pid", str(os.getpid())]
        command = [sys.executable, "-m", "route_api.sandbox", "--port", str(self.port), "--data-dir", str(folder)]
        super().__init__("sandbox", command + limits, folder)

    def is_up(self) -> bool:
        return answers(f"http://127.0.0.1:{self.port}/console/api/setup")


class Gunicorn(Process):
    """A gateway with two workers, as deploy/route-api.service starts it."""

    def __init__(self, name: str, folder: Path, settings: dict[str, str]) -> None:
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}/v1"
        self.settings = {"PORT": str(self.port), "WORKERS": "2", "PROXIES": "1", **settings}
        super().__init__(name, [str(BIN / "gunicorn"), "wsgi:app"], folder, self.settings)

    def migrate(self) -> None:
        subprocess.run(
            [BIN / "flask", "--app", "wsgi", "db", "upgrade"], cwd=PROJECT_DIR, env=self._environment, check=True
        )

    def is_up(self) -> bool:
        return len(self.children) == 2 and answers(f"{self.base}/healthz")

    def connections_of(self, worker: int) -> int:
        """The number of connections of a worker."""
        own = {
            f"socket:[{row[9]}]"
            for row in (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
            if row[1].endswith(f":{self.port:04X}") and row[3] == "01"
        }
        return sum(opened in own for opened in opened_by(worker))


def opened_by(pid: int) -> Iterator[str]:
    """The files and sockets that a process has open."""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            yield os.readlink(descriptor)
        except FileNotFoundError:
            continue  # The process has just closed it.


class Nginx(Process):
    """nginx with deploy/nginx.conf. The values marked CHANGE are replaced, and so is the folder of the logs.

    :param changes: further texts of the file, and what replaces each
    """

    def __init__(self, folder: Path, gateway_ports: list[int], changes: dict[str, str] | None = None) -> None:
        self.folder = folder
        self._changes = changes or {}
        self.port, self.http_port = free_port(), free_port()
        self.base = f"https://127.0.0.1:{self.port}/v1"
        self.certificate = folder / "certificate.pem"
        self.access_log, self.error_log = folder / "route-api.log", folder / "route-api.error.log"
        executable, openssl = program("nginx"), program("openssl")
        self._make_certificate(openssl)
        (folder / "site.conf").write_text(self._site(gateway_ports))
        (folder / "nginx.conf").write_text(self._main())
        # If this process is killed, Linux sends SIGTERM to nginx.
        command = [program("setpriv"), "--pdeathsig", "TERM", executable, "-p", str(folder), "-c", "nginx.conf"]
        super().__init__("nginx", [*command, "-e", "error.log"], folder)
        self.http = self.client()

    def client(self) -> requests.Session:
        """An HTTP session that trusts the certificate and sends a service key."""
        http = session(SERVICE_KEY)
        http.verify = str(self.certificate)
        return http

    def _site(self, gateway_ports: list[int]) -> str:
        gateway = "server 127.0.0.1:{}".format
        options = " max_fails=0;"
        letsencrypt = "/etc/letsencrypt/live/api.example.com"
        changes = {
            gateway(8000) + options: "\n".join(gateway(port) + options for port in gateway_ports),
            "listen 80;": f"listen 127.0.0.1:{self.http_port};",
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "server_name api.example.com;": "server_name 127.0.0.1;",
            f"{letsencrypt}/fullchain.pem": str(self.certificate),
            f"{letsencrypt}/privkey.pem": str(self.folder / "key.pem"),
            "/var/log/nginx": str(self.folder),
            '# "https://app.example.com" $http_origin;': '"https://app.example.com" $http_origin;',
            **self._changes,
        }
        site = (PROJECT_DIR / "deploy" / "nginx.conf").read_text()
        for marked, value in changes.items():
            assert marked in site, f"deploy/nginx.conf has no {marked}"
            site = site.replace(marked, value)
        return site

    def _main(self) -> str:
        """The main configuration, like Debian's /etc/nginx/nginx.conf, but in a folder of the test."""
        temporary = "\n".join(
            f"{kind}_temp_path {self.folder}/temporary_{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;" if os.getuid() == 0 else ""
        return f"""
            {user} daemon off; worker_processes 2; pid nginx.pid;
            events {{ worker_connections 1024; }}
            http {{ {temporary} include site.conf; }}
        """

    def _make_certificate(self, openssl: str) -> None:
        command = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
        files = ["-keyout", self.folder / "key.pem", "-out", self.certificate]
        subprocess.run([openssl, *command.split(), *files], check=True, capture_output=True)

    def is_up(self) -> bool:
        return answers(f"http://127.0.0.1:{self.http_port}/")

    def written_to_disk(self) -> list[str]:
        """The log lines in which nginx reports that it wrote a body or an answer to a file."""
        return [line for line in self.error_log.read_text().splitlines() if "temporary file" in line]

    def logged(self, request_id: str) -> str:
        """The access log line of a request. nginx writes it when the request has ended."""
        lines: list[str] = []

        def found() -> bool:
            lines[:] = [line for line in self.access_log.read_text().splitlines() if f'"{request_id}"' in line]
            return bool(lines)

        wait_for(found)
        return lines[-1]


class Deployment:
    """nginx with one or several gateways behind it."""

    def __init__(self, nginx: Nginx, gateways: list[Gunicorn]) -> None:
        self.nginx = nginx
        self.gateways = gateways
        self.base = nginx.base
        self.http = nginx.http

    def at(self, gateway: Gunicorn, path: str, token: str = SERVICE_KEY, **body: Any) -> requests.Response:
        """Send a POST to one gateway directly, not through nginx."""
        return session(token).post(f"{gateway.base}/{path}", json=body, timeout=PATIENCE_S, stream=True)

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        return succeeded(self.http.post(f"{self.base}/{path}", json=body, timeout=PATIENCE_S))

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        return succeeded(self.http.get(f"{self.base}/{path}", params=params, timeout=PATIENCE_S))

    def ask(self, user_id: str, query: str, **given: Any) -> requests.Response:
        """Ask a question over a new connection. The answer is a stream."""
        body = {"user_id": user_id, "query": query, "stream": True, **given}
        return self.nginx.client().post(f"{self.base}/chat/chat", json=body, stream=True, timeout=PATIENCE_S)


def succeeded(answer: requests.Response) -> dict[str, Any]:
    assert answer.json()["code"] == 0, answer.text
    return dict(answer.json())


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One sandbox for all gateways of the module."""
    running = Sandbox(tmp_path_factory.mktemp("sandbox"))
    running.start()
    yield running
    running.stop()


def deploy(folder: Path, number: int, settings: dict[str, str]) -> Iterator[Deployment]:
    """Start gateways, then nginx in front of them. Stop them in the reverse order."""
    with ExitStack() as running:
        common = {
            "API_KEYS": SERVICE_KEY,
            "RATE_LIMIT": str(USER_LIMIT),
            "DOWNLOAD_ROOT": str(folder / "downloads"),
            "DEAD_LETTERS_DIR": str(folder / "dead_letters"),
            **settings,
        }
        gateways = [Gunicorn(f"gateway-{index}", folder, common) for index in range(number)]
        nginx = Nginx(folder, [gateway.port for gateway in gateways])
        gateways[0].migrate()
        for process in (*gateways, nginx):
            running.callback(process.stop)
            process.start()
        yield Deployment(nginx, gateways)


@pytest.fixture(scope="module")
def site(worker_class: str, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One gateway on SQLite behind nginx."""
    folder = tmp_path_factory.mktemp("site")
    settings = {"WORKER_CLASS": worker_class, "DATABASE_URL": f"sqlite:///{folder / 'gateway.sqlite3'}"}
    yield from deploy(folder, 1, {**sandbox.settings, **settings})


@pytest.fixture(scope="module")
def pair(worker_class: str, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Two gateways on one PostgreSQL and one Redis behind one nginx."""
    folder = tmp_path_factory.mktemp("pair")
    with databases.fresh_database("postgresql", f"route_api_deployment_{os.getpid()}") as database_url:
        settings = {
            "WORKER_CLASS": worker_class,
            "DATABASE_URL": database_url,
            "LIMITS_STORAGE": databases.empty_redis(REDIS),
            "SECRET_KEY": "signs-every-token",
        }
        yield from deploy(folder, 2, {**sandbox.settings, **settings})
