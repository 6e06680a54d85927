"""Proxies and passwords of the environment: nothing of the gateway goes to a server that no setting names."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.loopback import Loopback, loopback
from ..support.patience import PATIENCE_S
from ..support.running_gateway import PROJECT_DIR, Gateway

MODEL_LINES = b'data: {"choices":[{"delta":{"content":"hello"}}]}\n\ndata: [DONE]\n\n'


def say_hello(connection: socket.socket, _request: bytes) -> None:
    """An OpenAI-compatible server."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {len(MODEL_LINES)}\r\n\r\n"
    connection.sendall(head.encode() + MODEL_LINES)


def be_a_proxy(connection: socket.socket, _request: bytes) -> None:
    connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A proxy that all variables name, and a .netrc with a password for each server. It records what it gets."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login lin password from-the-netrc\n")
    netrc.chmod(0o600)
    with loopback(be_a_proxy) as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, server.url)
            monkeypatch.setenv(name.lower(), server.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NETRC", str(netrc))
        yield server


def test_a_proxy_of_the_environment_gets_nothing(proxy: Loopback, tmp_path: Path) -> None:
    with loopback(say_hello) as model:
        settings = {"SANDBOX_LLM_URL": f"{model.url}/v1", "SANDBOX_LLM_MODEL": "m"}
        gateway = Gateway(tmp_path, WORKERS="1", **settings)
        gateway.start()
        try:
            kb_id = gateway.create_kb("代理")
            batch = gateway.upload(kb_id, PROJECT_DIR / "docs" / "examples" / "hulumiao.txt")["batch"]
            gateway.wait_until_indexed(kb_id, batch)
            answer = gateway.post("conversation/completion_db", user_id="lin", kb_id=kb_id, message="葫芦庙？")["data"]
            assert "hello" in str(answer) and gateway.get("readyz")["code"] == 0
            check = [sys.executable, "-m", "flask", "--app", "wsgi", "dify", "check", "--json"]
            address = f"http://127.0.0.1:{gateway.sandbox_port}"
            environment = {**os.environ, "DIFY_BASE_URL": address, "DATABASE_URL": gateway.database_url}
            checked = subprocess.run(
                check, cwd=PROJECT_DIR, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
            )
            assert address in checked.stdout, checked.stderr
        finally:
            gateway.stop()
        assert model.requests and not [request for request in model.requests if b"uthorization" in request]
    assert proxy.requests == [] and proxy.connections == 0
