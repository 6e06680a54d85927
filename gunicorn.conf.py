"""How gunicorn runs Route API: `gunicorn wsgi:app`.

Measured with the load generator of `benchmarks/`: sync workers serve 39 requests a second once Dify takes 50 ms, gthread
stalls beyond 60 open streams, gevent holds 1,000. Never add `--preload`: it imports sockets before gevent patches them.
"""

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
