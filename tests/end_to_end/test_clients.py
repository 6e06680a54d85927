"""Clients of the API play the same story: our own in Node and in Chromium, its examples, and two that generators make
from the OpenAPI document. All are type-checked."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from ..support.browser import QuietHandler, browser_context
from ..support.client_types import CLIENT, PROGRAMS, TYPES, client_types, require_client_tools
from ..support.deployment import program
from ..support.patience import PATIENCE_S
from ..support.running_gateway import PROJECT_DIR, Gateway, wait_for

pytestmark = pytest.mark.server

STORIES = Path(__file__).parent / "clients"
KEY = "a-service-key-of-the-clients"
ADDRESS = 'baseUrl: "http://127.0.0.1:8000/v1"'
NOTE_ANSWERS = """() => {
    window.seen = [];
    const note = () => seen.push(document.getElementById("answer").textContent);
    new MutationObserver(note).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


@pytest.fixture(scope="session")
def worker_class() -> str:
    """The clients get the same from each class of worker."""
    return "gevent"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a website with our client. A test adds its page."""
    folder = tmp_path_factory.mktemp("website")
    for path in (CLIENT.relative_to(PROJECT_DIR), STORIES.relative_to(PROJECT_DIR)):
        (folder / path.parent).mkdir(parents=True)
        (folder / path).symlink_to(PROJECT_DIR / path)
    return folder


@pytest.fixture(scope="module")
def website(folder: Path) -> Iterator[str]:
    """The origin of that website, which is not the gateway's."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def locked(worker_class: str, website: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with its sandbox that asks for a key, and lets the pages of the website read its answers."""
    settings = {"AUTH": "required", "API_KEYS": KEY, "SECRET_KEY": "signs-every-token", "CORS_ORIGINS": website}
    gateway = Gateway(tmp_path_factory.mktemp("gateway"), WORKER_CLASS=worker_class, WORKERS="1", **settings)
    gateway.start()
    gateway.http.headers["Authorization"] = f"Bearer {KEY}"
    yield gateway
    assert gateway.stop() == 0


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A new page. An error that no script has caught fails the test."""
    errors: list[str] = []
    with browser_context(browser) as context:
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
    assert errors == []


def run(*command: str | Path, **options: Any) -> str:
    """What a program prints. It must succeed.

    :param options: of :func:`subprocess.run`
    """
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=PATIENCE_S, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ------------------------------------------------------------------ our own client


def test_its_types_are_those_of_the_openapi_document() -> None:
    require_client_tools()
    assert client_types() == TYPES.read_text("utf-8"), "`make client-types` writes the file again"


def test_the_client_its_examples_and_its_users_are_type_checked() -> None:
    require_client_tools()
    run(PROGRAMS / "tsc", "--project", CLIENT)


def test_our_client_plays_the_story_in_node(locked: Gateway) -> None:
    script = f'import {{play}} from "{STORIES / "story.js"}"; console.log(await play("{locked.base}", "{KEY}"));'
    assert run(program("node"), "--input-type=module", "--eval", script) == "the end\n"


def test_our_client_reads_streams_that_are_cut_anywhere_and_answers_of_other_servers() -> None:
    assert run(program("node"), STORIES / "odd_answers.js") == "the end\n"


def test_our_client_plays_the_story_in_a_browser_from_another_origin(page: Page, website: str, locked: Gateway) -> None:
    page.goto(website)
    script = "([base, key]) => import('/tests/end_to_end/clients/story.js').then(({play}) => play(base, key))"
    assert page.evaluate(script, [locked.base, KEY]) == "the end"


def test_an_upload_with_progress_of_an_answer_without_a_body(page: Page, website: str) -> None:
    """Something else than Route API may answer an upload with 204: this is an error, not a promise without end."""
    page.goto(website)
    page.route("**/v1/document/upload", lambda route: route.fulfill(status=204))
    script = """async () => {
        const {RouteApi} = await import("/clients/javascript/route-api.js");
        const upload = new RouteApi().documentUpload({kb_id: "k", file: new File(["x"], "x.txt")}, {onProgress() {}});
        return upload.catch(({code, status}) => [code, status]);
    }"""
    assert page.evaluate(script) == ["unexpected_answer", 204]


def test_a_second_question_ends_the_answer_to_the_first(
    page: Page, folder: Path, website: str, locked: Gateway
) -> None:
    source = on_gateway((CLIENT / "examples" / "plain.html").read_text("utf-8"), locked)
    (folder / "twice.html").write_text(source.replace("../route-api.js", "/clients/javascript/route-api.js"), "utf-8")
    page.goto(f"{website}/twice.html")
    page.locator("input").fill("一[[len:4000]][[delay:20]]")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#answer")).not_to_be_empty()
    page.locator("input").fill("二[[len:40]]")
    with page.expect_event("requestfailed"):
        page.get_by_role("button", name="Ask").click()
    wait_for(lambda: status_of_last_answer(locked) == "done")


def on_gateway(source: str, gateway: Gateway) -> str:
    """An example that calls this gateway."""
    assert source.count(ADDRESS) == 1
    return source.replace(ADDRESS, f'baseUrl: "{gateway.base}", token: "{KEY}"')


def test_the_plain_example_streams_and_stops(page: Page, folder: Path, website: str, locked: Gateway) -> None:
    source = on_gateway((CLIENT / "examples" / "plain.html").read_text("utf-8"), locked)
    (folder / "plain.html").write_text(source.replace("../route-api.js", "/clients/javascript/route-api.js"), "utf-8")
    page.goto(f"{website}/plain.html")
    page.locator("input").fill("葫芦庙在哪里？[[len:4000]][[delay:20]]")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#answer")).not_to_be_empty()
    with page.expect_event("requestfailed"):
        page.get_by_role("button", name="Stop").click()
    wait_for(lambda: status_of_last_answer(locked) == "stopped")


def status_of_last_answer(gateway: Gateway) -> str:
    """The status of the last answer in the newest conversation of alice."""
    newest = gateway.get("conversation/list", user_id="alice")["data"]["conversations"][0]
    return str(newest["last_message"]["status"])


def test_the_react_example_streams_with_its_sources(page: Page, folder: Path, website: str, locked: Gateway) -> None:
    require_client_tools()
    source = on_gateway((CLIENT / "examples" / "react.tsx").read_text("utf-8"), locked)
    command = [PROGRAMS / "esbuild", "--bundle", "--loader=tsx", "--jsx=automatic", f"--outfile={folder / 'react.js'}"]
    run(*command, input=source, cwd=str(CLIENT / "examples"))
    (folder / "react.html").write_text('<!DOCTYPE html><div id="root"></div><script src="react.js"></script>', "utf-8")
    (text := folder / "葫芦庙.txt").write_text("葫芦庙在姑苏城阊门外十里街的仁清巷内。", "utf-8")
    kb_id = locked.create_kb("React")
    locked.wait_until_indexed(kb_id, locked.upload(kb_id, text)["batch"])
    page.goto(f"{website}/react.html?kb_id={kb_id}")
    page.locator("input").fill("葫芦庙在哪里？[[len:400]][[delay:20]]")
    page.evaluate(NOTE_ANSWERS)
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("li")).to_have_text(["葫芦庙.txt: 葫芦庙在姑苏城阊门外十里街的仁清巷内。"])
    expect(page.locator("#answer")).to_contain_text("仁清巷内")
    assert page.evaluate("new Set(seen).size") > 5, "the answer came in one piece"
    locked.post("kb/rm", kb_id=kb_id)


# ------------------------------------------------------------------ clients that generators make


@pytest.fixture(scope="module")
def document(locked: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The OpenAPI document, as the gateway serves it."""
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_text(locked.http.get(f"{locked.base}/openapi.json", timeout=PATIENCE_S).text, "utf-8")
    return path


def test_the_client_of_openapi_python_client_plays_the_story(locked: Gateway, document: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("post_hooks: []", "utf-8")
    generator = Path(sys.executable).parent / "openapi-python-client"
    options = ["--meta", "none", "--fail-on-warning", "--config", tmp_path / "config.yaml"]
    run(generator, "generate", "--path", document, "--output-path", tmp_path / "route_api_client", *options)
    story = STORIES / "generated_story.py"
    assert run(sys.executable, story, locked.base, KEY, env={"PYTHONPATH": str(tmp_path)}) == "the end\n"
    checks = ["--strict", "--config-file=", "--cache-dir", tmp_path / "cache"]
    run(sys.executable, "-m", "mypy", *checks, story, tmp_path / "route_api_client", env={"MYPYPATH": str(tmp_path)})


def test_the_types_of_openapi_typescript_play_the_story(locked: Gateway, document: Path, tmp_path: Path) -> None:
    require_client_tools()
    (tmp_path / "node_modules").symlink_to(CLIENT / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}', "utf-8")
    (tmp_path / "generated.ts").write_text((STORIES / "generated.ts").read_text("utf-8"), "utf-8")
    settings = {"extends": str(CLIENT / "tsconfig.json"), "compilerOptions": {"noUncheckedIndexedAccess": True}}
    (tmp_path / "tsconfig.json").write_text(json.dumps({**settings, "include": ["*.ts"]}), "utf-8")
    run(PROGRAMS / "openapi-typescript", document, "--output", tmp_path / "schema.d.ts")
    run(PROGRAMS / "tsc", "--project", tmp_path)
    bundle = ["--bundle", "--platform=node", "--format=esm", f"--outfile={tmp_path / 'story.mjs'}"]
    run(PROGRAMS / "esbuild", tmp_path / "generated.ts", *bundle)
    assert run(program("node"), tmp_path / "story.mjs", locked.base, KEY) == "the end\n"
