#!/usr/bin/env python3
"""Measure the gateway's own part of a request: `GET /prompt/list`, called as WSGI, without gunicorn, network or Dify.

    .venv/bin/python benchmarks/request.py

The script prints the CPU time of one request: without limits, with limits that are counted in memory, and with limits
that are counted in the Redis at REDIS_URL (by default redis://127.0.0.1:6379/15).
"""

import argparse
import io
import os
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
CASES = {"no limits": ("0", "memory://"), "limits in memory": ("100000000", "memory://")}
REPEATS, BEST_OF = 3000, 5


def measure() -> float:
    """Measure one request.

    :returns: microseconds of CPU, the lowest of several runs
    """
    from gevent import monkey

    monkey.patch_all()  # gunicorn's gevent worker does this, too
    sys.path.insert(0, str(PROJECT))
    from wsgi import app

    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/v1/prompt/list",
        "QUERY_STRING": "",
        "SCRIPT_NAME": "",
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
    }

    def request() -> bytes:
        answer = app(dict(environ), lambda *_: None)
        body = b"".join(answer)
        answer.close()
        return body

    assert b'"code":0' in request()
    best = float("inf")
    for _ in range(BEST_OF):
        began = time.process_time()
        for _ in range(REPEATS):
            request()
        best = min(best, (time.process_time() - began) / REPEATS * 1e6)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--one", action="store_true", help="use the settings of the environment, and print only the number"
    )
    if parser.parse_args().one:
        print(f"{measure():.0f}", flush=True)
        os._exit(0)  # A normal exit would wait for the timer thread of `limits`.
    address = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/15")
    for name, (limit, storage) in {**CASES, "limits in Redis": ("100000000", address)}.items():
        settings = {
            "DIFY_BASE_URL": "http://127.0.0.1:9",
            "DIFY_DATASET_API_KEY": "dataset-benchmark",
            "DIFY_APP_API_KEY": "app-benchmark",
            "DATABASE_URL": "sqlite://",
            "AUTH": "open",
            "RATE_LIMIT": limit,
            "RATE_LIMIT_SERVICE": limit,
            "LIMITS_STORAGE": storage,
        }
        command = [sys.executable, __file__, "--one"]
        done = subprocess.run(
            command,
            env={**os.environ, **settings},
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        print(f"{name}: {done.stdout.strip()} us of CPU")


if __name__ == "__main__":
    main()
