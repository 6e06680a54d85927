"""A Dify that falls silent under load, with gunicorn and two workers: who waits, how long, and what works meanwhile."""

import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests

from route_api.dify.breaker import FAILURES

from ..support import databases
from ..support.deployment import Gunicorn, session
from ..support.loopback import Loopback, answer, loopback
from ..support.patience import PATIENCE_S
from ..support.running_gateway import wait_for

REDIS = "redis://127.0.0.1:6379/13"
READ_TIMEOUT_S = 6.0
CALLERS = 60
THREADS = 20
"""Fewer than the callers of a worker, so that with gthread every thread could be taken."""

KEY = "the-service-key-of-a-backend"
USER = {"username": "yinglian", "password": "a long sentence"}
DATASETS = {"data": [], "has_more": False, "limit": 20, "page": 1, "total": 0}


class Dify:
    """A Dify without knowledge bases, which accepts connections and is silent while `is_silent` is set."""

    def __init__(self) -> None:
        self.is_silent = False
        self.wakes_up = threading.Event()

    def __call__(self, connection: socket.socket, request: bytes) -> None:
        if self.is_silent and not self.wakes_up.wait(PATIENCE_S):
            return
        if request.startswith(b"GET /v1/datasets"):
            connection.sendall(answer(orjson.dumps(DATASETS), headers="X-Version: 1.12.1\r\n"))
        else:
            connection.sendall(answer(b"{}", "404 NOT FOUND", "X-Version: 1.12.1\r\n"))


@dataclass
class Seen:
    """Statuses with the seconds that they took."""

    answers: list[tuple[int, float]] = field(default_factory=list)

    @property
    def statuses(self) -> Counter[int]:
        return Counter(status for status, _ in self.answers)

    def seconds(self, *statuses: int) -> list[float]:
        return sorted(seconds for status, seconds in self.answers if not statuses or status in statuses)


class Caller:
    """Calls one gateway; each call has a connection of its own, so that both workers get calls."""

    def __init__(self, gateway: Gunicorn) -> None:
        self._base = gateway.base

    def __call__(self, path: str = "kb/list", method: str = "GET", **given: Any) -> tuple[requests.Response, float]:
        begun = time.monotonic()
        with session(KEY) as http:
            response = http.request(method, f"{self._base}/{path}", timeout=PATIENCE_S, **given)
        return response, time.monotonic() - begun

    def at_once(self, number: int) -> Seen:
        with ThreadPoolExecutor(number) as pool:
            return Seen([(answered.status_code, s) for answered, s in pool.map(lambda _: self(), range(number))])

    def what_needs_no_dify(self) -> Seen:
        calls = (
            self("healthz"),
            self("user/login", "POST", json=USER),
            self("conversation/list", params={"user_id": "alice"}),
        )
        return Seen([(answered.status_code, seconds) for answered, seconds in calls])


@pytest.fixture
def dify() -> Iterator[tuple[Dify, Loopback]]:
    scripted = Dify()
    with loopback(scripted) as server:
        yield scripted, server
        scripted.wakes_up.set()


@pytest.fixture
def gateway(worker_class: str, tmp_path: Path, dify: tuple[Dify, Loopback]) -> Iterator[Gunicorn]:
    """A gateway on that Dify. With gevent its workers tell each other what they find out, with gthread they do not."""
    settings = {
        "WORKER_CLASS": worker_class,
        "THREADS": str(THREADS),
        "LIMITS_STORAGE": databases.empty_redis(REDIS) if worker_class == "gevent" else "memory://",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'gateway.sqlite3'}",
        "DIFY_BASE_URL": dify[1].url,
        "DIFY_DATASET_API_KEY": "dataset-secret",
        "DIFY_APP_API_KEY": "app-secret",
        "DIFY_READ_TIMEOUT": str(READ_TIMEOUT_S),
        "API_KEYS": KEY,
        "SECRET_KEY": "signs-every-token",
        "RATE_LIMIT_SERVICE": "0",
        "PROXIES": "0",
        "STOP_GRACE": "5",
    }
    running = Gunicorn(f"gateway-{os.getpid()}", tmp_path, settings)
    running.migrate()
    running.start()
    yield running
    running.stop()


@pytest.mark.server
def test_a_silent_dify_delays_its_first_callers_alone_and_all_works_when_it_is_back(
    gateway: Gunicorn, dify: tuple[Dify, Loopback], worker_class: str
) -> None:
    call, (scripted, _) = Caller(gateway), dify
    call("user/register", "POST", json=USER)
    assert call()[0].status_code == 200 and call.what_needs_no_dify().statuses == {200: 3}
    scripted.is_silent = True

    first: list[Seen] = []
    waiting = threading.Thread(target=lambda: first.append(call.at_once(CALLERS)))
    waiting.start()
    time.sleep(READ_TIMEOUT_S / 6)
    meanwhile = call.what_needs_no_dify()
    assert waiting.is_alive(), "these requests did not wait for Dify's time limit"
    waiting.join(PATIENCE_S)
    assert meanwhile.statuses == {200: 3}
    assert first[0].statuses.keys() <= {503, 504} and first[0].statuses[504] >= FAILURES
    assert min(first[0].seconds(504)) >= READ_TIMEOUT_S * 0.9
    if worker_class == "gthread":
        assert first[0].statuses[503] >= CALLERS - 2 * THREADS, "a tenth of the threads is kept free"

    wait_for(lambda: call.at_once(20).statuses == {503: 20})  # Now each worker has found out.
    later = call.at_once(CALLERS)
    assert later.statuses == {503: CALLERS}, "nobody waits any more"
    refused, _ = call()
    assert (refused.json()["error"], refused.headers["Retry-After"]) == ("dify_unreachable", "2")
    readiness, _ = call("readyz")
    assert readiness.status_code == 503 and "read" in readiness.json()["message"]
    assert 'route_api_dify_breaker_open{kind="read"} 1.0' in call("metrics")[0].text
    assert '"logger":"route_api.dify.breaker"' in gateway.log_path.read_text()

    scripted.is_silent = False
    scripted.wakes_up.set()
    wait_for(lambda: call.at_once(20).statuses == {200: 20})
    wait_for(lambda: call("readyz")[0].status_code == 200)  # Its answer may be a second old.
    wait_for(lambda: 'route_api_dify_breaker_open{kind="read"} 0.0' in call("metrics")[0].text)
