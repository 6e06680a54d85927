"""`python -m route_api.sandbox`: serve the sandbox on a loopback address."""

import argparse
import ipaddress
import os
import signal
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from .app import create_sandbox, start_indexing
from .embedding.choice import make_embedder
from .embedding.embedder import Embedder, EmbeddingError
from .version import DEFAULT_VERSION, VERSIONS

THREADS = 64
KEEPALIVE_S = 75
PARENT_INTERVAL_S = 0.5
"""Seconds between two checks of whether the parent lives."""


class SandboxServer(BaseApplication):
    """gunicorn with one worker, because there is one indexer, and many threads, because each stream occupies one."""

    def __init__(self, arguments: argparse.Namespace, embedder: Embedder | None) -> None:
        self._arguments = arguments
        self._embedder = embedder
        super().__init__()

    def load_config(self) -> None:
        """Set gunicorn's settings."""
        settings: dict[str, Any] = {
            "bind": f"{self._arguments.host}:{self._arguments.port}",
            "workers": 1,
            "worker_class": "gthread",
            "threads": THREADS,
            "keepalive": KEEPALIVE_S,
            "timeout": 0,
            "graceful_timeout": 1,
            "control_socket_disable": True,
            "proc_name": "route-api-sandbox",
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Make the application. gunicorn calls this in the worker, so that the indexer's thread runs there."""
        arguments = self._arguments
        app = create_sandbox(
            arguments.data_dir,
            version=arguments.dify_version,
            upload_limit=arguments.upload_limit_mb * 1024 * 1024,
            llm_url=arguments.llm_url,
            llm_model=arguments.llm_model,
            embedder=self._embedder,
        )
        start_indexing(app)
        return app


def _loopback_host(text: str) -> str:
    if text == "localhost":
        return "127.0.0.1"
    try:
        is_loopback = ipaddress.ip_address(text).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise argparse.ArgumentTypeError(f"{text!r} is no loopback address: the sandbox is for this machine alone")
    return f"[{text}]" if ":" in text else text


def _end_with(parent: int) -> None:
    """Send SIGTERM to this process when its parent has ended. A parent that is killed cannot do it."""
    while os.getppid() == parent:
        time.sleep(PARENT_INTERVAL_S)
    os.kill(os.getpid(), signal.SIGTERM)


def by_what(embedder: Embedder | None) -> str:
    """Return in words what a search compares."""
    return "by words alone" if embedder is None else f"by words, and by meaning with the model {embedder.name}"


def main() -> None:
    """Parse the command line and serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m route_api.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", type=_loopback_host, help="a loopback address")
    parser.add_argument("--port", default=8001, type=int)
    parser.add_argument("--data-dir", default=Path("var/sandbox"), type=Path, help="where everything is kept")
    parser.add_argument("--dify-version", default=DEFAULT_VERSION, choices=VERSIONS, help="the version to follow")
    parser.add_argument("--upload-limit-mb", default=15, type=int, help="largest file; 15 as in Dify")
    parser.add_argument(
        "--llm-url",
        default=os.environ.get("SANDBOX_LLM_URL", ""),
        help="base URL of an OpenAI-compatible server that shall answer chats (SANDBOX_LLM_URL)",
    )
    parser.add_argument(
        "--llm-model", default=os.environ.get("SANDBOX_LLM_MODEL", ""), help="its model (SANDBOX_LLM_MODEL)"
    )
    parser.add_argument(
        "--embedding-url",
        default=os.environ.get("SANDBOX_EMBEDDING_URL", ""),
        help="base URL of an OpenAI-compatible server that shall make vectors (SANDBOX_EMBEDDING_URL)",
    )
    parser.add_argument(
        "--embedding-model",
        default=os.environ.get("SANDBOX_EMBEDDING_MODEL", ""),
        help="its model (SANDBOX_EMBEDDING_MODEL; the key of the server is read from SANDBOX_EMBEDDING_KEY only)",
    )
    parser.add_argument("--parent-pid", type=int, help="end when the process with this id is not the parent any more")
    arguments = parser.parse_args()
    if arguments.parent_pid:
        Thread(target=_end_with, args=(arguments.parent_pid,), daemon=True).start()
    key = os.environ.get("SANDBOX_EMBEDDING_KEY", "")
    try:
        embedder = make_embedder(arguments.embedding_url, arguments.embedding_model, key)
    except EmbeddingError as error:
        parser.error(str(error))
    print(f"The sandbox searches {by_what(embedder)}.", file=sys.stderr)
    SandboxServer(arguments, embedder).run()


if __name__ == "__main__":
    main()
