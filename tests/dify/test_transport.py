import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
import responses

from route_api.dify import Dify, connections
from route_api.dify.credentials import ServiceKey
from route_api.errors import DifyAuthFailed, DifyFailed, DifyNotFound, DifyTimeout, DifyUnreachable
from route_api.monitoring import tracing

from ..support.dify_client import dify_client
from ..support.loopback import OK, OK_BODY, answer, loopback, ok, reset
from ..support.patience import PATIENCE_S
from ..support.recordings import DIFY, load, play


def test_calls_share_a_connection_and_carry_the_key() -> None:
    with loopback(ok) as server:
        dify = dify_client(server.url + "/")
        assert [dify.knowledge.get_dataset("d") for _ in range(3)] == [OK] * 3
        assert server.connections == 1
    assert server.requests[0].startswith(b"GET /v1/datasets/d HTTP/1.1\r\n")
    assert b"Authorization: Bearer dataset-secret\r\n" in server.requests[0]


def test_a_get_on_a_connection_that_dify_reset_is_sent_once_more() -> None:
    def reset_first(connection: socket.socket, request: bytes) -> None:
        ok(connection, request) if len(server.requests) > 1 else reset(connection)

    with loopback(reset_first) as server:
        assert dify_client(server.url).knowledge.get_dataset("d") == OK
        assert len(server.requests) == 2


def test_a_get_is_not_sent_a_third_time() -> None:
    with loopback(lambda connection, request: reset(connection)) as server:
        with pytest.raises(DifyUnreachable):
            dify_client(server.url).knowledge.get_dataset("d")
        assert len(server.requests) == 2


ONCE = [
    ("POST", "/v1/chat-messages"),
    ("POST", "/v1/datasets"),
    ("POST", "/v1/datasets/d/document/create-by-file"),
    ("POST", "/v1/messages/m/feedbacks"),
    ("POST", "/console/api/login"),
    ("POST", "/console/api/apps/a/chat-messages"),
    ("PATCH", "/v1/datasets/d"),
    ("PATCH", "/v1/x"),
    ("POST", "/v1/x/retrieve"),
]
TWICE: dict[str, Callable[[Dify], Any]] = {
    "get": lambda dify: dify.knowledge.get_dataset("d"),
    "retrieve": lambda dify: dify.knowledge.retrieve("d", "x"),
    "enable a document": lambda dify: dify.knowledge.set_document_status("d", "enable", ["doc"]),
    "disable a document": lambda dify: dify.knowledge.set_document_status("d", "disable", ["doc"]),
    "switch a chunk": lambda dify: dify.knowledge.update_segment("d", "doc", "s", {"enabled": True}),
    "delete a document": lambda dify: dify.knowledge.delete_document("d", "doc"),
    "delete a kb": lambda dify: dify.knowledge.delete_dataset("d"),
    "delete a conversation": lambda dify: dify.chat().delete_conversation("c", "u"),
    "stop": lambda dify: dify.chat().stop("t", "u"),
}


@pytest.mark.parametrize("method, path", ONCE)
def test_what_dify_may_have_done_already_is_never_sent_twice(method: str, path: str) -> None:
    with loopback(lambda connection, request: reset(connection)) as server:
        with pytest.raises(DifyUnreachable):
            dify_client(server.url).transport.request(method, path, json={"a": 1})
        assert len(server.requests) == 1


class Closing:
    """A Dify that closes each connection when the second request comes, as its gunicorn does after two idle seconds.

    The first three requests are answered together, so that there are three connections.
    """

    def __init__(self) -> None:
        self._served: set[int] = set()
        self._number = count()
        self._begin = threading.Barrier(3)

    def __call__(self, connection: socket.socket, request: bytes) -> None:
        if connection.fileno() in self._served:
            self._served.discard(connection.fileno())
            connection.close()
        else:
            self._served.add(connection.fileno())
            if next(self._number) < 3:
                self._begin.wait(PATIENCE_S)
            ok(connection, request)


@pytest.mark.parametrize("name", TWICE)
@pytest.mark.parametrize("prefix", ["", "/below/a/path"])
def test_what_may_be_done_twice_is_repeated_on_a_new_connection(name: str, prefix: str) -> None:
    with loopback(Closing()) as server:
        dify = dify_client(server.url + prefix)
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(lambda _: dify.knowledge.get_dataset("d"), range(3)))
        before = len(server.requests), server.connections
        assert before == (3, 3)
        TWICE[name](dify)
        assert (len(server.requests) - before[0], server.connections - before[1]) == (2, 1)


def test_a_console_switch_is_repeated() -> None:
    def send(connection: socket.socket, request: bytes) -> None:
        switches = [request for request in server.requests if request.startswith(b"PATCH")]
        if len(switches) == 1:
            return reset(connection)
        connection.sendall(answer(b'{"data":{"access_token":"a","refresh_token":"r"}}', headers="X-Version: 1.8.1\r\n"))

    with loopback(send) as server:
        dify = dify_client(server.url, console_email="a@b.c", console_password="Secret123")
        dify.console.switch_segments("d", "doc", "enable", ["s"])
        assert [request.split(b" ")[0] for request in server.requests].count(b"PATCH") == 2


def test_a_connection_that_cannot_be_made_is_not_tried_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[Any] = []

    def refuse(*address: Any, **options: Any) -> None:
        tries.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr("urllib3.util.connection.create_connection", refuse)
    with pytest.raises(DifyUnreachable):
        dify_client("http://127.0.0.1:1").knowledge.get_dataset("d")
    assert len(tries) == 1


@pytest.mark.parametrize("deletes", [lambda k: k.delete_dataset("d"), lambda k: k.delete_document("d", "doc")])
def test_a_deletion_that_was_done_before_the_connection_broke_is_a_success(deletes: Callable[[Any], None]) -> None:
    gone = answer(b'{"code":"not_found","message":"Dataset not found.","status":404}', "404 NOT FOUND")

    def delete_and_break(connection: socket.socket, request: bytes) -> None:
        reset(connection) if len(server.requests) == 1 else connection.sendall(gone)

    with loopback(delete_and_break) as server:
        knowledge = dify_client(server.url).knowledge
        deletes(knowledge)
        assert len(server.requests) == 2
        with pytest.raises(DifyNotFound):
            deletes(knowledge)


def test_what_cannot_be_repeated_takes_no_connection_that_dify_may_be_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert connections.MAX_IDLE_S == 1.5  # Dify's gunicorn closes after 2.0 s.
    now = [100.0]
    monkeypatch.setattr(connections, "monotonic", lambda: now[0])
    with loopback(ok) as server:
        dify = dify_client(server.url)
        dify.knowledge.get_dataset("d")
        dify.knowledge.create_dataset({"name": "x"})
        assert server.connections == 1
        now[0] += 1.6
        dify.knowledge.retrieve("d", "x")
        assert server.connections == 1
        now[0] += 1.6
        dify.knowledge.create_dataset({"name": "x"})
        dify.knowledge.create_dataset({"name": "x"})
        assert server.connections == 2


def test_a_slow_get_times_out_and_is_not_sent_again() -> None:
    with loopback(lambda connection, request: connection.recv(1)) as server:
        with pytest.raises(DifyTimeout):
            dify_client(server.url, read_timeout=0.1).knowledge.get_dataset("d")
        time.sleep(0.1)
        assert len(server.requests) == 1


def test_an_answer_that_breaks_off_is_a_broken_connection() -> None:
    def half(connection: socket.socket, request: bytes) -> None:
        connection.sendall(answer(OK_BODY)[:-3])
        connection.close()

    with loopback(half) as server:
        with pytest.raises(DifyUnreachable):
            dify_client(server.url).knowledge.get_dataset("d")


def test_an_answer_that_stalls_is_a_timeout() -> None:
    def stall(connection: socket.socket, request: bytes) -> None:
        connection.sendall(answer(OK_BODY)[:-3])
        connection.recv(1)

    with loopback(stall) as server:
        with pytest.raises(DifyTimeout):
            dify_client(server.url, read_timeout=0.1).knowledge.get_dataset("d")


def test_what_speaks_no_http_is_unreachable() -> None:
    with loopback(lambda connection, request: connection.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")) as server:
        with pytest.raises(DifyUnreachable):
            dify_client(server.url).knowledge.get_dataset("d")


def test_a_closed_port_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(DifyUnreachable) as caught:
        dify_client(f"http://127.0.0.1:{port}").knowledge.get_dataset("d")
    assert "127.0.0.1" not in caught.value.message


def test_a_redirect_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = answer(b"", "301 Moved", "Location: http://127.0.0.1:1/elsewhere\r\n")
    with loopback(lambda connection, request: connection.sendall(moved)) as server:
        with pytest.raises(DifyFailed, match="DIFY_BASE_URL"):
            dify_client(server.url).knowledge.get_dataset("d")


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with loopback(ok) as server:
        assert dify_client(server.url).knowledge.get_dataset("d") == OK


def test_cookies_are_not_kept() -> None:
    with_cookie = answer(OK_BODY, headers="Set-Cookie: session=1; Path=/\r\n")
    with loopback(lambda connection, request: connection.sendall(with_cookie)) as server:
        dify = dify_client(server.url)
        dify.knowledge.get_dataset("d")
        dify.knowledge.get_dataset("d")
    assert not any(b"cookie" in request.lower() for request in server.requests)


@pytest.mark.parametrize("case", ["datasets/delete", "documents/delete", "chat/conversation-delete"])
def test_both_kinds_of_204_are_a_success_without_content(
    dify: Dify, mock_dify: responses.RequestsMock, version: str, case: str
) -> None:
    play(mock_dify, version, case, path="/v1/x")
    assert dify.transport.request("DELETE", "/v1/x") is None


def test_a_web_page_instead_of_json_tells_the_operator_to_check_the_address(
    dify: Dify, mock_dify: responses.RequestsMock
) -> None:
    mock_dify.get(f"{DIFY}/v1/x", body="<html>the web frontend</html>")
    with pytest.raises(DifyFailed, match="DIFY_BASE_URL"):
        dify.transport.request("GET", "/v1/x")


def test_parameters_are_encoded_and_none_is_left_out(dify: Dify, mock_dify: responses.RequestsMock) -> None:
    mock_dify.get(f"{DIFY}/v1/x", json={})
    dify.transport.request("GET", "/v1/x", params={"page": 1, "keyword": "a&b 知识", "none": None, "id": ["1", "2"]})
    assert mock_dify.calls[0].request.url == (f"{DIFY}/v1/x?page=1&keyword=a%26b+%E7%9F%A5%E8%AF%86&id=1&id=2")


def test_the_version_is_read_from_any_answer(dify: Dify, mock_dify: responses.RequestsMock, version: str) -> None:
    assert dify.transport.dify_version is None
    play(mock_dify, version, "datasets/list-wrong-key")
    with pytest.raises(DifyAuthFailed, match="DIFY_DATASET_API_KEY"):
        dify.knowledge.list_datasets(1, 20)
    assert dify.transport.server_version() == version


def test_the_version_is_asked_for_without_a_key_if_no_answer_has_told_it(
    dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "general/service-index")
    assert dify.transport.server_version() == version
    assert dify.transport.server_version() == version
    assert len(mock_dify.calls) == 1
    assert "Authorization" not in mock_dify.calls[0].request.headers


def test_a_key_does_not_show_in_its_repr() -> None:
    key = ServiceKey("dataset-secret", "DIFY_DATASET_API_KEY")
    assert "secret" not in repr(key) and "DIFY_DATASET_API_KEY" in repr(key)


def test_lists_come_as_dify_sent_them(dify: Dify, mock_dify: responses.RequestsMock, version: str) -> None:
    play(mock_dify, version, "datasets/list-default")
    assert (
        dify.knowledge.list_datasets(1, 20)["total"]
        == load(version, "datasets/list-default")["response"]["body"]["total"]
    )


@pytest.fixture
def trace() -> Iterator[tracing.Trace]:
    """The trace of a request of ours that is being served."""
    yield tracing.begin("trace-1")
    tracing.end()


def test_every_call_carries_the_id_of_the_request_that_it_serves(trace: tracing.Trace) -> None:
    with loopback(ok) as server:
        dify = dify_client(server.url)
        dify.knowledge.get_dataset("d")
        dify.chat().stream({"query": "x"}).close()
        with pytest.raises(DifyFailed, match="not Dify"):
            dify.transport.ping()
    assert [request.count(b"X-Request-Id: trace-1\r\n") for request in server.requests] == [1, 1, 1]


def test_outside_of_a_request_no_id_is_sent() -> None:
    with loopback(ok) as server:
        dify_client(server.url).knowledge.get_dataset("d")
    assert b"X-Request-Id" not in server.requests[0]


def test_the_trace_has_the_calls_and_the_time_spent_waiting(trace: tracing.Trace) -> None:
    def slow(connection: socket.socket, request: bytes) -> None:
        head, _, body = answer(OK_BODY).partition(b"\r\n\r\n")
        time.sleep(0.1)
        connection.sendall(head + b"\r\n\r\n")
        time.sleep(0.1)
        connection.sendall(body)

    with loopback(slow) as server:
        dify = dify_client(server.url)
        dify.knowledge.get_dataset("d")
        time.sleep(0.1)
        assert trace.dify_calls == 1 and trace.dify_s >= 0.2
        before = trace.dify_s
        with pytest.raises(DifyTimeout):
            dify_client(server.url, read_timeout=0.05).knowledge.get_dataset("d")
    assert trace.dify_calls == 2 and trace.dify_s - before >= 0.05


def test_a_wait_for_the_pieces_of_an_answer_is_time_spent_waiting(trace: tracing.Trace) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(3):
            time.sleep(0.02)
            yield b"x"

    begun = time.monotonic()
    for _ in tracing.timed(pieces()):
        time.sleep(0.05)
    assert 0.06 <= trace.dify_s <= time.monotonic() - begun - 3 * 0.05


def test_a_ping_needs_no_key_and_takes_a_404_for_an_answer() -> None:
    def not_found(connection: socket.socket, request: bytes) -> None:
        connection.sendall(answer(b"<html>", "404 NOT FOUND", "X-Version: 1.12.1\r\n"))

    with loopback(not_found) as server:
        dify = dify_client(server.url)
        dify.transport.ping()
        dify.transport.ping()
        assert server.connections == 1
    assert server.requests[0].startswith(b"GET /v1/ HTTP/1.1\r\n") and b"Authorization" not in server.requests[0]
