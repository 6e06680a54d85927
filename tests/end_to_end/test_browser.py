"""A frontend of another origin, in a real Chromium. It logs in and streams an answer through nginx, token by token."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, Page, expect

from ..support import deployment
from ..support.browser import QuietHandler, browser_context
from ..support.deployment import Deployment, deploy

sandbox = deployment.sandbox
pytestmark = pytest.mark.server

FRONTEND = """<!DOCTYPE html><meta charset="utf-8"><title>A frontend</title><p id="answer"></p><script>
async function call(base, path, body, token) {
    const headers = {"Content-Type": "application/json", ...(token && {Authorization: `Bearer ${token}`})};
    return fetch(`${base}/${path}`, {method: "POST", headers, body: JSON.stringify(body)});
}
async function logIn(base, username, password) {
    return (await (await call(base, "user/login", {username, password})).json()).data.token;
}
async function ask(base, token, message) {
    const answer = await call(base, "conversation/completion", {message, streaming: true, think: "drop"}, token);
    const requestId = answer.headers.get("X-Request-Id");
    const seen = {status: answer.status, requestId, times: [], text: "", last: null};
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = "", piece; !(piece = await reader.read()).done; ) {
        seen.times.push(performance.now());
        const blocks = (rest + piece.value).split("\\n\\n");
        rest = blocks.pop();
        for (const block of blocks.filter(block => block.startsWith("data: "))) {
            const event = JSON.parse(block.slice(6));
            if (event.data === true) return seen;
            seen.last = event.data;
            if (!("content" in event.data)) seen.text += event.data.answer;
            document.getElementById("answer").textContent = seen.text;
        }
    }
    throw new Error("the stream broke off");
}
</script>"""


@pytest.fixture(scope="session")
def worker_class() -> str:
    """A browser gets the same from each class of worker."""
    return "gevent"


@pytest.fixture(scope="module")
def frontend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The origin of another website."""
    folder = tmp_path_factory.mktemp("frontend")
    (folder / "index.html").write_text(FRONTEND, encoding="utf-8")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def site(
    worker_class: str, sandbox: deployment.Sandbox, frontend: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """A gateway behind nginx that allows the frontend's origin."""
    folder = tmp_path_factory.mktemp("site")
    settings = {"WORKER_CLASS": worker_class, "CORS_ORIGINS": frontend, "SECRET_KEY": "signs-every-token"}
    settings["RATE_LIMIT"] = "1200"  # The default. The console page has more files than the tests' usual limit.
    database = {"DATABASE_URL": f"sqlite:///{folder / 'gateway.sqlite3'}"}
    for running in deploy(folder, 1, {**sandbox.settings, **settings, **database}):
        running.post("user/register", username="yinglian", password="a long sentence")
        yield running


@pytest.fixture
def page(browser: Browser, frontend: str) -> Iterator[Page]:
    with browser_context(browser, ignore_https_errors=True) as context:
        page = context.new_page()
        page.goto(frontend)
        yield page


def test_a_user_logs_in_and_an_answer_arrives_token_by_token(page: Page, site: Deployment) -> None:
    token = page.evaluate("base => logIn(base, 'yinglian', 'a long sentence')", site.base)
    question = "葫芦庙在哪里？[[len:60]][[delay:50]]"
    seen = page.evaluate("([base, token, question]) => ask(base, token, question)", [site.base, token, question])
    assert (seen["status"], seen["last"]["answer"]) == (200, seen["text"])
    assert len(seen["times"]) > 20 and seen["times"][-1] - seen["times"][0] > 1000, "it came in one lump"
    assert page.locator("#answer").text_content() == seen["text"] != ""
    assert seen["requestId"]


def test_the_console_page_works_behind_nginx_for_a_user_who_logs_in(page: Page, site: Deployment) -> None:
    page.goto(site.base.removesuffix("/v1"))
    page.locator(".error button").first.click()
    page.get_by_label("User name").fill("yinglian")
    page.get_by_label("Password").fill("a long sentence")
    page.get_by_label("Password").press("Enter")
    expect(page.get_by_text("Begin with a knowledge base")).to_be_visible()
    page.get_by_role("link", name="Status").click()
    expect(page.get_by_text("does not pass them on")).to_be_visible()
    expect(page.get_by_text("Only operators see this").first).to_be_visible()


def test_a_frontend_that_is_not_named_gets_nothing(page: Page, site: Deployment) -> None:
    page.goto(page.url.replace("127.0.0.1", "localhost"))
    failed = page.evaluate("base => logIn(base, 'yinglian', 'a long sentence').catch(error => error.name)", site.base)
    assert failed == "TypeError"
