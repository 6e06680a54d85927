"""`python -m route_api`, which `make serve` runs: migrate the database and start gunicorn.

If no Dify is configured, the sandbox is started, too. The gateway receives the sandbox's address and keys as it would
receive a Dify's: no code of the gateway asks whether it runs on the sandbox.

If this process is killed, the gateway and the sandbox notice it and end too (`parent_process.py`).
"""

import errno
import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from functools import partial
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import NoReturn
from urllib.parse import urlsplit

from config import PROJECT_DIR, Config, ConfigError

from .parent_process import PARENT_VARIABLE, end_with_parent
from .prompts.templates import load_templates
from .sandbox.gateway_settings import prepare_gateway_settings

START_S = 60
"""The sandbox must accept connections after this number of seconds."""

STOP_MARGIN_S = 5
"""After STOP_GRACE seconds gunicorn kills its workers itself. It may take this many more seconds to end."""

FREE_PORT_S = 5
"""Seconds to wait until the port is free: a gateway that has just been killed still holds it for a moment."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""A shell starts a background process with SIGINT ignored, so that SIGINT, too, needs a handler of ours."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""On these hosts only this machine reaches the gateway. With the sandbox it then serves without authentication."""


def main() -> int:
    """Serve until a signal arrives, or one of the processes ends.

    :returns: the exit status: 0 after a signal, 1 if the port is in use, 2 for wrong settings, else the status of the
        process that ended
    """
    try:
        config = Config.load()
        load_templates(config.PROMPTS_FILE)
    except ConfigError as error:
        print(f"Route API cannot start:\n{error}", file=sys.stderr)
        return 2
    for name in STOP_SIGNALS:
        signal.signal(name, _interrupt)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # nohup ignores it.
        signal.signal(signal.SIGHUP, _interrupt)
    end_with_parent()
    # Flask would read .env itself, and fail without a message of ours if it cannot. `Config.load` reads it too.
    environment = {**os.environ, PARENT_VARIABLE: str(os.getpid()), "FLASK_SKIP_DOTENV": "1"}
    if not config.LOG_FORMAT and sys.stderr.isatty():
        environment["LOG_FORMAT"] = "text"
    stop = partial(end_process, timeout_s=config.STOP_GRACE + STOP_MARGIN_S)
    with ExitStack() as at_the_end:
        processes: list[subprocess.Popen[bytes]] = []
        try:
            if problem := wait_for_free_port(config):
                print(f"Route API cannot start:\n{problem}", file=sys.stderr)
                return 1
            if not config.DIFY_BASE_URL:
                sandbox, settings = start_sandbox(config)
                at_the_end.callback(stop, sandbox)
                processes.append(sandbox)
                environment |= settings
                environment["SECRET_KEY"] = config.SECRET_KEY or own_secret(config.SANDBOX_DATA_DIR)
                if not config.AUTH and config.HOST.lower() in LOOPBACK:
                    environment["AUTH"] = "open"
            # The sandbox starts meanwhile.
            migrated = subprocess.run(
                [sys.executable, "-m", "flask", "--app", "wsgi", "db", "upgrade"], cwd=PROJECT_DIR, env=environment
            )
            if migrated.returncode:
                return migrated.returncode
            if processes:
                wait_until_listening(processes[0], environment["DIFY_BASE_URL"])
            gateway = subprocess.Popen([sys.executable, "-m", "gunicorn", "wsgi:app"], cwd=PROJECT_DIR, env=environment)
            at_the_end.callback(stop, gateway)
            processes.append(gateway)
            return wait_for_end(processes, config)
        except KeyboardInterrupt:
            return 0


def wait_for_end(processes: list[subprocess.Popen[bytes]], config: Config) -> int:
    """Wait until one of the processes ends. As soon as the gateway answers, say which address to open.

    :returns: the exit status of the process that ended
    """
    is_told = False
    while all(process.poll() is None for process in processes):
        if not is_told and answers(config):
            print(f"Open {page_address(config)} in a browser.", file=sys.stderr, flush=True)
            is_told = True
        time.sleep(0.2)
    return next(process.returncode for process in processes if process.returncode is not None)


def start_sandbox(config: Config) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    """Start the sandbox in a process of its own.

    :returns: the process, which does not accept connections yet; the settings with which a gateway uses the sandbox
    """
    data_dir = config.SANDBOX_DATA_DIR
    llm = {"llm_url": config.SANDBOX_LLM_URL, "llm_model": config.SANDBOX_LLM_MODEL}
    keys = prepare_gateway_settings(data_dir, **llm)
    port = config.SANDBOX_PORT or free_port()
    command = [sys.executable, "-m", "route_api.sandbox", "--port", str(port), "--data-dir", str(data_dir)]
    version = ["--dify-version", config.SANDBOX_VERSION]
    llm_arguments = ["--llm-url", llm["llm_url"], "--llm-model", llm["llm_model"]]
    embedding = ["--embedding-url", config.SANDBOX_EMBEDDING_URL, "--embedding-model", config.SANDBOX_EMBEDDING_MODEL]
    parent = ["--parent-pid", str(os.getpid())]
    # Other users of this machine can read arguments, and cannot read the environment.
    environment = {**os.environ, "SANDBOX_EMBEDDING_KEY": config.SANDBOX_EMBEDDING_KEY}
    arguments = [*command, *version, *llm_arguments, *embedding, *parent]
    process = subprocess.Popen(arguments, cwd=PROJECT_DIR, env=environment)
    address = f"http://127.0.0.1:{port}"
    print(f"No DIFY_BASE_URL is set: the embedded sandbox stands in for Dify at {address}.", file=sys.stderr)
    return process, {"DIFY_BASE_URL": address, "DIFY_NAME": "Sandbox", **keys}


def own_secret(data_dir: Path) -> str:
    """Return the SECRET_KEY for a gateway on the sandbox. It is stored in a file, so that logins outlive a restart."""
    path = data_dir / "secret_key"
    path.touch(mode=0o600)
    if not path.read_text():  # The file is new, or an earlier start was killed before it wrote the key.
        path.write_text(secrets.token_urlsafe(32))
    return path.read_text()


def wait_for_free_port(config: Config) -> str:
    """Wait until the gateway can listen.

    :returns: why it cannot, after `FREE_PORT_S` seconds; empty if it can
    """
    host, port = config.HOST, config.PORT
    for _ in range(FREE_PORT_S * 10):
        try:
            address = config.address_to_listen_on()
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            socket.create_server((address, port), family=family, dualstack_ipv6=address == "::").close()
            return ""
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return f"It cannot listen on {host}, port {port}: {error.strerror}. Set HOST and PORT."
        time.sleep(0.1)
    return f"Port {port} of {host} is in use, perhaps by another `make serve`. Stop it, or set another PORT."


def answers(config: Config) -> bool:
    """Whether the gateway answers requests."""
    try:
        with closing(http.client.HTTPConnection(own_address(config), config.PORT, timeout=2)) as connection:
            connection.request("GET", "/healthz", headers={"Connection": "close"})
            return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False


def own_address(config: Config) -> str:
    """The IP address at which this machine reaches the gateway."""
    address = config.address_to_listen_on()
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)


def page_address(config: Config) -> str:
    """Where a person begins: the console page; without it, the API reference."""
    host = config.HOST if config.HOST in LOOPBACK else own_address(config)
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{config.PORT}/{'docs' if config.CONSOLE == 'off' else ''}"


def free_port() -> int:
    """Return a port of 127.0.0.1 on which no process listens now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def wait_until_listening(process: subprocess.Popen[bytes], address: str) -> None:
    """Wait until the sandbox accepts connections at its address.

    :raises SystemExit: if it ends, or does not accept connections within `START_S` seconds
    """
    host_and_port = ("127.0.0.1", urlsplit(address).port)
    for _ in range(START_S * 10):
        if process.poll() is not None:
            raise SystemExit("The sandbox ended at its start; its own lines above say why.")
        try:
            socket.create_connection(host_and_port, timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    end_process(process)
    raise SystemExit(f"The sandbox does not listen after {START_S} seconds.")


def end_process(process: subprocess.Popen[bytes], *, timeout_s: float = STOP_MARGIN_S) -> None:
    """End a process with SIGTERM, and with SIGKILL if it still runs after `timeout_s` seconds."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Handle a stop signal: let `main` end the processes. Further signals are ignored meanwhile."""
    for name in STOP_SIGNALS:
        signal.signal(name, signal.SIG_IGN)
    raise KeyboardInterrupt
