"""The settings with which gunicorn runs Route API: `gunicorn wsgi:app`.

Never add `--preload`: the application must be imported after a gevent worker has patched the standard library.
"""

from route_api.server.hooks import address_to_bind, child_exit, load_settings, on_starting, post_fork, post_worker_init
from route_api.server.request_reading import LONGEST_REQUEST_LINE

settings = load_settings()

bind = address_to_bind(settings)
worker_class = {
    "gevent": "route_api.server.gevent_worker.GatewayGeventWorker",
    "gthread": "route_api.server.thread_worker.GatewayThreadWorker",
}[settings.WORKER_CLASS]
logger_class = f"route_api.server.gunicorn_log.{'TextLog' if settings.LOG_FORMAT == 'text' else 'JsonLog'}"
workers = settings.WORKERS
threads = settings.THREADS if settings.WORKER_CLASS == "gthread" else 1
worker_connections = 2000
keepalive = 75
"""Seconds that an idle connection stays open. nginx closes its idle connections after 1 second with deploy/nginx.conf,
and after 60 seconds by default, so it never sends a request on a connection that gunicorn has just closed."""
timeout = 60
"""Seconds after which the master kills a worker that has not called `notify`. A request may take longer: a worker calls
`notify` also while its requests run."""
graceful_timeout = settings.STOP_GRACE
forwarded_allow_ips, secure_scheme_headers, forwarder_headers = "*", {}, ""
"""gunicorn evaluates no forwarding header, because the second and the third setting are empty. So `*` is harmless, and
gunicorn need not compare addresses. The application reads these headers itself, as the setting PROXIES says."""
limit_request_line = LONGEST_REQUEST_LINE
max_requests = 0
control_socket_disable = True
"""gunicorn's control socket has one path for each Unix user, so two gateways of the same user would share it."""

__all__ = ["child_exit", "on_starting", "post_fork", "post_worker_init"]
