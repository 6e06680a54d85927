#!/usr/bin/env python3
"""What a request costs: CPU of all the gateway's processes, delays and memory, against a fake Dify that is nearly free.

    .venv/bin/pip install uvloop
    .venv/bin/python benchmarks/cost.py --database postgresql://postgres@127.0.0.1/bench

Runs for about a minute and prints one line for each figure. Nothing else should run meanwhile: a busy neighbour adds a
third.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent


@contextmanager
def running(command, **options):
    """A process for as long as the block lasts."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(40)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_for(url):
    for _ in range(150):
        try:
            return urllib.request.urlopen(url, timeout=1).read()
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{url} does not answer")


def load(mode, *arguments):
    """One run of the load generator; its JSON."""
    command = [sys.executable, str(HERE / "load.py"), mode, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--database", required=True, help="a DATABASE_URL; its tables are made")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3, help="the lowest CPU figure of so many runs counts")
    options = parser.parse_args()
    upstream, port = free_port(), free_port()
    environment = {
        **os.environ,
        "DIFY_BASE_URL": f"http://127.0.0.1:{upstream}",
        "DIFY_DATASET_API_KEY": "dataset-benchmark",
        "DIFY_APP_API_KEY": "app-benchmark",
        "DATABASE_URL": options.database,
        "AUTH": "open",
        "RATE_LIMIT": "0",
        "TURNS_PER_USER": "0",
        "PORT": str(port),
    }
    subprocess.run([BIN / "flask", "--app", "wsgi", "db", "upgrade"], cwd=HERE.parent, env=environment, check=True)
    base = f"http://127.0.0.1:{port}"
    with running([sys.executable, HERE / "fake_dify.py", "--port", str(upstream)]):
        with running([BIN / "gunicorn", "wsgi:app"], cwd=HERE.parent, env=environment) as gateway:
            wait_for(f"{base}/healthz")
            server = ("--base", base, "--pid", f"gateway={gateway.pid}")
            for title, preset in (("kb/list, page of 20", "gateway-list"), ("blocking chat turn", "gateway")):
                runs = [load("json", "--preset", preset, "-c", 8, "-n", 5000, *server) for _ in range(options.runs)]
                best = min(run["server_cpu_us_per_request"] for run in runs)
                rates = ", ".join(str(round(run["rps"])) for run in runs)
                print(f"{title}: {best} us of CPU, {rates} requests a second, errors {sum(r['errors'] for r in runs)}")
        with running([BIN / "gunicorn", "wsgi:app"], cwd=HERE.parent, env=environment) as gateway:
            wait_for(f"{base}/healthz")
            server = ("--base", base, "--pid", f"gateway={gateway.pid}")
            prompt = ("--prompt", "bench n=400 d=50")
            run = load("sse", "--preset", "gateway", "-s", options.streams, "--ramp", 5, *prompt, *server)
            print(
                f"{options.streams} streams of 400 tokens, 20 a second: {run['server_cpu_us_per_token']} us of CPU,"
                f" delay p50 {run['token_delay_ms']['p50']} ms, p99 {run['token_delay_ms']['p99']} ms,"
                f" {run['pss_kib_per_stream']} KiB a stream, errors {run['errors']}"
            )


if __name__ == "__main__":
    main()
