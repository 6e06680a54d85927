#!/usr/bin/env python3
"""Run a gateway for a while under half load, with faults switched on and off at the fake Dify, and look for leaks.

    make soak                       # 15 minutes
    make soak MINUTES=3 STREAMS=100

The gateway has two workers. Its database is a new one on the PostgreSQL of 127.0.0.1, or SQLite if there is none;
`--database` names the PostgreSQL server. Meanwhile callers read streams, ask for answers in one piece, list knowledge
bases, and disconnect in the middle of an answer. Each round of the script has one of FAULTS, or none.

The script prints a table, and exits with status 1 if one of these rules is broken:

- Memory (RSS) and the number of open files of each process are flat: the median of the last quarter of the time is at
  most MEMORY_GROWTH or FILES_GROWTH above the median of the second quarter. The first quarter does not count, because
  caches fill then.
- No worker has died. No answer had status 500.
- At the end no stream is open, in the gateway and on the fake Dify, and no turn in the database is pending.
- gevent's monitor thread found no greenlet that kept all others waiting for more than 100 ms, by computing or in a
  system call. The script also prints how often a worker waited so long for the processor; then other programs were at
  work.
"""

import argparse
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import psycopg
import sqlalchemy
from cost import BIN, HERE, free_port, load, settings, wait_for

ROUND_S = 20
"""Seconds of a round, to which the load generator adds some. In 15 minutes each quarter has a round with each fault."""

FAULTS = {
    "none": "",
    "Dify answers 500": "status=500",
    "Dify answers 429": "status=429",
    "Dify breaks connections": "cut=30",
    "Dify reports errors in streams": "err=30",
    "events in pieces": "split=1 ping=1",
    "unchunked streams": "plain=1",
    "Dify is silent for 5 s": signal.SIGSTOP,
    "Dify is killed and started again": signal.SIGKILL,
}
"""Markers for questions (see fake_dify.py), which a quarter of the streams get, or a signal for the fake Dify."""

MEMORY_GROWTH = 0.10
"""A tenth; but at least 10 MB, which a worker gains and loses with the number of its open streams."""

FILES_GROWTH = 0.10
"""A tenth; but at least as many as a quarter of all streams, because each stream needs two connections, and the number
of open streams differs between the rounds. A leak in each stream would be many times as large."""

SETTLE_S = 60
"""Seconds after the last request until everything must have ended."""

CONFIGURATION = """
import sys
import time

from gevent import _monitor

exec(open("gunicorn.conf.py").read())
start_worker = post_fork


def monitor_blocking(self, hub):
    # gevent's own report lists all greenlets. With hundreds of them the report itself blocks the worker.
    cpu = time.clock_gettime(time.pthread_getcpuclockid(hub.thread_ident))
    used, self.cpu = cpu - getattr(self, "cpu", cpu), cpu
    if not self._greenlet_tracer.did_block_hub(hub):
        return
    waits_in_system_call = open("/proc/self/stat").read().rpartition(") ")[2][0] != "R"
    kind = "blocked" if waits_in_system_call or used > 0.05 else "no processor"
    places, frame = [], sys._current_frames().get(hub.thread_ident)
    while frame is not None and len(places) < 4:
        places.append("/".join(frame.f_code.co_filename.split("/")[-2:]) + f":{frame.f_lineno}")
        frame = frame.f_back
    print(f"MONITOR {kind}: {' < '.join(places)}", file=sys.stderr, flush=True)


def post_fork(server, worker):
    start_worker(server, worker)
    _monitor.PeriodicMonitoringThread.monitor_blocking = monitor_blocking
"""
"""The gateway's configuration, with a monitor thread that says in one line where a greenlet blocks all others."""

REPORT = re.compile(r"^MONITOR (.*)$", re.MULTILINE)


class Soak:
    """A fake Dify, a gateway, and the load on it."""

    def __init__(self, folder, database, options):
        self.folder, self.streams, self.seconds = folder, options.streams, options.minutes * 60
        self.dify_port, self.port = free_port(), free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **settings(self.dify_port, self.port, database, WORKERS="2"),
            "ROUTE_API_PARENT_PID": str(os.getpid()),
            "GEVENT_MONITOR_THREAD_ENABLE": "1",
            "GEVENT_MAX_BLOCKING_TIME": "0.1",
        }
        self.stopped = threading.Event()
        self.samples = {}
        self.results = []
        self.fault = "none"
        self.longest_healthz_s = dict.fromkeys(FAULTS, 0.0)

    # ---------------------------------------------------------------- processes

    def start_dify(self):
        command = [sys.executable, HERE / "fake_dify.py", "--port", str(self.dify_port)]
        self.dify = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(f"http://127.0.0.1:{self.dify_port}/__stats")

    @contextmanager
    def running(self):
        """Start both servers, and stop them at the end."""
        migration = [BIN / "flask", "--app", "wsgi", "db", "upgrade"]
        subprocess.run(migration, cwd=HERE.parent, env=self.environment, check=True, capture_output=True)
        self.start_dify()
        self.log_path = self.folder / "gateway.log"
        with self.log_path.open("wb") as log:
            configuration = self.folder / "gunicorn.conf.py"
            configuration.write_text(CONFIGURATION)
            command = [BIN / "gunicorn", "--config", configuration, "wsgi:app"]
            self.gateway = subprocess.Popen(command, cwd=HERE.parent, env=self.environment, stderr=log)
        try:
            wait_for(f"{self.base}/healthz")
            time.sleep(5)  # One of the workers may still be starting.
            self.workers = self.children()
            yield
        finally:
            self.stopped.set()
            self.gateway.terminate()
            self.gateway.wait(60)
            self.dify.kill()

    def children(self):
        return sorted(map(int, Path(f"/proc/{self.gateway.pid}/task/{self.gateway.pid}/children").read_text().split()))

    # ---------------------------------------------------------------- load

    def run(self):
        """Send the load, round after round."""
        self.log_at_start = self.log_path.stat().st_size
        end = time.monotonic() + self.seconds
        helpers = [threading.Thread(target=work) for work in (self.sample, self.leave, self.probe)]
        for helper in helpers:
            helper.start()
        faults = list(FAULTS)
        number = 0
        while time.monotonic() < end:
            self.fault = faults[number % len(faults)]
            self.run_round(self.fault)
            number += 1
        self.stopped.set()
        for helper in helpers:
            helper.join()
        return number

    def run_round(self, fault):
        marks = FAULTS[fault] if isinstance(FAULTS[fault], str) else ""
        question = f"bench n={(ROUND_S - 5) * 20} d=50"
        faulty = self.streams // 4
        loads = [
            ("sse", "gateway", "-s", self.streams - faulty, "--ramp", 5, "--prompt", question),
            ("sse", "gateway", "-s", faulty, "--ramp", 5, "--prompt", f"{question} {marks}"),
            ("json", "gateway", "-c", 8, "--rate", 20, "--seconds", ROUND_S, "--prompt", f"bench {marks}"),
            ("json", "gateway-list", "-c", 8, "--rate", 50, "--seconds", ROUND_S),
        ]
        threads = [threading.Thread(target=self.load, args=arguments) for arguments in loads]
        for thread in threads:
            thread.start()
        if FAULTS[fault] == signal.SIGSTOP:
            time.sleep(ROUND_S / 2)
            self.dify.send_signal(signal.SIGSTOP)
            time.sleep(5)
            self.dify.send_signal(signal.SIGCONT)
        if FAULTS[fault] == signal.SIGKILL:
            time.sleep(ROUND_S / 2)
            self.dify.kill()
            self.dify.wait()
            time.sleep(2)
            self.start_dify()
        for thread in threads:
            thread.join()

    def load(self, mode, preset, *arguments):
        self.results.append(
            load(mode, "--preset", preset, "--base", self.base, "--timeout", 60, "--warm", 0, *arguments)
        )

    def leave(self):
        """Be a caller who disconnects: before the first byte, or after some tokens; with a stream or without."""
        chance = random.Random(1)
        while not self.stopped.wait(0.2):
            body = {"user_id": "leaver", "message": "bench n=200 d=50 w=500", "streaming": chance.random() < 0.7}
            data = json.dumps(body).encode()
            head = "POST /v1/conversation/completion HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            with socket.create_connection(("127.0.0.1", self.port)) as connection:
                connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
                self.stopped.wait(chance.choice((0.1, 0.3, 1, 2)))

    def probe(self):
        """Measure the longest answer of /healthz with each fault."""
        while not self.stopped.wait(0.5):
            fault, began = self.fault, time.monotonic()
            self.get("healthz")
            self.longest_healthz_s[fault] = max(self.longest_healthz_s[fault], time.monotonic() - began)

    def sample(self):
        """Write down the memory and the number of open files of each process, every two seconds."""
        began = time.monotonic()
        while not self.stopped.wait(2):
            processes = {"master": self.gateway.pid, **{f"worker {pid}": pid for pid in self.workers}}
            for name, pid in processes.items():
                try:
                    rss = int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024
                    files = len(os.listdir(f"/proc/{pid}/fd"))
                except (OSError, IndexError):  # The worker has died, which `report` says.
                    continue
                self.samples.setdefault(name, []).append((time.monotonic() - began, rss, files))

    # ---------------------------------------------------------------- report

    def get(self, path):
        with urllib.request.urlopen(f"{self.base}/{path}", timeout=60) as answer:
            return answer.read().decode()

    def metric(self, name):
        """The sum of all series of a metric, by their labels."""
        found = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", self.get("metrics"), re.MULTILINE)
        return {labels: float(value) for labels, value in found}

    def open_on_dify(self):
        return json.loads(wait_for(f"http://127.0.0.1:{self.dify_port}/__stats"))["open"]

    def wait_for_end(self):
        """Wait until nothing runs any more, but not longer than SETTLE_S.

        :returns: the numbers of streams open on the fake Dify, and of streams and turns that run in the gateway
        """
        for _ in range(SETTLE_S * 2):
            left = (
                self.open_on_dify(),
                sum(self.metric("route_api_open_streams").values()),
                sum(self.metric("route_api_running_turns").values()),
            )
            if not any(left):
                break
            time.sleep(0.5)
        return left

    def blocking_reports(self):
        """The lines of gevent's monitor thread, each with the number of times that it was written."""
        with self.log_path.open("rb") as log:
            log.seek(self.log_at_start)
            return Counter(REPORT.findall(log.read().decode(errors="replace")))

    def report(self, database, rounds):
        """Print the table and the broken rules.

        :returns: whether no rule is broken
        """
        left, pending = self.wait_for_end(), pending_turns(database)
        broken = []
        print(f"\n{rounds} rounds, {self.streams} streams each; database: {database.partition(':')[0]}")
        print(f"{'process':16}{'RSS, 2nd quarter':>18}{'last':>8}{'files, 2nd quarter':>20}{'last':>6}")
        for name, samples in self.samples.items():
            duration = samples[-1][0]
            second = [row for row in samples if duration / 4 <= row[0] < duration / 2]
            last = [row for row in samples if row[0] >= duration * 3 / 4]
            (rss, rss_at_end), (files, files_at_end) = (
                [statistics.median(row[column] for row in rows) for rows in (second, last)] for column in (1, 2)
            )
            print(f"{name:16}{rss:>15.1f} MB{rss_at_end:>5.1f} MB{files:>18.0f}{files_at_end:>8.0f}")
            if rss_at_end - rss > max(10, rss * MEMORY_GROWTH):
                broken.append(f"the memory of {name} has grown")
            if files_at_end - files > max(self.streams / 4, files * FILES_GROWTH):
                broken.append(f"the open files of {name} have grown")
        print("\nstreams by outcome:", self.metric("route_api_streams_total"))
        statuses = Counter()
        for labels, number in self.metric("route_api_requests_total").items():
            status = re.search(r'status="(\d+)"', labels)[1]
            statuses[status] += int(number)
        print("answers by status:", dict(statuses))
        seen = Counter()
        for run in self.results:
            for what, number in (run.get("why") or {}).items():
                seen["fewer tokens than asked for" if "instead of" in what else what] += number
        print("what the callers of streams saw:", dict(seen))
        print(
            "longest /healthz:",
            ", ".join(f"{1000 * s:.0f} ms ({fault})" for fault, s in self.longest_healthz_s.items()),
        )
        print(
            "open at the end: {} streams on the fake Dify, {:.0f} streams and {:.0f} turns in the gateway".format(*left)
        )
        print(f"pending in the database at the end: {pending}")
        blocked = self.blocking_reports()
        print(f"gevent's monitor thread reported {blocked.total()} times that no greenlet ran for 100 ms")
        for place, number in blocked.most_common(20):
            print(f"  {number} x {place}")
        if self.children() != self.workers:
            broken.append("a worker has died")
        if statuses["500"]:
            broken.append("an answer had status 500")
        if any(left) or pending:
            broken.append("something still ran at the end, or is pending")
        if any(place.startswith("blocked") for place in blocked):
            broken.append("a greenlet kept all others waiting for more than 100 ms")
        for rule in broken:
            print(f"BROKEN: {rule}")
        return not broken


def pending_turns(database):
    """The number of turns that are stored as pending."""
    from config import Config

    with sqlalchemy.create_engine(Config(DATABASE_URL=database).database_uri).connect() as connection:
        rows = connection.execute(sqlalchemy.text("SELECT meta_data FROM message"))
        found = [json.loads(row[0]) if isinstance(row[0], str) else row[0] for row in rows]
    return sum(meta_data["status"] == "pending" for meta_data in found)


@contextmanager
def new_database(server, folder):
    """Create a database on the PostgreSQL server and drop it at the end. Without a server: a file of SQLite."""
    name = f"route_api_soak_{os.getpid()}"
    try:
        connection = psycopg.connect(f"{server}/postgres", autocommit=True, connect_timeout=5)
    except psycopg.OperationalError:
        yield f"sqlite:///{folder}/soak.sqlite3"
        return
    with connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield f"{server}/{name}"
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--streams", type=int, default=500, help="two workers on two cores carry 1,000")
    parser.add_argument("--database", default="postgresql://postgres@127.0.0.1", help="a PostgreSQL server")
    options = parser.parse_args()
    sys.path.insert(0, str(HERE.parent))
    with tempfile.TemporaryDirectory() as folder, new_database(options.database, folder) as database:
        soak = Soak(Path(folder), database, options)
        with soak.running():
            is_fine = soak.report(database, soak.run())
    sys.exit(0 if is_fine else 1)


if __name__ == "__main__":
    main()
