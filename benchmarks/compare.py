#!/usr/bin/env python3
"""Measure what a change costs or saves: the CPU per request of two checkouts, measured alternately.

    git worktree add ../before v0.1.0
    .venv/bin/python benchmarks/compare.py --database postgresql://postgres@127.0.0.1/bench ../before .

A single figure from a shared machine is unreliable: the same commit takes a third more when the machine is busy. Here
both gateways run all the time and get short loads alternately; the result is the ratio of neighbouring runs. Each
gateway has one worker and its own empty database. If there are two cores, the gateways run on one of them and the load
generator on the other. Nothing else should run on the machine.
"""

import argparse
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from cost import BIN, HERE, free_port, load, running, settings, wait_for

LOADS = {
    "kb/list": ("json", "--preset", "gateway-list", "-c", 4, "-n", 800, "--warm", 0),
    # Dify sends these 50 tokens at once, because the figure is CPU time and not the time of the model.
    "blocking turn": ("json", "--preset", "gateway", "--prompt", "bench n=50 d=0", "-c", 4, "-n", 800, "--warm", 0),
    "streamed token": (
        "sse",
        "--preset",
        "gateway",
        "-s",
        200,
        "--ramp",
        1,
        "--prompt",
        "bench n=100 d=50",
        "--warm",
        0,
    ),
}


def cpu_s(pid):
    """Read the CPU time of a process and its children.

    The kernel counts it in nanoseconds here; the load generator reads a counter of 10 ms steps.

    :returns: seconds since the start of the processes
    """
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    threads = [thread for process in (str(pid), *children) for thread in Path("/proc", process, "task").iterdir()]
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def start(checkout, number, options, upstream, stack):
    """Start a gateway of this checkout.

    :returns: its address and its pid
    """
    port = free_port()
    environment = settings(upstream, port, f"{options.database}_{number}", WORKERS="1")
    subprocess.run([BIN / "flask", "--app", "wsgi", "db", "upgrade"], cwd=checkout, env=environment, check=True)
    pinned = ["taskset", "-c", "0"] if len(os.sched_getaffinity(0)) > 1 else []
    gateway = stack.enter_context(running([*pinned, BIN / "gunicorn", "wsgi:app"], cwd=checkout, env=environment))
    base = f"http://127.0.0.1:{port}"
    wait_for(f"{base}/healthz")
    return base, gateway.pid


def measure(base, pid, kind):
    """Run one short load.

    :returns: microseconds of CPU per request, or per token of a stream
    """
    before = cpu_s(pid)
    done = load(*LOADS[kind], "--base", base, "--pid", f"gateway={pid}")
    if done["errors"]:
        raise SystemExit(f"{base}: {done['why'] if 'why' in done else done['status']}")
    return (cpu_s(pid) - before) * 1e6 / (done.get("tokens") or done["requests"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--database", required=True, help="a DATABASE_URL; …_1 and …_2 must exist")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    options = parser.parse_args()
    upstream = free_port()
    with ExitStack() as stack:
        stack.enter_context(running([sys.executable, HERE / "fake_dify.py", "--port", str(upstream)]))
        both = [
            start(checkout.resolve(), number, options, upstream, stack)
            for number, checkout in enumerate((options.before, options.after), start=1)
        ]
        if len(cores := os.sched_getaffinity(0)) > 1:
            os.sched_setaffinity(0, cores - {0})  # The load generator inherits this setting.
        for kind in LOADS:
            figures = [[], []]
            for turn in range(options.rounds + 1):
                for which in (0, 1) if turn % 2 else (1, 0):
                    figures[which].append(measure(*both[which], kind))
            before, after = (one[1:] for one in figures)  # The first round warms up.
            ratios = [b / a for a, b in zip(before, after)]
            error = statistics.stdev(ratios) / len(ratios) ** 0.5
            print(
                f"{kind}: {statistics.median(before):.1f} us before, {statistics.median(after):.1f} after,"
                f" {statistics.median(ratios):.2f} of it (±{error:.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
