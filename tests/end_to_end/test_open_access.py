"""AUTH=open, as `make serve` has it, and a developer's browser: no page of another site gets anything."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from socket import create_connection

import pytest
from playwright.sync_api import Browser, Page

from ..support.browser import FLAGS, QuietHandler, browser_context, chromium
from ..support.patience import PATIENCE_S
from ..support.running_gateway import PROJECT_DIR, Gateway

EVIL = "evil.example"
"""The name of another site. The browser resolves it to this machine, as after DNS rebinding."""


def status_of(gateway: Gateway, *headers: str) -> int:
    """The status of the answer to a GET with these headers."""
    with create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_S) as connection:
        lines = ["GET /v1/kb/list HTTP/1.1", *headers, "Connection: close", "", ""]
        connection.sendall("\r\n".join(lines).encode())
        return int(connection.makefile("rb").readline().split()[1])


def test_requests_for_another_host_and_of_other_sites_are_refused(gateway: Gateway) -> None:
    own = f"Host: 127.0.0.1:{gateway.port}"
    assert status_of(gateway, own) == 200
    assert status_of(gateway, f"Host: {EVIL}:{gateway.port}") == 403
    assert status_of(gateway, own, "Sec-Fetch-Site: cross-site") == 403


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    flags = [flag for flag in FLAGS if "host-resolver" not in flag]
    with chromium([*flags, f"--host-resolver-rules=MAP {EVIL} 127.0.0.1"]) as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser_context(browser) as context:
        yield context.new_page()


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The address of another site's web page."""
    handler = partial(QuietHandler, directory=str(PROJECT_DIR))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{EVIL}:{server.server_port}/README.md"
        server.shutdown()


@pytest.mark.server
def test_a_page_of_another_site_makes_the_gateway_save_no_file(gateway: Gateway, page: Page, elsewhere: str) -> None:
    kb_id = gateway.create_kb("open")
    document = gateway.upload(kb_id, PROJECT_DIR / "docs" / "examples" / "hulumiao.txt")
    query = f"/v1/document/get?kb_id={kb_id}&document_id={document['id']}&download_dir=by-a-page"
    address, saved = f"http://127.0.0.1:{gateway.port}{query}", gateway.data_dir / "downloads" / "by-a-page"

    page.goto(elsewhere)
    page.evaluate("address => fetch(address, {mode: 'no-cors'}).catch(() => 0)", address)
    page.evaluate("address => new Promise(end => {const i = new Image(); i.onerror = end; i.src = address})", address)
    with page.expect_navigation():
        page.evaluate("address => {location.href = address}", address)
    assert "another site" in page.content() and not saved.exists()

    answer = page.goto(address.replace("127.0.0.1", EVIL))
    assert answer is not None and answer.status == 403 and "ALLOWED_HOSTS" in page.content() and not saved.exists()

    page.goto("about:blank")
    page.goto(address)  # As if the developer typed it.
    assert [file.name for file in saved.rglob("*.txt")] == ["hulumiao.txt"], page.content()
