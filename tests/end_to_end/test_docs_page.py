"""`/docs` in a real Chromium without access to the internet: the page opens, and its 'Try it out' works."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from ..support.browser import FLAGS
from ..support.deployment import program
from ..support.running_gateway import PROJECT_DIR, Gateway

pytestmark = pytest.mark.server

CHINESE_TEXT = PROJECT_DIR / "docs" / "examples" / "hulumiao.txt"


@pytest.fixture(scope="session")
def worker_class() -> str:
    """The page is the same whatever class of worker sends it."""
    return "gevent"


@pytest.fixture(scope="module")
def chromium() -> str:
    return program("chromium")


@pytest.fixture
def page(chromium: str, tmp_path: Path) -> Iterator[Page]:
    """An empty page in a new browser. Errors in its console, and requests to other hosts, fail the test."""
    complaints: list[str] = []
    addresses: set[str] = set()
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path / "profile"), executable_path=chromium, headless=True, args=FLAGS
        )
        page = context.pages[0]
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: addresses.add(request.url.split("/")[2].split(":")[0]))
        yield page
        context.close()
    assert complaints == []
    assert addresses == {"127.0.0.1"}


def open_docs(page: Page, gateway: Gateway, prefix: str = "/v1") -> None:
    page.goto(f"http://127.0.0.1:{gateway.port}{prefix}/docs")
    expect(page.locator(".opblock").first).to_be_visible()


def try_out(page: Page, operation: str) -> None:
    page.locator(f"#operations-{operation} .opblock-summary-control").click()
    page.locator(f"#operations-{operation} .try-out__btn").click()


def answer_to(page: Page, operation: str) -> dict:
    """The answer of the server to the operation that is tried out."""
    with page.expect_response(lambda answer: answer.request.resource_type == "fetch") as answered:
        page.locator(f"#operations-{operation} .execute").click()
    expect(page.locator(f"#operations-{operation} .live-responses-table .response")).to_be_visible()
    return answered.value.json()


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_the_page_shows_every_operation_with_the_network_cut(page: Page, gateway: Gateway, prefix: str) -> None:
    open_docs(page, gateway, prefix)
    document = gateway.http.get(f"http://127.0.0.1:{gateway.port}/openapi.json", timeout=10).json()
    verbs = ("get", "post", "patch", "delete")
    operations = [verb for methods in document["paths"].values() for verb in methods if verb in verbs]
    expect(page.locator(".opblock")).to_have_count(len(operations))
    expect(page.locator(".info .title")).to_contain_text("Route API")


def test_a_kb_is_made_and_a_file_uploaded_by_try_it_out(page: Page, gateway: Gateway) -> None:
    open_docs(page, gateway)
    try_out(page, "kb-create_kb_post")
    body = page.locator("#operations-kb-create_kb_post textarea")
    expect(body).to_have_value('{\n  "name": "testApi"\n}')
    body.fill('{"name": "在浏览器里建的知识库"}')
    kb_id = answer_to(page, "kb-create_kb_post")["data"]["kb_id"]

    upload = "document-upload_documents_post"
    try_out(page, upload)
    page.locator(f"#operations-{upload} [data-property-name='kb_id'] input").first.fill(kb_id)
    page.locator(f"#operations-{upload} input[type=file]").set_input_files(CHINESE_TEXT)
    uploaded = answer_to(page, upload)
    assert (uploaded["code"], uploaded["data"][0]["name"]) == (0, "hulumiao.txt"), uploaded
    gateway.wait_until_indexed(kb_id, uploaded["data"][0]["batch"])
    gateway.post("kb/rm", kb_id=kb_id)


def test_authorize_sends_what_was_entered_as_a_bearer_and_forgets_it_with_the_page(
    page: Page, gateway: Gateway
) -> None:
    open_docs(page, gateway)
    page.locator(".auth-wrapper .authorize").click()
    page.locator(".modal-ux input").fill("a-key-that-somebody-typed")
    page.locator(".modal-ux .authorize[type=submit]").click()
    page.locator(".modal-ux .btn-done").click()
    try_out(page, "prompt-list_prompts_get")
    with page.expect_request("**/v1/prompt/list") as asked:
        answer_to(page, "prompt-list_prompts_get")
    assert asked.value.headers["authorization"] == "Bearer a-key-that-somebody-typed"
    assert page.evaluate("Object.keys(localStorage).length + document.cookie.length") == 0
