"""The console page and `/docs` behind an nginx that puts a path before ours, as docs/deployment.md shows it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from ..support.console_page import Console, console_page
from ..support.deployment import Process, program
from ..support.running_gateway import PROJECT_DIR, Gateway, answers, free_port

pytestmark = pytest.mark.server

PREFIX = "/some/prefix/"


class NginxWithPrefix(Process):
    """An nginx with the location of docs/deployment.md, for one gateway."""

    def __init__(self, folder: Path, gateway: Gateway) -> None:
        self.port = free_port()
        guide = (PROJECT_DIR / "docs" / "deployment.md").read_text(encoding="utf-8")
        found = re.search(r"```nginx\n(location .*?)```", guide, re.S)
        assert found is not None
        location = found[1].replace("/some/prefix/", PREFIX).replace("route_api", f"127.0.0.1:{gateway.port}")
        temporary = "\n".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(f"""
            daemon off; worker_processes 1; pid nginx.pid; events {{}}
            http {{ {temporary} access_log off; server {{ listen 127.0.0.1:{self.port}; {location} }} }}
        """)
        command = [program("setpriv"), "--pdeathsig", "TERM", program("nginx"), "-p", str(folder), "-c", "nginx.conf"]
        super().__init__("nginx-with-prefix", [*command, "-e", "error.log"], folder)

    def is_up(self) -> bool:
        return answers(f"http://127.0.0.1:{self.port}{PREFIX}v1/healthz")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    running = Gateway(tmp_path_factory.mktemp("prefix"), AUTH="open", WORKERS="1")
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def address(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    nginx = NginxWithPrefix(tmp_path_factory.mktemp("nginx"), gateway)
    nginx.start()
    yield f"http://127.0.0.1:{nginx.port}{PREFIX}"
    nginx.stop()


@pytest.fixture
def console(browser: Browser, gateway: Gateway) -> Iterator[Console]:
    with console_page(browser, gateway, credential=None) as console:
        yield console


def test_the_console_page_asks_below_the_prefix(console: Console, address: str) -> None:
    page = console.page
    page.goto(address)
    console.button("新建知识库").click()
    console.field("名称").fill("在前缀之下")
    console.button("创建").click()
    expect(page.locator("h1")).to_have_text("在前缀之下")
    page.goto(f"{address}#/chat")
    expect(console.ask("你好").locator(".badge")).to_have_text("已完成")
    console.button("显示 curl 和 JavaScript 代码").click()
    expect(page.locator("dialog pre").first).to_contain_text(f"{address}v1/conversation/")


@pytest.mark.parametrize("page_path", ["docs/", "v1/docs"])
def test_docs_tries_endpoints_out_below_the_prefix(console: Console, address: str, page_path: str) -> None:
    page = console.page
    page.goto(address + page_path)
    operation = page.locator("#operations-prompt-prompt_list_get")
    operation.locator(".opblock-summary-control").click()
    operation.locator(".try-out__btn").click()
    with page.expect_response("**/prompt/list") as answered:
        operation.locator(".execute").click()
    assert (answered.value.url, answered.value.status) == (f"{address}v1/prompt/list", 200)
    page.locator("#create-sample").click()
    expect(page.locator("#remove-sample")).to_be_visible()
    page.locator("#remove-sample").click()
    expect(page.locator("#create-sample")).to_be_visible()
