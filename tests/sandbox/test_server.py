"""The sandbox as the process that `make serve` runs: real sockets on loopback, a real SIGTERM."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from route_api.sandbox.gateway_settings import prepare_gateway_settings

from ..support.sandbox_knowledge import RULE


@dataclass
class Server:
    """A running sandbox."""

    process: subprocess.Popen[bytes]
    url: str
    session: requests.Session


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A sandbox process that answers."""
    credentials = prepare_gateway_settings(tmp_path / "data")
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "route_api.sandbox",
        "--port",
        str(port),
        "--data-dir",
        str(tmp_path / "data"),
        "--parent-pid",
        str(os.getpid()),
    ]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    session = requests.Session()
    session.trust_env = False
    session.headers["Authorization"] = f"Bearer {credentials['DIFY_DATASET_API_KEY']}"
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_it_answers(session, url)
        yield Server(process, url, session)
    finally:
        process.kill()
        process.wait(timeout=10)


def wait_until_it_answers(session: requests.Session, url: str) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        try:
            assert session.get(f"{url}/health", timeout=5).json()["version"] == "1.12.1"
            return
        except requests.ConnectionError:
            time.sleep(0.05)
    raise AssertionError("the sandbox does not answer")


def test_a_chunked_upload_is_indexed_and_found_through_real_sockets(server: Server) -> None:
    answer = server.session.post(
        f"{server.url}/v1/datasets", json={"name": "a", "indexing_technique": "high_quality"}, timeout=10
    )
    path = f"{server.url}/v1/datasets/{answer.json()['id']}"

    def body() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="data"\r\n\r\n'
        yield json.dumps({"process_rule": RULE}).encode()
        yield '\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="葫芦.txt"\r\n\r\n'.encode()
        yield from ("葫芦庙在仁清巷。".encode(), b"\r\n--b--\r\n")

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    uploaded = server.session.post(f"{path}/document/create-by-file", data=body(), headers=headers, timeout=10)
    assert uploaded.status_code == 200, uploaded.text
    deadline = time.monotonic() + 10
    found: list[dict[str, object]] = []
    while not found and time.monotonic() < deadline:
        found = (
            server.session.post(f"{path}/retrieve", json={"query": "葫芦庙在哪里"}, timeout=10)
            .json()
            .get("records", [])
        )
    assert [record["segment"]["document"]["name"] for record in found] == ["葫芦.txt"]  # type: ignore[index]


def test_sigterm_ends_it_promptly_though_a_connection_is_open(server: Server) -> None:
    server.session.get(f"{server.url}/health", timeout=5)
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=10) == 0
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com"])
def test_it_refuses_to_serve_other_machines(host: str) -> None:
    command = [sys.executable, "-m", "route_api.sandbox", "--host", host]
    result = subprocess.run(command, capture_output=True, timeout=20, env=os.environ, check=False)
    assert result.returncode == 2
    assert b"no loopback address" in result.stderr
