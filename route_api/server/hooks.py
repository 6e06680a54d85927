"""gunicorn's server hooks: for the start and the end of the master, and for the start and the death of a worker."""

import gc
import os
import shutil
import sys
import tempfile
from typing import Any

from config import Config

METRICS_DIR_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable with the folder in which prometheus_client keeps the workers' metrics."""


def on_starting(server: Any) -> None:
    """Exit if a setting is missing that every request needs. Create the folder for the workers' metrics."""
    if missing := Config.load().missing_to_serve():
        for sentence in missing:
            server.log.error(sentence)
        sys.exit(2)
    os.environ[METRICS_DIR_VARIABLE] = tempfile.mkdtemp(prefix="route-api-metrics-")


def post_worker_init(worker: Any) -> None:
    """Put gunicorn's own answers into the envelope, and take the application's objects out of garbage collection.

    There are 150,000 of these objects, and none of them becomes garbage. Every few thousand requests, the collector
    would examine them all and so block all requests of a gevent worker for a tenth of a second.
    """
    # Imported here: gunicorn's master imports this file before a gevent worker has patched the standard library.
    from .protocol_errors import patch_write_error

    patch_write_error()
    gc.collect()
    gc.freeze()


def child_exit(server: Any, worker: Any) -> None:
    """Remove a dead worker's gauges, such as its open streams, from the metrics. Its counters stay."""
    # Imported here, because prometheus_client reads the environment variable when it is imported, and `on_starting`
    # sets the variable after this file is imported.
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)


def on_exit(server: Any) -> None:
    """Remove the folder with the workers' metrics."""
    shutil.rmtree(os.environ[METRICS_DIR_VARIABLE], ignore_errors=True)
