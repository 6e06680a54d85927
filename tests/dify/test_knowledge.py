import io
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from typing import IO, Any, cast

import orjson
import pytest
import responses

from route_api.dify import Dify
from route_api.dify.credentials import ServiceKey
from route_api.dify.error_answers import STILL_INDEXING
from route_api.dify.knowledge import KnowledgeApi
from route_api.dify.retries import INDEXING_PAUSES
from route_api.errors import DifyAuthFailed, DifyNotFound, DifyRejected, ValidationFailed

from ..support.dify_client import dify_client
from ..support.loopback import answer, loopback
from ..support.patience import PATIENCE_S
from ..support.recordings import DIFY, body_of, load, play, sent
from ..support.running_gateway import wait_for

DATASET, DOCUMENT, SEGMENT = "ds", "doc", "seg"
BASE = f"/v1/datasets/{DATASET}"
CHINESE_NAME = "红楼梦 第一回.txt"


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def knowledge(dify: Dify, pauses: list[float]) -> KnowledgeApi:
    """The API with a sleep that only remembers for how long it was asked to."""
    return KnowledgeApi(dify.transport, ServiceKey("dataset-secret", "X"), upload_timeout=5, sleep=pauses.append)


CALLS: list[tuple[str, str, tuple[Any, ...], str, str, dict | None]] = [
    # method, arguments, recording, path and body expected
    (
        "list_datasets",
        "datasets/list-keyword",
        (2, 5, "知"),
        "GET",
        "/v1/datasets?page=2&limit=5&keyword=%E7%9F%A5",
        None,
    ),
    ("list_datasets", "datasets/list-default", (1, 20), "GET", "/v1/datasets?page=1&limit=20", None),
    ("get_dataset", "datasets/get-detail", (DATASET,), "GET", BASE, None),
    ("create_dataset", "datasets/create-name-only", ({"name": "x"},), "POST", "/v1/datasets", {"name": "x"}),
    ("update_dataset", "datasets/patch-permission", (DATASET, {"a": 1}), "PATCH", BASE, {"a": 1}),
    (
        "retrieve",
        "retrieve/no-retrieval-model",
        (DATASET, "q"),
        "POST",
        f"{BASE}/retrieve",
        {"query": "q"},
    ),
    (
        "retrieve",
        "retrieve/semantic",
        (DATASET, "q", {"top_k": 3}),
        "POST",
        f"{BASE}/retrieve",
        {"query": "q", "retrieval_model": {"top_k": 3}},
    ),
    (
        "list_documents",
        "documents/list-default",
        (DATASET, 1, 20),
        "GET",
        f"{BASE}/documents?page=1&limit=20",
        None,
    ),
    ("get_document", "documents/get-one", (DATASET, DOCUMENT), "GET", f"{BASE}/documents/{DOCUMENT}", None),
    (
        "indexing_status",
        "documents/indexing-status-completed",
        (DATASET, "2026"),
        "GET",
        f"{BASE}/documents/2026/indexing-status",
        None,
    ),
    (
        "list_segments",
        "segments/list-status-completed",
        (DATASET, DOCUMENT, 1, 100, None, "completed"),
        "GET",
        f"{BASE}/documents/{DOCUMENT}/segments?page=1&limit=100&status=completed",
        None,
    ),
    (
        "update_segment",
        "segments/update-disable",
        (DATASET, DOCUMENT, SEGMENT, {"enabled": False}),
        "POST",
        f"{BASE}/documents/{DOCUMENT}/segments/{SEGMENT}",
        {"segment": {"enabled": False}},
    ),
    (
        "list_models",
        "models/list-llm",
        ("llm",),
        "GET",
        "/v1/workspaces/current/models/model-types/llm",
        None,
    ),
]

CALLS_WITHOUT_ANSWER: list[tuple[str, str, tuple[Any, ...], str, str, dict | None]] = [
    ("delete_dataset", "datasets/delete", (DATASET,), "DELETE", BASE, None),
    (
        "delete_document",
        "documents/delete",
        (DATASET, DOCUMENT),
        "DELETE",
        f"{BASE}/documents/{DOCUMENT}",
        None,
    ),
    (
        "enable_built_in_metadata",
        "metadata/built-in-enable",
        (DATASET,),
        "POST",
        f"{BASE}/metadata/built-in/enable",
        None,
    ),
    (
        "set_document_status",
        "documents/status-enable",
        (DATASET, "enable", [DOCUMENT]),
        "PATCH",
        f"{BASE}/documents/status/enable",
        {"document_ids": [DOCUMENT]},
    ),
]


@pytest.mark.parametrize("call, case, arguments, method, path, body", CALLS + CALLS_WITHOUT_ANSWER)
def test_a_call_sends_what_was_recorded_to_work_and_returns_what_dify_answered(
    knowledge: KnowledgeApi,
    mock_dify: responses.RequestsMock,
    version: str,
    call: str,
    case: str,
    arguments: tuple[Any, ...],
    method: str,
    path: str,
    body: dict | None,
) -> None:
    play(mock_dify, version, case, path=path)
    expected = (
        None if (call, case) in {c[:2] for c in CALLS_WITHOUT_ANSWER} else orjson.loads(body_of(load(version, case)))
    )
    assert getattr(knowledge, call)(*arguments) == expected
    request = mock_dify.calls[0].request
    assert (request.method, request.url) == (method, DIFY + path)
    assert request.headers["Authorization"] == "Bearer dataset-secret"
    assert sent(mock_dify) == body


def test_an_unknown_dataset_is_not_found_in_both_versions(
    knowledge: KnowledgeApi, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "documents/delete-unknown-dataset", path=f"{BASE}/documents/{DOCUMENT}")
    with pytest.raises(DifyNotFound):
        knowledge.delete_document(DATASET, DOCUMENT)


TOO_SOON = "documents/status-disable-right-after-enable"
STATUS_PATH = f"{BASE}/documents/status/disable"


def test_a_switch_that_comes_too_soon_is_tried_again(
    knowledge: KnowledgeApi, pauses: list[float], mock_dify: responses.RequestsMock, version: str
) -> None:
    for case in (TOO_SOON, TOO_SOON, "documents/status-disable"):
        play(mock_dify, version, case, path=STATUS_PATH)
    knowledge.set_document_status(DATASET, "disable", [DOCUMENT])
    assert pauses == [0.5, 1.0]


def test_a_switch_is_given_up_after_a_few_seconds(
    knowledge: KnowledgeApi, pauses: list[float], mock_dify: responses.RequestsMock, version: str
) -> None:
    for _ in range(len(INDEXING_PAUSES) + 1):
        play(mock_dify, version, TOO_SOON, path=STATUS_PATH)
    with pytest.raises(DifyRejected) as caught:
        knowledge.set_document_status(DATASET, "disable", [DOCUMENT])
    assert caught.value.message == STILL_INDEXING and caught.value.dify_code == "invalid_action"
    assert tuple(pauses) == INDEXING_PAUSES


def test_after_another_error_a_switch_is_not_tried_again(
    knowledge: KnowledgeApi, pauses: list[float], mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "documents/status-disable-waiting", path=STATUS_PATH)
    with pytest.raises(DifyRejected, match="is not completed"):
        knowledge.set_document_status(DATASET, "disable", [DOCUMENT])
    assert pauses == []


def test_a_segment_that_is_being_indexed_is_waited_for(
    knowledge: KnowledgeApi, pauses: list[float], mock_dify: responses.RequestsMock
) -> None:
    path = f"{BASE}/documents/{DOCUMENT}/segments/{SEGMENT}"
    play(mock_dify, "1.8.1", "segments/update-content-of-disabled", path=path)
    play(mock_dify, "1.8.1", "segments/update-enable", path=path)
    assert knowledge.update_segment(DATASET, DOCUMENT, SEGMENT, {"enabled": True})["data"]["enabled"] is True
    assert pauses == [0.5]


class Zeros(io.RawIOBase):
    """A file of zeros that is not in memory."""

    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, size: int = -1) -> bytes:
        count = self.left if size < 0 else min(size, self.left)
        self.left -= count
        return bytes(count)


def created(version: str) -> bytes:
    return answer(
        body_of(load(version, "documents/create-by-file-txt-chinese-name")),
        headers=f"X-Version: {version}\r\n",
    )


def test_an_upload_is_a_form_with_its_length_the_file_under_its_chinese_name_and_the_data(
    version: str,
) -> None:
    rules = {"segmentation": {"separator": "。", "max_tokens": 200}}
    with loopback(lambda connection, request: connection.sendall(created(version))) as server:
        document = dify_client(server.url).knowledge.create_document_by_file(
            DATASET,
            CHINESE_NAME,
            "text/plain",
            io.BytesIO("葫芦庙".encode() + b"not part of it"),
            9,
            {"indexing_technique": "economy", "process_rule": {"mode": "custom", "rules": rules}},
        )
    assert document["document"]["name"] == CHINESE_NAME
    asked_version, upload = server.requests
    head, _, body = upload.partition(b"\r\n\r\n")
    assert asked_version.startswith(b"GET /v1/ ")
    assert head.startswith(b"POST /v1/datasets/ds/document/create-by-file HTTP/1.1")
    assert b"Content-Length: %d" % len(body) in head and b"chunked" not in head.lower()
    assert f'name="file"; filename="{CHINESE_NAME}"\r\nContent-Type: text/plain\r\n\r\n葫芦庙\r\n--'.encode() in body
    data = orjson.loads(body.partition(b'name="data"\r\n\r\n')[2].partition(b"\r\n--")[0])
    separator = "。" if version == "1.8.1" else r"\u3002"
    assert data["process_rule"]["rules"]["segmentation"]["separator"] == separator


def test_an_upload_of_100_mb_takes_constant_memory() -> None:
    size = 100 * 1024 * 1024
    received: list[int] = []

    def swallow(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            buffer = bytearray(1024 * 1024)
            head = connection.recv(2048)
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            count = len(head.partition(b"\r\n\r\n")[2])
            while count < length:
                count += connection.recv_into(buffer)
            received.append(count)
            connection.sendall(created("1.8.1"))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=swallow, args=(listener,), daemon=True)
        thread.start()
        dify = dify_client(f"http://127.0.0.1:{listener.getsockname()[1]}")
        dify.transport.dify_version = "1.8.1"
        tracemalloc.start()
        try:
            file = cast(IO[bytes], Zeros(size))
            dify.knowledge.create_document_by_file(DATASET, "zeros.txt", "text/plain", file, size, {})
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        thread.join(PATIENCE_S)
    assert received[0] > size
    assert peak < 5 * 1024 * 1024


def test_a_file_shorter_than_announced_ends_the_upload() -> None:
    with loopback(lambda connection, request: None) as server:
        dify = dify_client(server.url)
        dify.transport.dify_version = "1.8.1"
        with pytest.raises(EOFError):
            dify.knowledge.create_document_by_file(DATASET, "x.txt", "text/plain", io.BytesIO(b"abc"), 10, {})


FORM_TYPE = "multipart/form-data; boundary=xyz"


@pytest.mark.parametrize(
    "case",
    [
        "documents/create-by-file-txt-chinese-name",
        "documents/create-by-file-bad-extension",
        "documents/create-by-file-unknown-dataset",
    ],
)
def test_a_raw_upload_gets_difys_own_answer_unchanged(
    knowledge: KnowledgeApi, mock_dify: responses.RequestsMock, version: str, case: str
) -> None:
    play(mock_dify, version, case, path=f"{BASE}/document/create-by-file")
    raw = knowledge.create_document_raw(DATASET, "a.txt", FORM_TYPE, iter([b"--xyz--"]))
    recorded = load(version, case)
    assert (raw.status, raw.body) == (recorded["response"]["status"], body_of(recorded))
    assert raw.content_type == "application/json"
    assert mock_dify.calls[0].request.headers["Content-Type"] == FORM_TYPE


def test_a_raw_upload_passes_the_form_on_byte_by_byte() -> None:
    pieces = [b"--xyz\r\nanything\xff\x00", b"--xyz--"]
    with loopback(lambda connection, request: connection.sendall(created("1.8.1"))) as server:
        dify_client(server.url).knowledge.create_document_raw(DATASET, "a.txt", FORM_TYPE, iter(pieces))
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert body == b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])
    assert b"boundary=xyz" in head


def test_dify_gets_no_end_of_a_raw_upload_that_breaks_off() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half a form"
        raise ValidationFailed("the rest did not come")

    with loopback(lambda connection, request: connection.sendall(created("1.8.1"))) as server:
        with pytest.raises(ValidationFailed):
            dify_client(server.url).knowledge.create_document_raw(DATASET, "a.txt", FORM_TYPE, pieces())
        wait_for(lambda: server.connections == 1)
    assert server.requests == []  # It has only those that came to their end.


def test_a_raw_upload_of_unknown_length_is_sent_in_chunks(
    knowledge: KnowledgeApi, mock_dify: responses.RequestsMock
) -> None:
    play(
        mock_dify,
        "1.8.1",
        "documents/create-by-file-chunked-transfer",
        path=f"{BASE}/document/create-by-file",
    )
    knowledge.create_document_raw(DATASET, "a.txt", FORM_TYPE, iter([b"--xyz--"]))
    assert "Content-Length" not in mock_dify.calls[0].request.headers


def test_our_refused_key_is_not_passed_to_the_sender_of_a_raw_upload(
    knowledge: KnowledgeApi, mock_dify: responses.RequestsMock, version: str
) -> None:
    mock_dify.post(
        f"{DIFY}{BASE}/document/create-by-file",
        body=body_of(load(version, "datasets/list-wrong-key")),
        status=401,
    )
    with pytest.raises(DifyAuthFailed):
        knowledge.create_document_raw(DATASET, "a.txt", FORM_TYPE, iter([b"--xyz--"]))
