"""The settings with which gunicorn runs Route API: `gunicorn wsgi:app`.

Never add `--preload`: the application must be imported after a gevent worker has patched the standard library.
"""

from config import Config
from route_api.server.hooks import child_exit, on_exit, on_starting, post_worker_init

settings = Config.load()

bind = f"{settings.HOST}:{settings.PORT}"
worker_class = {
    "gevent": "route_api.server.gevent_worker.GatewayGeventWorker",
    "gthread": "route_api.server.thread_worker.GatewayThreadWorker",
}[settings.WORKER_CLASS]
logger_class = f"route_api.server.gunicorn_log.{'TextLog' if settings.LOG_FORMAT == 'text' else 'JsonLog'}"
workers = settings.WORKERS
threads = settings.THREADS if settings.WORKER_CLASS == "gthread" else 1
worker_connections = 2000
keepalive = 75
"""Seconds; nginx keeps an idle connection for 60, so that it never writes into one that gunicorn has just closed."""
timeout = 60
"""Seconds without a sign of life of the whole worker. A request may take longer: streams may run for hours."""
graceful_timeout = settings.STOP_GRACE
forwarded_allow_ips, secure_scheme_headers, forwarder_headers = "*", {}, ""
"""gunicorn itself believes no header about the caller's address or path. The setting PROXIES says how many proxies in
front are believed, and the application reads their headers. `*` spares gunicorn the comparison of addresses."""
max_requests = 0
control_socket_disable = True
"""Two gateways of one user would share the socket."""

__all__ = ["child_exit", "on_exit", "on_starting", "post_worker_init"]
