"""The deployment of deploy/ with real servers: streams, large files, killed workers, restarts, two gateways."""

import hashlib
import json
import os
import signal
import statistics
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from requests_toolbelt import MultipartEncoder

from ..support import deployment
from ..support.deployment import USER_LIMIT, Deployment, Gunicorn, program
from ..support.patience import PATIENCE_S
from ..support.running_gateway import wait_for

sandbox, site, pair = deployment.sandbox, deployment.site, deployment.pair
pytestmark = pytest.mark.server

LARGE_MB = 300
FLAT_MB = 60
"""How much memory a process may gain while a large file passes: for buffers, not for the whole file."""
TOKEN_S = 0.05
PAUSE_S = 0.2
"""The pause between two rounds of a client. Without it nginx would limit the test as an attack."""
SLOW = f"[[len:250]][[delay:{TOKEN_S * 1000:.0f}]]"
LONG = SLOW.replace("250", "500")
KEY = f"Authorization: Bearer {deployment.SERVICE_KEY}"
LAST_EVENT = b'data: {"code":0,"message":"","data":true}'


def first_data(answer: requests.Response) -> dict[str, Any]:
    """The ids in the first event of a stream."""
    return dict(json.loads(next(line for line in answer.iter_lines() if line)[6:])["data"])


def last_message(site: Deployment, user_id: str, ids: dict[str, Any]) -> dict[str, Any]:
    """The newest message of a conversation."""
    wanted = {"user_id": user_id, "conversation_id": ids["conversation_id"]}
    return dict(site.get("conversation/messages", **wanted)["data"]["messages"][-1])


def memory_mb(pid: int, field: str) -> float:
    """A number of /proc/PID/status: VmRSS is the memory of a process now, VmHWM its maximum so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 1024


class Asking:
    """Streams that separate threads read until they end, completely or not."""

    def __init__(self, site: Deployment) -> None:
        self._site = site
        self._threads: list[threading.Thread] = []
        self.ends: list[bytes] = []

    def open(self, number: int, query: str) -> None:
        for _ in range(number):
            user_id = f"u-{len(self._threads)}-{time.monotonic_ns() % 10**9}"
            thread = threading.Thread(target=self._read, args=(self._site.ask(user_id, query),))
            thread.start()
            self._threads.append(thread)

    def _read(self, answer: requests.Response) -> None:
        last = b""
        try:
            for line in answer.iter_lines():
                last = line or last
        except requests.RequestException:
            last = b"broken off"
        self.ends.append(last)

    def wait(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()

    @property
    def whole(self) -> int:
        return self.ends.count(LAST_EVENT)

    def __len__(self) -> int:
        return len(self._threads)


class Traffic:
    """Clients that send requests all the time. Every answer without code 0 is a failure."""

    def __init__(self, site: Deployment, clients: int) -> None:
        self._site = site
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._client, args=(number,)) for number in range(clients)]
        self.answered = 0
        self.failures: list[str] = []

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _client(self, number: int) -> None:
        http = self._site.nginx.client()
        while not self._stopped.wait(PAUSE_S):
            for method, path, body in (
                ("GET", "kb/list", None),
                ("POST", "chat/chat", {"user_id": f"traffic-{number}", "query": "你好", "stream": False}),
            ):
                try:
                    answer = http.request(method, f"{self._site.base}/{path}", json=body, timeout=PATIENCE_S)
                    assert answer.json()["code"] == 0, answer.text
                    self.answered += 1
                except (requests.RequestException, AssertionError) as error:
                    self.failures.append(f"{method} {path}: {error}")


@pytest.mark.parametrize("protocol", ["--http1.1", "--http2"])
def test_a_stream_arrives_token_by_token(site: Deployment, protocol: str) -> None:
    body = json.dumps({"user_id": "u-tokens", "query": SLOW + "慢慢说", "stream": True})
    arguments = ["-sN", protocol, "--cacert", str(site.nginx.certificate), "-H", "Content-Type: application/json"]
    command = [
        program("curl"),
        *arguments,
        "-H",
        "Accept-Encoding: gzip",
        "-H",
        KEY,
        "-d",
        body,
        f"{site.base}/chat/chat",
    ]
    arrivals = []
    with subprocess.Popen(command, stdout=subprocess.PIPE) as curl:
        assert curl.stdout is not None
        for line in curl.stdout:
            if line.startswith(b"data: "):
                arrivals.append(time.monotonic())
    assert curl.returncode == 0
    assert line.strip() == b"" and len(arrivals) > 20
    gaps = [after - before for before, after in zip(arrivals[:-2], arrivals[1:-1])]
    assert statistics.median(gaps) > TOKEN_S / 2, gaps


def test_a_large_file_comes_and_goes_with_flat_memory_and_without_a_file_of_nginx(
    site: Deployment, tmp_path: Path
) -> None:
    original = tmp_path / "large.docx"
    with original.open("wb") as file:
        for position in range(LARGE_MB):
            file.seek(position * 1024 * 1024)
            file.write(f"megabyte {position}".encode())
        file.truncate(LARGE_MB * 1024 * 1024)
    kb_id = site.post("kb/create", name=f"large {time.monotonic_ns()}")["data"]["kb_id"]
    processes = [*site.nginx.children, *site.gateways[0].children]
    before = {pid: memory_mb(pid, "VmRSS") for pid in processes}

    with original.open("rb") as file:
        encoder = MultipartEncoder({"kb_id": kb_id, "file": (original.name, file, "application/octet-stream")})
        headers = {"Content-Type": encoder.content_type}
        answer = site.http.post(f"{site.base}/document/upload", data=encoder, headers=headers, timeout=PATIENCE_S)
    document = deployment.succeeded(answer)["data"][0]
    wanted = {"kb_id": kb_id, "document_id": document["id"]}
    received = hashlib.sha256()
    with site.http.post(f"{site.base}/document/download", json=wanted, stream=True, timeout=PATIENCE_S) as answer:
        assert answer.headers["Content-Length"] == str(LARGE_MB * 1024 * 1024)
        for chunk in answer.iter_content(1024 * 1024):
            received.update(chunk)

    with original.open("rb") as file:
        assert received.hexdigest() == hashlib.file_digest(file, "sha256").hexdigest()
    grown = {pid: memory_mb(pid, "VmHWM") - before[pid] for pid in processes}
    assert max(grown.values()) < FLAT_MB, grown
    assert site.nginx.written_to_disk() == []
    site.post("kb/rm", kb_id=kb_id)


def test_a_killed_worker_costs_no_client_of_the_others(site: Deployment) -> None:
    gateway, asking = site.gateways[0], Asking(site)
    killed, other = gateway.children
    for _ in range(10):
        asking.open(6, LONG)
        if min(gateway.connections_of(killed), gateway.connections_of(other)) >= 5:
            break
    lost_at_most = gateway.connections_of(killed)
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{killed}").exists())  # The requests that it was answering are lost.
    for number in range(20):
        site.get("kb/list")
        site.post("chat/chat", user_id=f"u-after-{number}", query="你好", stream=False)
    asking.wait()
    assert 1 <= len(asking) - asking.whole <= lost_at_most, asking.ends
    assert asking.whole >= 1
    wait_for(lambda: len(gateway.children) == 2)


def test_a_reload_of_nginx_cuts_no_stream(site: Deployment) -> None:
    asking = Asking(site)
    asking.open(4, SLOW)
    before = site.nginx.children
    site.nginx.signal(signal.SIGHUP)
    wait_for(lambda: len(set(site.nginx.children) - set(before)) == 2)
    asking.open(2, SLOW)
    asking.wait()
    assert asking.whole == 6, asking.ends


def test_gateways_restarted_one_after_the_other_lose_no_request(pair: Deployment) -> None:
    with Traffic(pair, clients=4) as traffic:
        for gateway in pair.gateways:
            asking = Asking(pair)
            asking.open(4, SLOW)
            gateway.stop()
            gateway.start()
            asking.wait()
            assert asking.whole == 4, asking.ends
    assert traffic.failures == []
    assert traffic.answered > 20


def test_a_caller_who_leaves_is_noticed_through_nginx(site: Deployment) -> None:
    answer = site.ask("u-leaves", "[[len:800]][[delay:20000]]慢")
    ids = first_data(answer)
    answer.close()
    wait_for(lambda: last_message(site, "u-leaves", ids)["status"] != "pending")
    assert last_message(site, "u-leaves", ids)["reason"] == "caller_left"


def test_json_is_compressed_and_says_who_answered(site: Deployment) -> None:
    answer = site.http.get(f"{site.base}/openapi.json", headers={"X-Request-Id": "from-a-test"}, timeout=PATIENCE_S)
    assert (answer.headers["Content-Encoding"], answer.headers["X-Request-Id"]) == ("gzip", "from-a-test")
    assert answer.json()["info"]["title"] == "Route API"
    missing = site.http.get(f"{site.base}/no/such/path", headers={"X-Request-Id": "from-a-test"}, timeout=PATIENCE_S)
    assert (missing.status_code, missing.json()["request_id"]) == (404, "from-a-test")


def test_a_conversation_goes_on_through_either_gateway(pair: Deployment) -> None:
    conversation_id = None
    asked = []
    for number in range(1, 7):
        gateway = pair.gateways[number % 2]
        body = {"user_id": "u-both", "query": f"第{number}个问题", "conversation_id": conversation_id}
        answer = pair.at(gateway, "chat/chat", **body)
        conversation_id = deployment.succeeded(answer)["data"]["conversation_id"]
        asked.append(body["query"])
    ids = {"user_id": "u-both", "conversation_id": conversation_id}
    for _ in pair.gateways:
        messages = pair.get("conversation/messages", **ids)["data"]["messages"]
        assert [message["query"] for message in messages] == asked
        assert {message["status"] for message in messages} == {"done"}


def test_requests_are_shared_out_among_the_gateways(pair: Deployment) -> None:
    for number in range(6):
        pair.http.get(f"{pair.base}/healthz", headers={"X-Request-Id": f"shared-{number}"}, timeout=PATIENCE_S)
    carriers = {json.loads(pair.nginx.logged(f"shared-{number}"))["gateway"] for number in range(6)}
    assert carriers == {f"127.0.0.1:{gateway.port}" for gateway in pair.gateways}


def test_two_messages_at_once_into_one_conversation_of_two_gateways_give_one_409(pair: Deployment) -> None:
    ids = {"user_id": "u-at-once"}
    ids["conversation_id"] = pair.post("chat/chat", **ids, query="你好", stream=False)["data"]["conversation_id"]
    together = threading.Barrier(2)

    def ask(gateway: Gunicorn) -> int:
        together.wait()
        return pair.at(gateway, "chat/chat", **ids, query="[[slow:1]]再说", stream=False).status_code

    for _ in range(3):
        with ThreadPoolExecutor(2) as both:
            assert sorted(both.map(ask, pair.gateways)) == [200, 409]


def test_stop_reaches_a_stream_that_the_other_gateway_carries(pair: Deployment) -> None:
    carrier, other = pair.gateways
    answer = pair.at(carrier, "chat/chat", user_id="u-stop", query="[[len:3000]][[delay:50]]长", stream=True)
    lines = (line for line in answer.iter_lines() if line)
    conversation_id = json.loads(next(lines)[6:])["data"]["conversation_id"]
    ids = {"user_id": "u-stop", "conversation_id": conversation_id}
    stopped = pair.at(other, "conversation/stop", **ids)
    assert deployment.succeeded(stopped)["data"]["stopped"] is True
    *_, last, end = list(lines)
    assert end == LAST_EVENT and json.loads(last[6:])["data"]["status"] == "stopped"
    assert last_message(pair, "u-stop", ids)["reason"] == "stop_requested"


def log_in(pair: Deployment, gateway: Gunicorn, username: str) -> str:
    """The token of a new user."""
    credentials = {"username": username, "password": "a long sentence"}
    pair.post("user/register", **credentials)
    return str(deployment.succeeded(pair.at(gateway, "user/login", **credentials))["data"]["token"])


def test_a_token_is_good_at_either_gateway_until_its_user_signs_out_at_one(pair: Deployment) -> None:
    first, second = pair.gateways
    token = log_in(pair, first, "yinglian")
    for gateway in pair.gateways:
        assert deployment.succeeded(pair.at(gateway, "user/info", token))["data"]["username"] == "yinglian"
    deployment.succeeded(pair.at(second, "user/logout", token))
    assert [pair.at(gateway, "user/info", token).status_code for gateway in pair.gateways] == [401, 401]


def test_the_requests_of_a_user_count_together_whichever_gateway_takes_them(pair: Deployment) -> None:
    token = log_in(pair, pair.gateways[0], "zhenshi")
    statuses = [
        pair.at(gateway, "user/info", token).status_code for _ in range(USER_LIMIT) for gateway in pair.gateways
    ]
    assert statuses == [200] * USER_LIMIT + [429] * USER_LIMIT
