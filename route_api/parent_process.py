"""Ends this process when the process that started it has ended. A process that is killed cannot end its children."""

import os
import signal
import time
from threading import Thread

PARENT_VARIABLE = "ROUTE_API_PARENT_PID"
"""The environment variable with the id of the parent. `make serve`, `make test` and `make soak` set it. Without it a
process goes on after its parent, as `nohup` and `setsid` want it."""

INTERVAL_S = 0.5


def end_with_parent() -> None:
    """Send SIGTERM to this process when its parent is not, or no longer, the process of PARENT_VARIABLE."""
    parent = os.environ.get(PARENT_VARIABLE)
    if parent:
        Thread(target=_wait_for_end_of, args=(int(parent),), daemon=True).start()


def _wait_for_end_of(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(INTERVAL_S)
    os.kill(os.getpid(), signal.SIGTERM)
