#!/usr/bin/env python3
"""Measure what callers notice while Dify accepts connections and never answers, and when it returns.

    .venv/bin/python benchmarks/outage.py --database postgresql://postgres@127.0.0.1/bench_1

The gateway has two workers. 200 callers list the knowledge bases at the same moment, and wait for the time limit. Then
each of them asks again about once a second. Meanwhile others ask for /healthz, for a list of conversations, and log in,
ten times a second. At last the fake Dify takes the place of the silent one.

The script prints the slowest and the median answer of each kind, and how long it takes until the list works again.
Nothing else should run on the machine.
"""

import argparse
import http.client
import json
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack

from cost import BIN, HERE, free_port, running, settings, wait_for

CALLERS = 200
LIMIT_S = 5
"""DIFY_READ_TIMEOUT of the gateway. The first callers wait so long, and the default of 30 s would only take longer."""
ASKING_AGAIN_S = 20
KEY = "the-service-key-of-the-benchmark"
LOGIN = {"username": "benchmark", "password": "a long sentence for the benchmark"}


class SilentDify:
    """A server that accepts connections and never answers."""

    def __init__(self, port):
        self._listener = socket.create_server(("127.0.0.1", port), backlog=1000)
        self._accepted = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                self._accepted.append(self._listener.accept()[0])
            except OSError:
                return  # The listener was closed.

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._accepted:
            connection.close()


def ask(port, path, body=None):
    """Send a request over a new connection.

    :returns: the status, and the seconds until the whole answer was read
    """
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, time.perf_counter() - began


def report(title, answers):
    statuses = ", ".join(f"{count} × {status}" for status, count in Counter(status for status, _ in answers).items())
    times = [1000 * seconds for _, seconds in answers]
    print(f"{title}: {statuses}; median {statistics.median(times):.0f} ms, slowest {max(times):.0f} ms", flush=True)


def at_once(count, work):
    """Run this function in so many threads, and wait for all of them."""
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def measure(port, restore):
    """Run the phases one after the other.

    :param restore: a function that lets Dify answer again
    """
    first, later, is_over = [], [], threading.Event()
    at_once(CALLERS, lambda: first.append(ask(port, "/kb/list")))
    report(f"kb/list, {CALLERS} callers at the same moment", first)

    def asks_again():
        until = time.monotonic() + ASKING_AGAIN_S
        while time.monotonic() < until:
            time.sleep(random.uniform(0.5, 1.5))
            later.append(ask(port, "/kb/list"))

    neighbours = {"/healthz": [], "/conversation/list": [], "/user/login": []}

    def asks_for_others(path):
        body = {"/conversation/list": {"user_id": "benchmark"}, "/user/login": LOGIN}.get(path)
        while not is_over.wait(0.1):
            neighbours[path].append(ask(port, path, body))

    others = [threading.Thread(target=asks_for_others, args=(path,)) for path in neighbours]
    for thread in others:
        thread.start()
    at_once(CALLERS, asks_again)
    is_over.set()
    for thread in others:
        thread.join()
    report(f"kb/list, {CALLERS} callers about once a second", later)
    for path, answers in neighbours.items():
        report(f"{path} meanwhile", answers)

    restore()
    restored_at, works_since, in_a_row = time.perf_counter(), None, 0
    while in_a_row < 20 and time.perf_counter() - restored_at < 60:
        asked_at = time.perf_counter()
        is_right = ask(port, "/kb/list")[0] == 200
        in_a_row = in_a_row + 1 if is_right else 0
        works_since = (works_since or asked_at) if is_right else None
        time.sleep(0.02)
    if works_since is None:
        raise SystemExit("kb/list does not work again")
    print(f"kb/list works again {works_since - restored_at:.1f} s after Dify")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--database", required=True, help="DATABASE_URL of an empty database")
    options = parser.parse_args()
    upstream, port = free_port(), free_port()
    limits = {"DIFY_READ_TIMEOUT": str(LIMIT_S), "WORKERS": "2"}
    access = {"AUTH": "required", "API_KEYS": KEY, "SECRET_KEY": "signs the logins of the benchmark"}
    environment = settings(upstream, port, options.database, **limits, **access)
    subprocess.run([BIN / "flask", "--app", "wsgi", "db", "upgrade"], cwd=HERE.parent, env=environment, check=True)
    with ExitStack() as stack:
        silent = SilentDify(upstream)
        stack.enter_context(running([BIN / "gunicorn", "wsgi:app"], cwd=HERE.parent, env=environment))
        wait_for(f"http://127.0.0.1:{port}/healthz")
        ask(port, "/user/register", LOGIN)

        def restore():
            silent.close()
            fake = [sys.executable, HERE / "fake_dify.py", "--port", str(upstream)]
            stack.enter_context(running(fake))
            wait_for(f"http://127.0.0.1:{upstream}/__stats")

        measure(port, restore)


if __name__ == "__main__":
    main()
