"""Files that Dify cuts short, through a gateway with each class of worker: no caller takes a part for the whole."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from ..support.loopback import Loopback, answer, loopback, reset
from ..support.patience import PATIENCE_S
from ..support.running_gateway import Gateway

IDS = {"kb_id": "e0b33974-287c-42cf-bf85-9aa09fa9ae59", "document_id": "48bc77c2-b5c5-4115-98e6-8ed9834f1d52"}
SIZE = 3_000_000
HALF = b"x" * (SIZE // 2)
START = b"x" * 1000


class CutDify:
    """A Dify whose files end too early, in the way that the test sets."""

    def __init__(self) -> None:
        self.framing = "length"
        self.sent = b""
        self.resets = False
        self.may_end = threading.Event()
        """A reset also discards what has arrived and was not read yet, so it may have to wait for the reader."""

    def __call__(self, connection: socket.socket, request: bytes) -> None:
        if b" /v1/datasets/" in request:
            body = b'{"name":"a.txt","size":%d,"url":"/files/f","download_url":"/files/f"}' % SIZE
            connection.sendall(answer(body, headers="X-Version: 1.8.1\r\n"))
            return
        head = f"Content-Length: {SIZE}" if self.framing == "length" else "Transfer-Encoding: chunked"
        connection.sendall(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode())
        if self.framing == "length":
            connection.sendall(self.sent)
        elif self.sent:
            connection.sendall(b"%x\r\n%s\r\n" % (len(self.sent), self.sent))
        self.may_end.wait(PATIENCE_S)
        if self.resets:
            reset(connection)
        connection.close()


DIFY = CutDify()


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with loopback(DIFY) as dify:
        yield dify


@pytest.fixture(scope="module")
def gateway(worker_class: str, server: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    keys = {"DIFY_BASE_URL": server.url, "DIFY_DATASET_API_KEY": "dataset-secret", "DIFY_APP_API_KEY": "app-secret"}
    settings = {**keys, "AUTH": "open", "WORKERS": "1", "WORKER_CLASS": worker_class}
    running = Gateway(tmp_path_factory.mktemp("downloads"), **settings)
    running.start()
    yield running
    running.stop()


@pytest.fixture(params=["length", "chunked"])
def framing(request: pytest.FixtureRequest) -> None:
    DIFY.framing = request.param


@pytest.fixture(params=[False, True], ids=["closed", "reset"])
def ending(request: pytest.FixtureRequest) -> None:
    DIFY.resets = request.param
    DIFY.may_end.set()


@pytest.mark.parametrize("sent", [b"", START])
def test_a_file_that_is_cut_before_a_byte_has_left_gets_the_envelope(
    gateway: Gateway, framing: None, ending: None, sent: bytes
) -> None:
    DIFY.sent = sent
    refused = gateway.http.post(f"{gateway.base}/document/download", json=IDS, timeout=PATIENCE_S)
    assert (refused.status_code, refused.json()["error"]) == (502, "dify_unreachable")
    assert refused.json()["request_id"]
    assert gateway.http.get(f"{gateway.base}/healthz", timeout=PATIENCE_S).ok


def test_a_file_that_is_cut_later_ends_in_a_broken_connection(gateway: Gateway, framing: None, ending: None) -> None:
    DIFY.sent = HALF
    DIFY.may_end.clear()
    with gateway.http.post(f"{gateway.base}/document/download", json=IDS, stream=True, timeout=PATIENCE_S) as download:
        assert download.status_code == 200
        received = 0
        with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)):
            for piece in download.iter_content(1000):
                received += len(piece)
                DIFY.may_end.set()
    assert received <= len(HALF)
    assert "the download of a file broke off" in gateway.log_path.read_text()


@pytest.mark.parametrize("sent", [b"", START, HALF])
def test_a_file_that_is_cut_is_not_saved(gateway: Gateway, framing: None, ending: None, sent: bytes) -> None:
    DIFY.sent = sent
    refused = gateway.http.get(f"{gateway.base}/document/get", params=IDS, timeout=PATIENCE_S)
    assert (refused.status_code, refused.json()["error"]) == (502, "dify_unreachable")
    assert not [path for path in Path(gateway.data_dir / "downloads").rglob("*") if path.is_file()]


def test_a_whole_file_still_comes_and_is_saved_in_its_own_folder(gateway: Gateway) -> None:
    DIFY.framing, DIFY.sent, DIFY.resets = "length", HALF * 2, False
    download = gateway.http.post(f"{gateway.base}/document/download", json=IDS, timeout=PATIENCE_S)
    assert download.content == HALF * 2
    paths = set()
    for kb_id in (IDS["kb_id"], IDS["document_id"]):  # Two kbs with a file of the same name.
        saved = gateway.get("document/get", **{**IDS, "kb_id": kb_id})["data"]["file_path"]
        assert Path(saved).read_bytes() == HALF * 2
        paths.add(saved)
    assert len(paths) == 2
