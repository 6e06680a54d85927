from typing import Any

import orjson
import pytest
import responses

from route_api.dify import Dify
from route_api.errors import DifyAuthFailed, DifyNotFound

from .recordings import DIFY, body_of, load, play, sent

BASE = "/console/api/datasets/ds"


@pytest.fixture
def console_dify(dify: Dify, mock_dify: responses.RequestsMock, version: str) -> Dify:
    """A client whose next console call logs in first."""
    dify.transport.dify_version = version
    play(mock_dify, version, "auth/login")
    return dify


CALLS: list[tuple[str, str, tuple[Any, ...], str, str]] = [
    (
        "list_documents",
        "documents/console-list-fetch-true",
        ("ds", 1, 3),
        "GET",
        f"{BASE}/documents?page=1&limit=3&fetch=true",
    ),
    (
        "upload_limits",
        "documents/console-upload-limits",
        (),
        "GET",
        "/console/api/files/upload",
    ),
    (
        "switch_segments",
        "segments/console-disable-two",
        ("ds", "doc", "disable", ["s1", "s2"]),
        "PATCH",
        f"{BASE}/documents/doc/segment/disable?segment_id=s1&segment_id=s2",
    ),
    (
        "set_default_model",
        "models/console-default-post",
        ("llm", "langgenius/ollama/ollama", "mistral:latest"),
        "POST",
        "/console/api/workspaces/current/default-model",
    ),
]


@pytest.mark.parametrize("call, case, arguments, method, path", CALLS)
def test_a_call_sends_what_was_recorded_to_work(
    console_dify: Dify,
    mock_dify: responses.RequestsMock,
    version: str,
    call: str,
    case: str,
    arguments: tuple[Any, ...],
    method: str,
    path: str,
) -> None:
    play(mock_dify, version, case, path=path)
    result = getattr(console_dify.console, call)(*arguments)
    assert result == (orjson.loads(body_of(load(version, case))) if method == "GET" else None)
    request = mock_dify.calls[-1].request
    assert (request.method, request.url) == (method, DIFY + path)
    recorded_body = load(version, case)["request"]["body"]
    assert sent(mock_dify) == recorded_body
    signed = "Authorization" if version == "1.8.1" else "X-CSRF-Token"
    assert signed in request.headers


def test_an_expired_session_is_refreshed_and_the_call_sent_again(
    console_dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    path = "/console/api/files/upload"
    play(mock_dify, version, "auth/expired-token", path=path)
    play(mock_dify, version, "auth/refresh")
    play(mock_dify, version, "documents/console-upload-limits", path=path)
    assert console_dify.console.upload_limits()["file_size_limit"]


def test_a_call_that_is_refused_twice_is_not_sent_a_third_time(
    console_dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    path = "/console/api/files/upload"
    play(mock_dify, version, "auth/expired-token", path=path)
    play(mock_dify, version, "auth/refresh")
    play(mock_dify, version, "auth/expired-token", path=path)
    with pytest.raises(DifyAuthFailed, match="DIFY_CONSOLE_EMAIL"):
        console_dify.console.upload_limits()


def test_an_unknown_document_is_not_found(console_dify: Dify, mock_dify: responses.RequestsMock, version: str) -> None:
    play(
        mock_dify,
        version,
        "segments/console-unknown-document",
        path=f"{BASE}/documents/doc/segment/enable?segment_id=s",
    )
    with pytest.raises(DifyNotFound):
        console_dify.console.switch_segments("ds", "doc", "enable", ["s"])
