"""`python -m route_api`: serve, with everything that is needed; what `make serve` runs.

Brings the database up to date and starts gunicorn, and beside it the sandbox where no Dify is configured. The gateway
itself never knows: it is given the sandbox's address and keys as it would be given a Dify's.
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

from config import PROJECT_DIR, Config, ConfigError

from .prompts import load_templates
from .sandbox.gateway_settings import prepare_gateway_settings

START_S = 30
"""Seconds within which the sandbox must listen."""

STOP_MARGIN_S = 5
"""Seconds that gunicorn may take beyond STOP_GRACE, after which it kills its workers itself."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""SIGINT too: a shell starts what it puts into the background deaf to it."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Where nobody else reaches the sandbox's gateway, so that it need not ask who calls."""

BIN = Path(sys.executable).parent


def main() -> int:
    """Serve until a signal or until one of the processes ends.

    :returns: the exit status: 0 after a signal, gunicorn's own if it ended by itself
    """
    try:
        config = Config.load()
        load_templates(config.PROMPTS_FILE)
    except ConfigError as error:
        print(f"Route API cannot start:\n{error}", file=sys.stderr)
        return 2
    for name in STOP_SIGNALS:
        signal.signal(name, _interrupt)
    environment = dict(os.environ)
    if not config.LOG_FORMAT and sys.stderr.isatty():
        environment["LOG_FORMAT"] = "text"
    stop = partial(end_process, within_s=config.STOP_GRACE + STOP_MARGIN_S)
    with ExitStack() as at_the_end:
        processes: list[subprocess.Popen[bytes]] = []
        try:
            if not config.DIFY_BASE_URL:
                sandbox, settings = start_sandbox(config)
                at_the_end.callback(stop, sandbox)
                processes.append(sandbox)
                environment |= settings
                environment["SECRET_KEY"] = config.SECRET_KEY or own_secret(config.SANDBOX_DATA_DIR)
                if not config.AUTH and config.HOST in LOOPBACK:
                    environment["AUTH"] = "open"
            migrated = subprocess.run(
                [BIN / "flask", "--app", "wsgi", "db", "upgrade"], cwd=PROJECT_DIR, env=environment
            )
            if migrated.returncode:
                return migrated.returncode
            gateway = subprocess.Popen([BIN / "gunicorn", "wsgi:app"], cwd=PROJECT_DIR, env=environment)
            at_the_end.callback(stop, gateway)
            processes.append(gateway)
            while all(process.poll() is None for process in processes):
                time.sleep(0.2)
        except KeyboardInterrupt:
            return 0
        return next(process.returncode for process in processes if process.poll() is not None)


def start_sandbox(config: Config) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    """The sandbox in a process of its own, listening, and the settings with which a gateway finds it."""
    data_dir = config.SANDBOX_DATA_DIR
    llm = {"llm_url": config.SANDBOX_LLM_URL, "llm_model": config.SANDBOX_LLM_MODEL}
    keys = prepare_gateway_settings(data_dir, **llm)
    port = config.SANDBOX_PORT or free_port()
    command = [sys.executable, "-m", "route_api.sandbox", "--port", str(port), "--data-dir", str(data_dir)]
    llm_arguments = ["--llm-url", llm["llm_url"], "--llm-model", llm["llm_model"]]
    process = subprocess.Popen([*command, *llm_arguments], cwd=PROJECT_DIR)
    wait_until_listening(process, port)
    address = f"http://127.0.0.1:{port}"
    print(f"No DIFY_BASE_URL is set: the embedded sandbox stands in for Dify at {address}.", file=sys.stderr)
    return process, {"DIFY_BASE_URL": address, **keys}


def own_secret(data_dir: Path) -> str:
    """What signs the tokens of users who try the sandbox; the same again after a restart."""
    path = data_dir / "secret_key"
    path.touch(mode=0o600)
    if not path.read_text():  # Not there before, or left so by a start that was killed.
        path.write_text(secrets.token_urlsafe(32))
    return path.read_text()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    """Return when the process takes connections.

    :raises SystemExit: it ended, or did not listen in time
    """
    for _ in range(START_S * 10):
        if process.poll() is not None:
            raise SystemExit("The sandbox ended at its start; its own lines above say why.")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    end_process(process)
    raise SystemExit(f"The sandbox does not listen after {START_S} seconds.")


def end_process(process: subprocess.Popen[bytes], *, within_s: float = STOP_MARGIN_S) -> None:
    """End a process politely, and if that takes too long, at once."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    """What a signal does: ends us in the orderly way, which another one does not disturb."""
    for name in STOP_SIGNALS:
        signal.signal(name, signal.SIG_IGN)
    raise KeyboardInterrupt
