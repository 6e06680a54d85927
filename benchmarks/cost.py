#!/usr/bin/env python3
"""Measure what a request costs: CPU of all gateway processes, delays and memory, with a fake Dify that costs little.

    .venv/bin/pip install uvloop
    .venv/bin/python benchmarks/cost.py --database postgresql://postgres@127.0.0.1/bench

The script runs for about two minutes and prints one line for each figure. Nothing else should run meanwhile: another
busy process adds a third to the figures.

The speed of machines differs, and the speed of one machine changes from day to day. Therefore the script also sends the
same load through a bare nginx, if nginx is installed. If nginx costs 1.5 times as much as on another machine, the
figures of the gateway may be 1.5 times as high too.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent

PROXY = """
daemon off; pid nginx.pid; error_log stderr; worker_processes 2;
events {{ worker_connections 4096; }}
http {{
    access_log off; client_body_temp_path body; proxy_temp_path proxy;
    upstream dify {{ server 127.0.0.1:{upstream}; keepalive 1000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://dify; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
        }}
    }}
}}
"""
"""The configuration of an nginx that only forwards requests."""

JSON_LOADS = (("kb/list, page of 20", "gateway-list", "datasets"), ("blocking chat turn", "gateway", "dify"))
"""Title of a measurement, and the load generator's presets: through the gateway, and directly to the fake Dify."""


@contextmanager
def running(command, **options):
    """Run a process until the end of the `with` block."""
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


def settings(upstream, port, database, **others):
    """Make the environment of a gateway that has no limits and uses the fake Dify."""
    return {
        **os.environ,
        "DIFY_BASE_URL": f"http://127.0.0.1:{upstream}",
        "DIFY_DATASET_API_KEY": "dataset-benchmark",
        "DIFY_APP_API_KEY": "app-benchmark",
        "DATABASE_URL": database,
        "AUTH": "open",
        "RATE_LIMIT": "0",
        "TURNS_PER_USER": "0",
        "PORT": str(port),
        **others,
    }


def load(mode, *arguments):
    """Run the load generator once.

    :returns: its JSON result
    """
    command = [sys.executable, str(HERE / "load.py"), mode, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def measure_json(server, presets, runs):
    """Print what each kind of request costs: the lowest CPU figure of several runs."""
    for title, preset in presets:
        done = [
            load("json", "--preset", preset, "--prompt", "bench n=50 d=0", "-c", 8, "-n", 5000, *server)
            for _ in range(runs)
        ]
        best = min(run["server_cpu_us_per_request"] for run in done)
        rates = ", ".join(str(round(run["rps"])) for run in done)
        print(f"  {title}: {best} us of CPU, {rates} requests a second, errors {sum(r['errors'] for r in done)}")


def measure_streams(server, preset, streams):
    """Print what a token costs while many streams are open."""
    run = load("sse", "--preset", preset, "-s", streams, "--ramp", 5, "--prompt", "bench n=400 d=50", *server)
    print(
        f"  {streams} streams of 400 tokens, 20 a second: {run['server_cpu_us_per_token']} us of CPU a token,"
        f" delay p50 {run['token_delay_ms']['p50']} ms, p99 {run['token_delay_ms']['p99']} ms,"
        f" {run['pss_kib_per_stream']} KiB a stream, errors {run['errors']}"
    )


@contextmanager
def nginx(upstream):
    """Run nginx as a bare proxy in front of the fake Dify.

    :returns: the arguments that tell the load generator its address and pid
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "nginx.conf").write_text(PROXY.format(upstream=upstream, port=port))
        with running(["nginx", "-p", folder, "-c", "nginx.conf"]) as process:
            base = f"http://127.0.0.1:{port}"
            wait_for(f"{base}/__stats")
            yield ("--base", base, "--pid", f"nginx={process.pid}")


@contextmanager
def gateway(port, environment):
    """Run a new gateway.

    :returns: the arguments that tell the load generator its address and pid
    """
    with running([BIN / "gunicorn", "wsgi:app"], cwd=HERE.parent, env=environment) as process:
        base = f"http://127.0.0.1:{port}"
        wait_for(f"{base}/healthz")
        yield ("--base", base, "--pid", f"gateway={process.pid}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--database", required=True, help="a DATABASE_URL; the script creates its tables")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3, help="runs of each load; the lowest CPU figure counts")
    options = parser.parse_args()
    upstream, port = free_port(), free_port()
    environment = settings(upstream, port, options.database)
    subprocess.run([BIN / "flask", "--app", "wsgi", "db", "upgrade"], cwd=HERE.parent, env=environment, check=True)
    with running([sys.executable, HERE / "fake_dify.py", "--port", str(upstream)]):
        wait_for(f"http://127.0.0.1:{upstream}/__stats")
        if shutil.which("nginx"):
            print("nginx, a bare proxy to the same fake Dify:")
            with nginx(upstream) as server:
                measure_json(server, [(title, past_us) for title, _, past_us in JSON_LOADS], options.runs)
                measure_streams(server, "dify", options.streams)
        print(f"Route API, Python {sys.version.split()[0]} of {sys.base_prefix}:")
        with gateway(port, environment) as server:
            measure_json(server, [(title, through_us) for title, through_us, _ in JSON_LOADS], options.runs)
        with gateway(port, environment) as server:
            measure_streams(server, "gateway", options.streams)


if __name__ == "__main__":
    main()
