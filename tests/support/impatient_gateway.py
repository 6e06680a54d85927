"""The gateway with settings that the environment may not give it, such as very short time limits.

gunicorn loads `app` from here; the settings come as JSON in the variable TEST_SETTINGS.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .patience import PATIENCE_S
from .running_gateway import PROJECT_DIR, answers, free_port, wait_for

SETTINGS = "TEST_SETTINGS"

if SETTINGS in os.environ:  # gunicorn imports this module.
    from config import Config
    from route_api.access import limits
    from route_api.app import create_app
    from route_api.storage import database

    settings = json.loads(os.environ[SETTINGS])
    database.RESULT_TIMEOUT_S = settings.pop("RESULT_TIMEOUT_S", database.RESULT_TIMEOUT_S)
    limits.REDIS_OPTIONS["socket_timeout"] = settings.pop("REDIS_TIMEOUT_S", limits.REDIS_TIMEOUT_S)
    app = create_app(Config.load(**settings))


@contextmanager
def impatient_gateway(log: Path, *, worker_class: str = "gevent", workers: int = 1, **settings: Any) -> Iterator[str]:
    """A running gunicorn, with the settings of gunicorn.conf.py and an application with these settings.

    :param settings: for `Config.load`, which does not check them; DATABASE_URL must have its tables. RESULT_TIMEOUT_S
        is the constant of storage/database.py, REDIS_TIMEOUT_S that of access/limits.py.
    :returns: the gateway's address
    """
    port = free_port()
    environment = {
        **os.environ,
        "PORT": str(port),
        "WORKERS": str(workers),
        "WORKER_CLASS": worker_class,
        "AUTH": "open",
        "DIFY_BASE_URL": settings["DIFY_BASE_URL"],
        "DIFY_DATASET_API_KEY": "dataset-secret",
        "DIFY_APP_API_KEY": "app-secret",
        SETTINGS: json.dumps(settings),
    }
    with log.open("ab") as output:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "gunicorn", "--config", "gunicorn.conf.py", f"{__name__}:app"],
            cwd=PROJECT_DIR,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"

    def is_up() -> bool:
        if process.poll() is not None:
            raise AssertionError(f"the gateway did not start:\n{log.read_text()}")
        return answers(f"{address}/healthz")

    try:
        wait_for(is_up)
        yield address
    finally:
        process.send_signal(signal.SIGQUIT)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
