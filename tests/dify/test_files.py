import socket

import pytest
import responses

from route_api.dify import Dify
from route_api.errors import ConsoleNotConfigured, DifyFailed, DifyNotFound, DifyUnreachable

from ..support.dify_client import dify_client
from ..support.loopback import loopback
from ..support.recordings import DIFY, body_of, load, play

SERVICE = "/v1/datasets/ds/documents/doc"
CONSOLE = "/console/api/datasets/ds/documents/doc/download"
CONTENT = "第一回".encode()
SIGNED = "/files/f/file-preview?timestamp=1&nonce=2&sign=3"
DISPOSITION = {"Content-Disposition": "attachment; filename*=UTF-8''%E7%BA%A2%E6%A5%BC%E6%A2%A6.txt"}


def play_no_route(mock: responses.RequestsMock, version: str, path: str) -> None:
    """The HTML 404 of a route that this version lacks."""
    page = body_of(load("1.12.1", "documents/upload-file"))
    mock.get(DIFY + path, body=page, status=404, content_type="text/html", headers={"X-Version": version})


def play_file(mock: responses.RequestsMock, url: str) -> None:
    headers = {**DISPOSITION, "Content-Length": str(len(CONTENT))}
    mock.get(url, body=CONTENT, headers=headers, content_type="application/octet-stream")


def paths(mock: responses.RequestsMock) -> list[str]:
    return [call.request.path_url.partition("?")[0] for call in mock.calls]


def test_1_8_1_tells_by_upload_file(dify: Dify, mock_dify: responses.RequestsMock) -> None:
    play_no_route(mock_dify, "1.8.1", f"{SERVICE}/download")
    play(mock_dify, "1.8.1", "documents/upload-file", path=f"{SERVICE}/upload-file")
    found = dify.files.describe("ds", "doc")
    assert (found["name"], found["size"], found["mime_type"]) == ("红楼梦 第一回.txt", 252, "text/plain")
    assert found["download_url"].startswith(f"{DIFY}/files/")


def test_1_12_1_tells_by_the_console_and_the_document(dify: Dify, mock_dify: responses.RequestsMock) -> None:
    play_no_route(mock_dify, "1.12.1", f"{SERVICE}/download")
    play_no_route(mock_dify, "1.12.1", f"{SERVICE}/upload-file")
    play(mock_dify, "1.12.1", "auth/login")
    play(mock_dify, "1.12.1", "documents/console-download", path=CONSOLE)
    play(mock_dify, "1.12.1", "documents/get-one", path=SERVICE)
    found = dify.files.describe("ds", "doc")
    assert set(found) == set(load("1.8.1", "documents/upload-file")["response"]["body"])
    assert (found["name"], found["size"], found["mime_type"]) == ("红楼梦 第一回.txt", 252, "text/plain")
    assert found["download_url"].startswith(f"{DIFY}/files/")
    assert found["download_url"] == found["url"] + "&as_attachment=true"


def test_the_newest_dify_tells_by_its_service_api(dify: Dify, mock_dify: responses.RequestsMock) -> None:
    mock_dify.get(f"{DIFY}{SERVICE}/download", json={"url": SIGNED + "&as_attachment=true"})
    play_file(mock_dify, f"{DIFY}{SIGNED}&as_attachment=true")
    file = dify.files.open_file(dify.files.locate("ds", "doc"))
    assert (file.name, file.size, file.mime_type) == ("红楼梦.txt", len(CONTENT), "text/plain")
    assert b"".join(file.chunks()) == CONTENT
    file.close()


def test_the_way_that_worked_is_remembered(dify: Dify, mock_dify: responses.RequestsMock) -> None:
    play_no_route(mock_dify, "1.8.1", f"{SERVICE}/download")
    play(mock_dify, "1.8.1", "documents/upload-file", path=f"{SERVICE}/upload-file")
    play(mock_dify, "1.8.1", "documents/upload-file", path=f"{SERVICE}/upload-file")
    dify.files.describe("ds", "doc")
    dify.files.describe("ds", "doc")
    assert paths(mock_dify) == [f"{SERVICE}/download", f"{SERVICE}/upload-file", f"{SERVICE}/upload-file"]


def test_after_an_upgrade_of_dify_another_way_is_found(dify: Dify, mock_dify: responses.RequestsMock) -> None:
    play_no_route(mock_dify, "1.8.1", f"{SERVICE}/download")
    play(mock_dify, "1.8.1", "documents/upload-file", path=f"{SERVICE}/upload-file")
    dify.files.describe("ds", "doc")
    play_no_route(mock_dify, "1.14.0", f"{SERVICE}/upload-file")
    mock_dify.get(f"{DIFY}{SERVICE}/download", json={"url": SIGNED})
    play_file(mock_dify, DIFY + SIGNED)
    assert dify.files.open_file(dify.files.locate("ds", "doc")).name == "红楼梦.txt"


def test_an_unknown_document_is_not_taken_for_an_unknown_route(dify: Dify, mock_dify: responses.RequestsMock) -> None:
    play(mock_dify, "1.12.1", "documents/console-download-unknown-document", path=f"{SERVICE}/download")
    with pytest.raises(DifyNotFound, match="Document not found."):
        dify.files.describe("ds", "doc")
    assert len(mock_dify.calls) == 1


def test_without_a_console_login_1_12_1_has_no_route(mock_dify: responses.RequestsMock) -> None:
    play_no_route(mock_dify, "1.12.1", f"{SERVICE}/download")
    play_no_route(mock_dify, "1.12.1", f"{SERVICE}/upload-file")
    with pytest.raises(ConsoleNotConfigured):
        dify_client(DIFY).files.locate("ds", "doc")


def test_a_dify_that_knows_none_of_the_ways_is_said_to_have_none(dify: Dify, mock_dify: responses.RequestsMock) -> None:
    play_no_route(mock_dify, "9.0.0", f"{SERVICE}/download")
    play_no_route(mock_dify, "9.0.0", f"{SERVICE}/upload-file")
    play(mock_dify, "1.12.1", "auth/login")
    play_no_route(mock_dify, "9.0.0", CONSOLE)
    with pytest.raises(DifyFailed, match="does not hand out"):
        dify.files.locate("ds", "doc")


def play_address(mock: responses.RequestsMock, url: str) -> None:
    mock.get(f"{DIFY}{SERVICE}/download", json={"url": url})


@pytest.mark.parametrize(
    "url",
    [
        "http://elsewhere.test/files/f",
        "https://dify.test/files/f",
        "http://dify.test:8080/files/f",
        "http://dify.test@elsewhere.test/files/f",
        "http://dify.test.elsewhere.test/files/f",
        "//elsewhere.test/files/f",
        "file:///etc/passwd",
        "http://dify.test:port/",
        "",
    ],
)
def test_an_address_on_another_host_is_refused(dify: Dify, mock_dify: responses.RequestsMock, url: str) -> None:
    play_address(mock_dify, url)
    with pytest.raises(DifyFailed, match="DIFY_FILES_URL"):
        dify.files.open_file(dify.files.locate("ds", "doc"))
    assert len(mock_dify.calls) == 1


def test_an_address_on_the_configured_files_url_is_fetched(mock_dify: responses.RequestsMock) -> None:
    url = "https://files.test/files/f?sign=3"
    play_address(mock_dify, url)
    play_file(mock_dify, url)
    dify = dify_client(DIFY, files_url="https://files.test:443")
    assert b"".join(dify.files.open_file(dify.files.locate("ds", "doc")).chunks()) == CONTENT


def test_a_described_file_can_be_opened(dify: Dify, mock_dify: responses.RequestsMock, version: str) -> None:
    play_address(mock_dify, SIGNED + "&as_attachment=true")
    play(mock_dify, version, "documents/get-one", path=SERVICE)
    play_file(mock_dify, f"{DIFY}{SIGNED}&as_attachment=true")
    assert b"".join(dify.files.open_file(dify.files.describe("ds", "doc")).chunks()) == CONTENT


def test_no_key_goes_with_the_download_itself(dify: Dify, mock_dify: responses.RequestsMock) -> None:
    play_address(mock_dify, SIGNED)
    play_file(mock_dify, DIFY + SIGNED)
    dify.files.open_file(dify.files.locate("ds", "doc")).close()
    assert not {"Authorization", "Cookie"} & set(mock_dify.calls[1].request.headers)


def test_an_expired_address_is_an_error_and_no_file(
    dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    play_address(mock_dify, SIGNED)
    play(mock_dify, version, "documents/download-expired", path=SIGNED)
    with pytest.raises(DifyNotFound):
        dify.files.open_file(dify.files.locate("ds", "doc"))


def test_a_download_that_breaks_off_is_an_error() -> None:
    def send(connection: socket.socket, request: bytes) -> None:
        if b"/download" in request:
            body = b'{"url":"/files/f"}'
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            connection.close()

    with loopback(send) as server:
        files = dify_client(server.url).files
        file = files.open_file(files.locate("ds", "doc"))
        assert (file.name, file.size) == (None, 100)
        with pytest.raises(DifyUnreachable):
            list(file.chunks())
