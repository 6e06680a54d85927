"""How gunicorn runs Route API: `gunicorn wsgi:app`.

Measured: sync workers serve 39 requests a second once Dify takes 50 ms, gthread stalls beyond 60 open streams, gevent
holds 1,000. Never add `--preload`: it imports sockets before gevent patches them.
"""

import sys
from typing import Any

from config import Config

settings = Config.load()

bind = f"127.0.0.1:{settings.PORT}"
worker_class = "gevent"
workers = settings.WORKERS
worker_connections = 2000
keepalive = 75
"""Seconds; longer than nginx keeps an idle connection (60), so that nginx never writes into one that we just closed."""
timeout = 60
"""Seconds without a sign of life of the whole worker, not of a request: streams may run for hours."""
graceful_timeout = 30
max_requests = 0
control_socket_disable = True
"""Two gateways of one user would share the one socket."""


def on_starting(server: Any) -> None:
    """Refuse to start without a Dify: every request would fail."""
    if not settings.DIFY_BASE_URL:
        server.log.error(
            "DIFY_BASE_URL is not set. Set it and Dify's keys, or start with `make serve` for the sandbox."
        )
        sys.exit(2)
