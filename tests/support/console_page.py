"""The console page in a real Chromium: one browser, and a page for each test that watches what must not happen."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Locator, Page, expect

from .browser import browser_context
from .databases import absent
from .running_gateway import PROJECT_DIR, Gateway

Json = dict[str, Any]

AXE = PROJECT_DIR / "clients" / "javascript" / "node_modules" / "axe-core" / "axe.min.js"
KEY = "the-service-key-of-the-console-page"
STORY = PROJECT_DIR / "docs" / "examples" / "hulumiao.txt"
QUESTION = "霍启把英莲放在哪里了？"
HEADINGS = {"zh-CN": "知识库", "en-GB": "Knowledge bases"}
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}

START = """
sessionStorage.setItem("route-api.credential", sessionStorage.getItem("route-api.credential") ?? CREDENTIAL);
window.clicks = 0;
addEventListener("click", (event) => { if (event.isTrusted && event.detail) window.clicks++; }, true);
"""
"""Runs before the page's own scripts: the key is there as if it had been entered, and clicks of a mouse are counted."""


class Console:
    """The page, as a person with a service key sees it."""

    def __init__(self, page: Page, gateway: Gateway) -> None:
        self.page = page
        self.gateway = gateway

    def open(self, address: str = "") -> None:
        self.page.goto(f"http://127.0.0.1:{self.gateway.port}/{address}")
        expect(self.page.locator("h1")).to_have_count(1)

    def button(self, name: str | re.Pattern[str]) -> Locator:
        """The button, in the open dialog if there is one."""
        scope = self.page.locator("dialog[open], body:not(:has(dialog[open]))").last
        return scope.get_by_role("button", name=name, exact=isinstance(name, str)).first

    def field(self, label: str) -> Locator:
        return self.page.get_by_label(label, exact=True)

    def answers(self) -> Locator:
        return self.page.locator(".message.answer")

    def ask(self, question: str) -> Locator:
        """Send a question. The locator is its answer."""
        count = self.answers().count()
        field = self.page.locator(".composer textarea")
        field.fill(question)
        field.press("Enter")
        return self.answers().nth(count)

    def ask_and_wait(self, question: str) -> Locator:
        answer = self.ask(question)
        expect(answer).to_have_attribute("aria-busy", "false")
        return answer

    def conversation_id(self) -> str:
        found = re.search(r"#/chat/([0-9a-f-]{36})", self.page.url)
        assert found, self.page.url
        return found[1]

    def axe(self) -> list[str]:
        """What axe-core finds on the screen that is serious: the rule, and the elements."""
        if not AXE.exists():
            absent("axe-core is not installed; `make client-tools` does it, given npm")
        if not self.page.evaluate("typeof axe === 'object'"):
            self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found = self.page.evaluate("axe.run({resultTypes: ['violations']})")
        return [
            f"{each['id']}: {[node['html'][:160] for node in each['nodes'][:3]]}"
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
        ]

    def overflow(self) -> int:
        """By how many pixels the page is wider than the screen."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@contextmanager
def console_page(
    browser: Browser, gateway: Gateway, *, locale: str = "zh-CN", credential: str | None = KEY, **options: Any
) -> Iterator[Console]:
    """A page of its own, without anything stored. Errors in its scripts, violations of its Content-Security-Policy,
    dialogs of scripts, and requests to other hosts fail the test."""
    complaints: list[str] = []
    addresses: set[str] = set()
    stored = "null" if credential is None else f'\'{{"token": "{credential}", "name": ""}}\''
    with browser_context(browser, locale=locale, **{"viewport": DESKTOP, **options}) as context:
        context.add_init_script(START.replace("CREDENTIAL", stored))
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: addresses.add(urlsplit(request.url).hostname or request.url.split(":")[0]))
        page.on("dialog", lambda shown: complaints.append(f"a script has shown: {shown.message}"))
        yield Console(page, gateway)
    # The browser itself says so of each answer with an error status.
    assert [text for text in complaints if not text.startswith("Failed to load resource")] == []
    assert addresses <= {"127.0.0.1", "blob"}, addresses


@contextmanager
def silent_sandbox(gateway: Gateway) -> Iterator[None]:
    """Meanwhile the sandbox, which is the gateway's Dify, accepts connections and answers nothing."""
    processes = _sandbox_processes(gateway)
    assert processes
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def _sandbox_processes(gateway: Gateway) -> list[int]:
    wanted = f"--port\0{gateway.sandbox_port}\0".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"route_api.sandbox" in command and wanted in command:
            found.append(int(folder.name))
    return found
