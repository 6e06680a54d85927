"""gunicorn's server hooks: what happens when the master starts, when a worker is ready and dies, and at the end."""

import gc
import os
import shutil
import sys
import tempfile
from typing import Any

from config import Config

METRICS_DIR = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus_client finds the folder in which the workers count."""


def on_starting(server: Any) -> None:
    """Refuse to start without a Dify, or if nobody could call: every request would fail. Make the folder in which the
    workers count."""
    if missing := Config.load().missing_to_serve():
        for sentence in missing:
            server.log.error(sentence)
        sys.exit(2)
    os.environ[METRICS_DIR] = tempfile.mkdtemp(prefix="route-api-metrics-")


def post_worker_init(worker: Any) -> None:
    """Take the application's own objects out of garbage collection.

    There are 150,000 of them, and none of them becomes garbage. To look through them would hold up all requests of a
    gevent worker for a tenth of a second, every few thousand requests.
    """
    gc.collect()
    gc.freeze()


def child_exit(server: Any, worker: Any) -> None:
    """Remove a dead worker's gauges, such as its open streams, from the metrics. Its counters stay."""
    # Imported here: prometheus_client reads METRICS_DIR when it is imported, and `on_starting` sets it after this file
    # is read.
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)


def on_exit(server: Any) -> None:
    """Remove the folder in which the workers counted."""
    shutil.rmtree(os.environ[METRICS_DIR], ignore_errors=True)
