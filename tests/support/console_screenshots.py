"""Pictures of each view of the console page, in light and dark, and on a phone: `make screenshots`, docs/console.

They are taken from a gateway of their own with its sandbox, on which this program first does what a person would do.
"""

import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, expect

from .browser import chromium
from .console_page import DESKTOP, KEY, PHONE, QUESTION, STORY, Console, console_page
from .running_gateway import PROJECT_DIR, Gateway

FOLDER = PROJECT_DIR / "docs" / "console"
COLOURS = 256
"""A picture of a page has few colours. With so many it is a third as large, and looks the same."""

KBS = {
    "红楼梦": "第一回，节选",
    "产品手册 2026": "售后与安装",
    "Onboarding": "For new colleagues: laptops, accounts, holidays",
    "合同模板": "",
    "Java 编码规范": "后端团队",
}
TEXTS = {
    "入职须知.txt": "新同事第一天领取电脑与工牌。\n\n年假为十五天，提前三天申请。\n\n报销在每月二十五日前提交。",
    "Security.md": "# Security\n\nLock your screen.\n\nReport a lost laptop within one hour.",
    "scan.txt": "  \n",
}
VIEWS = {
    "knowledge-bases": "",
    "documents": "#/kbs/{kb}",
    "chunks": "#/kbs/{kb}/docs/{doc}",
    "settings": "#/kbs/{kb}/settings",
    "search": "#/search?kb={kb}",
    "chat": "#/chat/{conversation}?kb={kb}",
    "status": "#/status",
}
ON_A_PHONE = ("knowledge-bases", "documents", "chat", "status")


def main() -> int:
    """Take the pictures.

    :returns: the exit status
    """
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        gateway = Gateway(Path(folder), AUTH="required", API_KEYS=KEY, WORKERS="1")
        gateway.http.headers["Authorization"] = f"Bearer {KEY}"
        gateway.start()
        try:
            with chromium() as browser:
                ids = prepare(browser, gateway, Path(folder))
                for scheme in ("light", "dark"):
                    with console_page(
                        browser, gateway, locale="en-GB", color_scheme=scheme, viewport=DESKTOP
                    ) as console:
                        for name, address in VIEWS.items():
                            take(console, address.format(**ids), f"{name}-{scheme}")
                with console_page(browser, gateway, viewport=PHONE, device_scale_factor=2, has_touch=True) as console:
                    for name in ON_A_PHONE:
                        take(console, VIEWS[name].format(**ids), f"{name}-phone")
        finally:
            gateway.stop()
    return 0


def prepare(browser: Browser, gateway: Gateway, folder: Path) -> dict[str, str]:
    """Make knowledge bases, documents and conversations.

    :returns: the ids that the addresses of the views need
    """
    for name, description in reversed(KBS.items()):
        made = gateway.post("kb/create", name=name, description=description)
    kb_id = made["data"]["kb_id"]
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    for path in (STORY, *(folder / name for name in TEXTS)):
        uploaded = gateway.upload(kb_id, path, max_tokens="100")
        gateway.wait_until_indexed(kb_id, uploaded["batch"])
        if path == STORY:
            document_id = uploaded["id"]
    with console_page(browser, gateway) as console:
        for question in ("年假有几天？", "笔记本丢了怎么办？", "葫芦庙在什么地方？"):
            console.open(f"#/chat?kb={kb_id}")
            console.ask_and_wait(question)
        console.ask_and_wait(QUESTION)
        console.answers().last.get_by_role("button", name="回答得好").click()
        console.button("提交").click()
        return {"kb": kb_id, "doc": document_id, "conversation": console.conversation_id()}


def take(console: Console, address: str, name: str) -> None:
    """Take the picture of a view when it has loaded."""
    page = console.page
    if "search" in name:
        page.set_viewport_size({**DESKTOP, "height": 1150})
    console.open(address)
    expect(page.locator(".loading")).to_have_count(0)
    if "search" in name:
        console.field("Question").fill(QUESTION)
        console.field("Compare two settings side by side").check()
        console.field("Question").press("Enter")
        expect(page.locator(".histogram")).to_have_count(2)
    if "status" in name:
        for _ in range(12):
            console.gateway.get("kb/list")
            page.wait_for_timeout(500)
    page.wait_for_timeout(700)
    picture = Image.open(BytesIO(page.screenshot(animations="disabled", caret="hide")))
    page.set_viewport_size(PHONE if "phone" in name else DESKTOP)
    picture.convert("RGB").quantize(COLOURS).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    sys.exit(main())
