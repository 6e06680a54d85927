"""`/docs` in a real Chromium without access to the internet: the page opens, and its 'Try it out' works."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from ..support.browser import browser_context
from ..support.patience import PATIENCE_S
from ..support.running_gateway import PROJECT_DIR, Gateway

pytestmark = pytest.mark.server

CHINESE_TEXT = PROJECT_DIR / "docs" / "examples" / "hulumiao.txt"


@pytest.fixture(scope="session")
def worker_class() -> str:
    """The page is the same whatever class of worker sends it."""
    return "gevent"


@pytest.fixture
def complaints() -> list[str]:
    """What the browser writes into its console as errors."""
    return []


@pytest.fixture
def page(browser: Browser, complaints: list[str]) -> Iterator[Page]:
    """An empty page without anything stored. Errors in its console, and requests to other hosts, fail the test."""
    addresses: set[str] = set()
    with browser_context(browser) as context:
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: addresses.add(request.url.split("/")[2].split(":")[0]))
        yield page
    assert complaints == []
    assert addresses == {"127.0.0.1"}


def open_docs(page: Page, gateway: Gateway, prefix: str = "/v1") -> None:
    page.goto(f"http://127.0.0.1:{gateway.port}{prefix}/docs")
    expect(page.locator(".opblock").first).to_be_visible()


def try_out(page: Page, operation: str) -> None:
    page.locator(f"#operations-{operation} .opblock-summary-control").click()
    page.locator(f"#operations-{operation} .try-out__btn").click()


def answer_to(page: Page, operation: str) -> Any:
    """The answer of the server to the operation that is tried out; None for a file."""
    with page.expect_response(lambda answer: answer.request.resource_type == "fetch") as answered:
        page.locator(f"#operations-{operation} .execute").click()
    expect(page.locator(f"#operations-{operation} .live-responses-table .response")).to_be_visible()
    is_json = answered.value.headers["content-type"].startswith("application/json")
    return answered.value.json() if is_json else None


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_the_page_shows_every_endpoint_once_with_the_network_cut(page: Page, gateway: Gateway, prefix: str) -> None:
    open_docs(page, gateway, prefix)
    document = gateway.http.get(f"http://127.0.0.1:{gateway.port}/openapi.json", timeout=PATIENCE_S).json()
    expect(page.locator(".opblock")).to_have_count(len(document["paths"]) - 1)  # One has two spellings.
    expect(page.locator(".info .title")).to_contain_text("Route API")


def test_a_kb_is_made_and_a_file_uploaded_by_try_it_out(page: Page, gateway: Gateway) -> None:
    open_docs(page, gateway)
    try_out(page, "kb-kb_create")
    body = page.locator("#operations-kb-kb_create textarea")
    expect(body).to_have_value('{\n  "name": "testApi"\n}')
    body.fill('{"name": "在浏览器里建的知识库"}')
    kb_id = answer_to(page, "kb-kb_create")["data"]["kb_id"]

    upload = "document-document_upload"
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
    try_out(page, "prompt-prompt_list_get")
    with page.expect_request("**/v1/prompt/list") as asked:
        answer_to(page, "prompt-prompt_list_get")
    assert asked.value.headers["authorization"] == "Bearer a-key-that-somebody-typed"
    assert page.evaluate("Object.keys(localStorage).length + document.cookie.length") == 0


RUN_AS_THEY_STAND = [
    "kb-kb_create",
    "document-document_upload",
    "document-document_download_get",
    "document-document_status_get",
    "chunk-chunk_retrieval_test_get",
    "conversation-completion_db",
    "conversation-conversation_messages_get",
    "message-message_feedback",
    "chunk-chunk_switch",
    "datasets-datasets_documents_segment_action",
    "document-document_rm",
]


def test_the_examples_run_as_they_stand_with_sample_data_and_are_empty_without(page: Page, gateway: Gateway) -> None:
    open_docs(page, gateway)
    try_out(page, "kb-kb_rm")
    expect(page.locator("#operations-kb-kb_rm textarea")).to_have_value('{\n  "kb_id": ""\n}')
    page.locator("#create-sample").click()
    expect(page.locator("#remove-sample")).to_be_visible()
    for operation in RUN_AS_THEY_STAND:
        try_out(page, operation)
        for file in page.locator(f"#operations-{operation} input[type=file]").all():
            file.set_input_files(CHINESE_TEXT)
        answer = answer_to(page, operation)
        if operation == "document-document_download_get":
            expect(page.locator(f"#operations-{operation} .response .response-col_status").first).to_have_text("200")
            continue
        assert answer["code"] == 0, (operation, answer)
        if operation == "conversation-completion_db":
            assert answer["rag_info"]["references"][0]["doc_name"] == "葫芦庙.txt"
    page.locator("#remove-sample").click()
    expect(page.locator("#create-sample")).to_be_visible()
    kbs = gateway.post("kb/list")["data"]["kbs"]
    assert [kb["name"] for kb in kbs if kb["name"].startswith("docs-")] == []


def test_sample_data_that_the_reader_has_deleted_can_be_made_again(
    page: Page, gateway: Gateway, complaints: list[str]
) -> None:
    open_docs(page, gateway)
    page.locator("#create-sample").click()
    expect(page.locator("#remove-sample")).to_be_visible()
    try_out(page, "kb-kb_rm")
    assert answer_to(page, "kb-kb_rm")["code"] == 0
    page.locator("#remove-sample").click()
    expect(page.locator("#create-sample")).to_be_visible()
    assert len(complaints) == 1 and "404" in complaints.pop()  # The kb is not found.


def test_errors_are_folded(page: Page, gateway: Gateway) -> None:
    open_docs(page, gateway)
    operation = page.locator("#operations-kb-kb_detail_get")
    operation.locator(".opblock-summary-control").click()
    expect(operation.locator("summary")).to_contain_text("Errors: 400, 401")
    expect(operation.get_by_text("kb_not_found")).to_be_hidden()
    operation.locator("summary").click()
    expect(operation.get_by_text("kb_not_found")).to_be_visible()


def test_the_page_is_in_the_language_of_the_browser_and_has_a_switch(page: Page, gateway: Gateway) -> None:
    page.set_extra_http_headers({"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"})
    open_docs(page, gateway)
    operation = page.locator("#operations-kb-kb_create")
    expect(operation).to_contain_text("创建知识库。")
    operation.locator(".opblock-summary-control").click()
    expect(operation.locator(".try-out__btn")).to_have_text("试用")
    expect(operation).not_to_contain_text("Request body")
    page.get_by_role("link", name="English").click()
    expect(page.locator("#operations-kb-kb_create")).to_contain_text("Create a knowledge base.")
    expect(page.locator("#create-sample")).to_have_text("Create sample data")


def test_the_page_opens_where_the_browser_forbids_storage(page: Page, gateway: Gateway) -> None:
    page.add_init_script("""Object.defineProperty(window, "sessionStorage", {
        get() { throw new DOMException("denied", "SecurityError"); }});""")
    open_docs(page, gateway)
    page.locator("#create-sample").click()
    expect(page.locator("#remove-sample")).to_be_visible()
    page.locator("#remove-sample").click()
    expect(page.locator("#create-sample")).to_be_visible()
