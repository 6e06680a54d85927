"""gunicorn's server hooks: for the start of the master, and for the start and the death of a worker."""

import atexit
import fcntl
import gc
import os
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from config import Config, ConfigError

from ..parent_process import end_with_parent

METRICS_DIR_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable with the folder in which prometheus_client keeps the workers' metrics."""

METRICS_DIR_PREFIX = "route-api-metrics-"

WRONG_SETTINGS = 2
"""The exit status. deploy/route-api.service does not restart the service after it."""


def load_settings() -> Config:
    """Load the settings; if one is wrong, print what is wrong and exit."""
    try:
        return Config.load()
    except ConfigError as error:
        print(f"Route API cannot start:\n{error}", file=sys.stderr)
        sys.exit(WRONG_SETTINGS)


def address_to_bind(config: Config) -> str:
    """The address to listen on, in gunicorn's form; if HOST has no IP address, print this and exit.

    gunicorn would take a part of an IPv6 address for the port, and would look only for IPv4 addresses of a name.
    """
    try:
        address = config.address_to_listen_on()
    except OSError as error:
        print(f"Route API cannot start:\nHOST is wrong: {config.HOST}: {error.strerror}.", file=sys.stderr)
        sys.exit(WRONG_SETTINGS)
    return f"[{address}]:{config.PORT}" if ":" in address else f"{address}:{config.PORT}"


def on_starting(server: Any) -> None:
    """Exit if Route API cannot serve with these settings. Create the folder for the workers' metrics."""
    if problems := _problems():
        print("Route API cannot start:", *problems, sep="\n", file=sys.stderr)
        sys.exit(WRONG_SETTINGS)
    _check_before_reload(server)
    _remove_old_metrics_dirs()
    os.environ[METRICS_DIR_VARIABLE] = _new_metrics_dir()
    atexit.register(_remove_metrics_dir, os.getpid())
    end_with_parent()


def _problems() -> list[str]:
    """What is wrong or missing in the settings and in the prompt templates now.

    :returns: one sentence for each problem
    """
    # Imported here, so that only a start loads Jinja, and not each `gunicorn --help`.
    from ..prompts.templates import load_templates

    try:
        config = Config.load()
        load_templates(config.PROMPTS_FILE)
    except ConfigError as error:
        return str(error).split("\n")
    return config.missing_to_serve()


def _check_before_reload(server: Any) -> None:
    """Let the server ignore SIGHUP while a setting is wrong.

    gunicorn would exit, or end because no new worker starts; either way all running answers would be lost.
    """
    reload = server.reload

    def reload_if_settings_are_right() -> None:
        if problems := _problems():
            for problem in problems:
                server.log.error("Not reloaded, the old settings stay in force: %s", problem)
        else:
            reload()

    server.reload = reload_if_settings_are_right


def _new_metrics_dir() -> str:
    """Create the folder for the metrics, and hold a lock on it as long as the master or a worker lives.

    The folder gets its final name after it is locked, so that no other gateway takes it for one that is left over.
    """
    made = Path(tempfile.mkdtemp(prefix=f".{METRICS_DIR_PREFIX}"))
    fcntl.flock(os.open(made, os.O_RDONLY), fcntl.LOCK_EX)  # The descriptor stays open, also in the workers.
    return str(made.rename(made.with_name(made.name.removeprefix("."))))


def _remove_metrics_dir(master: int) -> None:
    """Remove the folder for the metrics. gunicorn's hook `on_exit` is not called if the port was in use.

    :param master: the id of the process that may do it; its workers inherit this handler
    """
    if os.getpid() == master:
        shutil.rmtree(os.environ[METRICS_DIR_VARIABLE], ignore_errors=True)


def _remove_old_metrics_dirs() -> None:
    """Remove the folders of gateways that were killed. Nobody holds their locks any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{METRICS_DIR_PREFIX}*"):
        with suppress(OSError):  # Another gateway or another user has it, or another start is removing it.
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(descriptor)


def post_fork(server: Any, worker: Any) -> None:
    """Let a signal end a worker that is starting. It has the master's handlers, which would only note the signal.

    The master would then wait for this worker until `graceful_timeout` is over, and kill it.
    """
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(name, signal.SIG_DFL)


def post_worker_init(worker: Any) -> None:
    """Put gunicorn's own answers into the envelope, and take the application's objects out of garbage collection.

    There are 150,000 of these objects, and none of them becomes garbage. Every few thousand requests, the collector
    would examine them all and so block all requests of a gevent worker for a tenth of a second.
    """
    # Imported here: gunicorn's master imports this file before a gevent worker has patched the standard library.
    from .protocol_errors import patch_write_error

    patch_write_error(worker.wsgi.config["CORS_ORIGINS"], worker.wsgi.config["DEFAULT_LANGUAGE"])
    gc.collect()
    gc.freeze()


def child_exit(server: Any, worker: Any) -> None:
    """Remove a dead worker's gauges, such as its open streams, from the metrics. Its counters stay."""
    # Imported here, because prometheus_client reads the environment variable when it is imported, and `on_starting`
    # sets the variable after this file is imported.
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)
