"""The sandbox as the process that `make serve` runs: real sockets on loopback, a real SIGTERM."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from config import Config
from route_api.sandbox.gateway_settings import prepare_gateway_settings
from route_api.serve import start_sandbox, wait_until_listening

from ..support.embedding_server import FakeEmbeddingServer
from ..support.hostile_files import endless_pdf
from ..support.patience import PATIENCE_S
from ..support.running_gateway import free_port, wait_for
from ..support.sandbox_knowledge import RULE


@dataclass
class Server:
    """A running sandbox."""

    process: subprocess.Popen[bytes]
    url: str
    session: requests.Session


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A sandbox process that answers."""
    yield from serve(tmp_path)


def serve(tmp_path: Path) -> Iterator[Server]:
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
        process.wait(timeout=PATIENCE_S)


def wait_until_it_answers(session: requests.Session, url: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            assert session.get(f"{url}/health", timeout=PATIENCE_S).json()["version"] == "1.12.1"
            return
        except requests.ConnectionError:
            time.sleep(0.05)
    raise AssertionError("the sandbox does not answer")


def test_a_chunked_upload_is_indexed_and_found_through_real_sockets(server: Server) -> None:
    answer = server.session.post(
        f"{server.url}/v1/datasets", json={"name": "a", "indexing_technique": "high_quality"}, timeout=PATIENCE_S
    )
    path = f"{server.url}/v1/datasets/{answer.json()['id']}"

    def body() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="data"\r\n\r\n'
        yield json.dumps({"process_rule": RULE}).encode()
        yield '\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="葫芦.txt"\r\n\r\n'.encode()
        yield from ("葫芦庙在仁清巷。".encode(), b"\r\n--b--\r\n")

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    uploaded = server.session.post(f"{path}/document/create-by-file", data=body(), headers=headers, timeout=PATIENCE_S)
    assert uploaded.status_code == 200, uploaded.text
    deadline = time.monotonic() + PATIENCE_S
    found: list[dict[str, object]] = []
    while not found and time.monotonic() < deadline:
        found = (
            server.session.post(f"{path}/retrieve", json={"query": "葫芦庙在哪里"}, timeout=PATIENCE_S)
            .json()
            .get("records", [])
        )
    assert [record["segment"]["document"]["name"] for record in found] == ["葫芦.txt"]  # type: ignore[index]


def upload_endless_pdf(server: Server) -> str:
    """Upload a hostile file, and return the path of its document."""
    answer = server.session.post(
        f"{server.url}/v1/datasets", json={"name": "a", "indexing_technique": "high_quality"}, timeout=PATIENCE_S
    )
    path = f"{server.url}/v1/datasets/{answer.json()['id']}"
    form = {"data": json.dumps({"process_rule": RULE})}
    files = {"file": ("a.pdf", endless_pdf())}
    uploaded = server.session.post(f"{path}/document/create-by-file", data=form, files=files, timeout=PATIENCE_S)
    return f"{path}/documents/{uploaded.json()['document']['id']}"


def readers_of(server: Server) -> list[int]:
    """The processes in which the sandbox reads files."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            worker = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            master = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        if b"text.preparation" in command and master == server.process.pid:
            found.append(int(process.name))
    return found


def is_running(process: int) -> bool:
    """Whether a process runs. A zombie has no command line."""
    try:
        return bool(Path(f"/proc/{process}/cmdline").read_bytes())
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="the test looks into /proc")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_file_that_is_read_when_the_sandbox_ends_is_read_again_at_the_next_start(
    server: Server, tmp_path: Path, how: signal.Signals
) -> None:
    document = upload_endless_pdf(server)
    wait_for(lambda: bool(readers_of(server)))
    (reader,) = readers_of(server)
    worker = int(Path(f"/proc/{reader}/stat").read_text().rpartition(")")[2].split()[1])
    for process in (server.process.pid, worker) if how == signal.SIGKILL else (server.process.pid,):
        os.kill(process, how)
    server.process.wait(timeout=PATIENCE_S)
    wait_for(lambda: not is_running(reader))
    for again in serve(tmp_path):
        address = document.replace(server.url, again.url)
        wait_for(lambda: again.session.get(address, timeout=PATIENCE_S).json()["indexing_status"] == "parsing")
        wait_for(lambda: bool(readers_of(again)))


def test_sigterm_ends_it_promptly_though_a_connection_is_open(server: Server) -> None:
    server.session.get(f"{server.url}/health", timeout=PATIENCE_S)
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=PATIENCE_S) == 0
    assert time.monotonic() - began < 20, "gunicorn would wait 30 seconds for it"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com"])
def test_it_refuses_to_serve_other_machines(host: str) -> None:
    command = [sys.executable, "-m", "route_api.sandbox", "--host", host]
    result = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, env=os.environ, check=False)
    assert result.returncode == 2
    assert b"no loopback address" in result.stderr


def test_it_refuses_a_model_for_vectors_that_it_cannot_have(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "route_api.sandbox", "--data-dir", str(tmp_path), "--embedding-model", "bge-m3"]
    result = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False)
    assert result.returncode == 2
    assert b"SANDBOX_EMBEDDING_MODEL is bge-m3: without SANDBOX_EMBEDDING_URL" in result.stderr


def test_make_serve_hands_the_settings_of_the_embedding_server_over(tmp_path: Path) -> None:
    fake = FakeEmbeddingServer()
    config = Config(
        SANDBOX_DATA_DIR=tmp_path,
        SANDBOX_EMBEDDING_URL=fake.url,
        SANDBOX_EMBEDDING_MODEL="bge-m3",
        SANDBOX_EMBEDDING_KEY="secret",
    )
    process, settings = start_sandbox(config)
    try:
        wait_until_listening(process, settings["DIFY_BASE_URL"])
        session = requests.Session()
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {settings['DIFY_DATASET_API_KEY']}"
        datasets = f"{settings['DIFY_BASE_URL']}/v1/datasets"
        body = {"name": "a", "indexing_technique": "high_quality"}
        path = f"{datasets}/{session.post(datasets, json=body, timeout=PATIENCE_S).json()['id']}"
        document = {"name": "a", "text": "年假十天。", "indexing_technique": "high_quality", "process_rule": RULE}
        session.post(f"{path}/document/create-by-text", json=document, timeout=PATIENCE_S)
        wait_for(lambda: len(fake.received) == 1)
        assert fake.received[0]["input"] == ["年假十天。"]
        assert fake.keys == ["Bearer secret"]
        assert "secret" not in process.args, "other users can read the arguments"
    finally:
        process.kill()
        process.wait(timeout=PATIENCE_S)
        fake.stop()
