"""The console page at `/` in a real Chromium, on a gateway with an empty sandbox."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Route, expect

from ..support.console_page import (
    HEADINGS,
    KEY,
    PHONE,
    QUESTION,
    STORY,
    Console,
    console_page,
    silent_sandbox,
)
from ..support.patience import PATIENCE_S
from ..support.running_gateway import Gateway

pytestmark = pytest.mark.server

Json = dict[str, Any]

SCRIPT = '<img src=x onerror="alert(1)"><script>alert(2)</script>'


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One gateway for all tests of this page. It gives a silent Dify three seconds."""
    settings = {"AUTH": "required", "API_KEYS": KEY, "DIFY_READ_TIMEOUT": "3", "WORKERS": "1"}
    running = Gateway(tmp_path_factory.mktemp("console"), **settings)
    running.http.headers["Authorization"] = f"Bearer {KEY}"
    running.start()
    yield running
    running.stop()


@pytest.fixture
def console(browser: Browser, gateway: Gateway) -> Iterator[Console]:
    with console_page(browser, gateway) as console:
        yield console


@pytest.fixture(scope="module")
def kb_id(gateway: Gateway) -> str:
    """A knowledge base with one indexed document."""
    kb_id = gateway.create_kb("红楼梦")
    gateway.wait_until_indexed(kb_id, gateway.upload(kb_id, STORY)["batch"])
    return kb_id


def choose_the_story(console: Console) -> None:
    """Answer each file dialog of the page. Call this early: a click right after it may be faster in the browser than
    the request to show no dialog, and without a screen Chromium drops the dialog."""
    console.page.on("filechooser", lambda chooser: chooser.set_files(STORY))


def test_from_an_empty_system_to_an_answer_with_sources_in_six_clicks(console: Console) -> None:
    page = console.page
    choose_the_story(console)
    console.open()
    expect(page.get_by_text("先创建一个知识库")).to_be_visible()
    console.button("新建知识库").click()
    console.field("名称").fill("我的第一个知识库")
    console.button("创建").click()
    console.button("选择文件").click()
    expect(page.get_by_text(re.compile("已索引，[1-9]\\d* 个分段"))).to_be_visible()
    console.button("就此提问").click()
    answer = console.ask_and_wait(QUESTION)
    expect(answer.locator(".answer-text")).to_contain_text("门槛上坐着")
    expect(answer.locator(".thinking")).not_to_have_attribute("open", "")
    answer.locator(".chip").first.click()
    expect(page.locator("dialog blockquote")).to_contain_text("霍启")
    assert page.evaluate("window.clicks") <= 6

    page.get_by_role("link", name="在文档中打开").click()
    expect(page.locator(".chunk.marked .text")).to_contain_text("霍启")
    assert page.evaluate("Object.keys(localStorage).length + document.cookie.length") == 0
    assert f"Open http://127.0.0.1:{console.gateway.port}/ in a browser." in console.gateway.log_path.read_text()


@pytest.mark.parametrize("locale", HEADINGS)
def test_the_page_speaks_the_browsers_language_and_another_by_a_switch(
    browser: Browser, gateway: Gateway, locale: str
) -> None:
    other = "中文" if locale == "en-GB" else "English"
    with console_page(browser, gateway, locale=locale) as console:
        console.open()
        expect(console.page.locator("h1")).to_have_text(HEADINGS[locale])
        with console.page.expect_request("**/kb/list*") as asked:
            console.button(other).click()
        (another,) = HEADINGS.keys() - {locale}
        expect(console.page.locator("h1")).to_have_text(HEADINGS[another])
        assert asked.value.headers["accept-language"] == another
        console.page.reload()
        expect(console.page.locator("h1")).to_have_text(HEADINGS[another])


def test_a_failing_dify_is_told_in_words_with_the_request_id_and_nothing_typed_is_lost(
    console: Console, gateway: Gateway
) -> None:
    page = console.page
    console.open()
    console.button("新建知识库").click()
    console.field("名称").fill("在故障中建的知识库")
    with silent_sandbox(gateway):
        console.button("创建").click()
        error = page.locator("dialog .error")
        expect(error).to_contain_text("dify_timeout")
        assert re.search(r"请求 ID [0-9a-f]{32}", error.inner_text())
    page.reload()
    console.button("新建知识库").click()
    expect(console.field("名称")).to_have_value("在故障中建的知识库")

    console.open("#/chat")
    answer = console.ask_and_wait("你好 [[fail:rate]]")
    expect(answer.locator(".error")).to_contain_text("请求 ID")
    expect(answer.locator(".badge")).to_have_text("失败")
    expect(answer.get_by_role("button", name="重新提问")).to_be_visible()


def test_a_long_answer_is_stopped_and_its_part_stays(console: Console, kb_id: str) -> None:
    console.open(f"#/chat?kb={kb_id}")
    answer = console.ask(f"{QUESTION} [[len:3000]][[delay:30]]")
    expect(answer.locator(".answer-text")).to_contain_text("沙箱")
    console.button("停止").click()
    expect(answer.locator(".badge")).to_have_text("提前停止")
    part = answer.locator(".answer-text").inner_text()
    assert 0 < len(part) < 2500
    console.page.reload()
    expect(console.answers().last.locator(".answer-text")).to_have_text(part)
    expect(console.page.get_by_role("button", name="发送")).to_be_visible()


def test_a_reload_in_the_middle_of_an_answer_shows_the_stored_part_and_offers_to_ask_again(
    console: Console, kb_id: str
) -> None:
    console.open(f"#/chat?kb={kb_id}")
    answer = console.ask(f"{QUESTION} [[len:4000]][[delay:20]]")
    expect(answer.locator(".answer-text")).to_contain_text("门槛上坐着")
    console.page.reload()
    stored = console.answers().last
    expect(stored.locator(".badge")).to_have_text("提前停止")
    expect(stored.locator(".answer-text")).to_contain_text("沙箱")
    stored.get_by_role("button", name="重新提问").click()
    expect(console.answers()).to_have_count(2)
    expect(console.answers().last.locator(".answer-text")).to_contain_text("沙箱")
    console.button("停止").click()


def test_a_script_in_a_name_in_a_text_and_in_an_answer_is_shown_as_text(
    console: Console, gateway: Gateway, tmp_path: Path
) -> None:
    kb_id = gateway.post("kb/create", name="<img src=x onerror=alert(0)>")["data"]["kb_id"]
    file = tmp_path / "script.txt"
    file.write_text(f"密码是什么？密码写作{SCRIPT}，请不要运行它。", encoding="utf-8")
    gateway.wait_until_indexed(kb_id, gateway.upload(kb_id, file)["batch"])

    def with_a_script_as_name(route: Route) -> None:
        body = route.fetch().text().replace("script.txt", json.dumps(SCRIPT)[1:-1])
        route.fulfill(body=body, content_type="application/json")

    page = console.page
    page.route("**/document/list*", with_a_script_as_name)
    console.open(f"#/kbs/{kb_id}")
    expect(page.locator("h1")).to_have_text("<img src=x onerror=alert(0)>")
    expect(page.get_by_role("link", name=SCRIPT)).to_be_visible()
    page.get_by_role("link", name=SCRIPT).click()
    expect(page.locator(".chunk .text")).to_contain_text(SCRIPT)
    console.open(f"#/search?kb={kb_id}")
    console.field("问题").fill("密码 script alert")
    console.button("检索").click()
    expect(page.locator(".result .text").first).to_contain_text(SCRIPT)
    console.open(f"#/chat?kb={kb_id}")
    answer = console.ask_and_wait("密码是什么？")
    expect(answer.locator(".answer-text")).to_contain_text(SCRIPT)
    assert page.locator("main img, main script").count() == 0
    gateway.post("kb/rm", kb_id=kb_id)


def test_a_document_without_text_or_without_chunks_says_so_loudly(
    console: Console, gateway: Gateway, tmp_path: Path
) -> None:
    """Dify ends some documents as completed without any chunk; the sandbox does not, so its answers are changed."""
    kb_id = gateway.create_kb("空")
    (tmp_path / "empty.txt").write_text("  \n")
    (tmp_path / "scan.txt").write_text("It will have no chunks.")

    def without_chunks(route: Route) -> None:
        answer = route.fetch().json()
        data = answer["data"]
        scans = {row["id"] for row in gateway.get("document/list", kb_id=kb_id, keywords="scan")["data"]["docs"]}
        for document in (*data.get("docs", []), *data.get("data", [])):
            if document["id"] in scans:
                document.update(chunk_num=0, total_segments=0)
        if "doc" in data and data["doc"]["id"] in scans:
            data.update(chunks=[], total=0)
        route.fulfill(json=answer)

    for path in ("document/status", "document/list", "chunk/list"):
        console.page.route(f"**/{path}*", without_chunks)
    console.open(f"#/kbs/{kb_id}")
    console.page.locator("input[type=file]").set_input_files([tmp_path / "empty.txt", tmp_path / "scan.txt", STORY])
    uploads, rows = console.page.locator(".uploads li"), console.page.locator(".rows .row")
    expect(uploads.filter(has_text="empty.txt").get_by_role("alert")).to_contain_text("No text was found")
    expect(uploads.filter(has_text="scan.txt").get_by_role("alert")).to_contain_text("没有任何分段")
    expect(console.page.locator(".toolbar", has_text="有问题 2 个")).to_be_visible()
    expect(rows.filter(has_text="empty.txt")).to_contain_text("索引失败")
    expect(rows.filter(has_text="empty.txt").locator(".loud")).to_contain_text("No text was found")
    expect(rows.filter(has_text="scan.txt").locator(".loud")).to_contain_text("没有任何分段")
    expect(rows.filter(has_text="hulumiao.txt")).to_contain_text("个分段")
    gateway.post("kb/rm", kb_id=kb_id)


def test_uploads_go_on_while_another_view_is_shown(console: Console, gateway: Gateway) -> None:
    kb_id = gateway.create_kb("nebenbei")
    console.open(f"#/kbs/{kb_id}")
    console.page.locator("input[type=file]").set_input_files(STORY)
    console.page.get_by_role("link", name="运行状态").click()
    expect(console.page.locator("h1")).to_have_text("运行状态")
    console.page.go_back()
    expect(console.page.locator(".uploads li")).to_contain_text(re.compile("已索引，[1-9]"))
    gateway.post("kb/rm", kb_id=kb_id)


def test_a_file_that_is_refused_says_why_beside_its_name(
    console: Console, gateway: Gateway, kb_id: str, tmp_path: Path
) -> None:
    (tmp_path / "程序.exe").write_bytes(b"MZ")
    console.open(f"#/kbs/{kb_id}")
    console.page.locator("input[type=file]").set_input_files(tmp_path / "程序.exe")
    row = console.page.locator(".uploads li", has_text="程序.exe")
    expect(row.locator(".error")).to_contain_text("file_type_not_supported")
    expect(row.get_by_role("button", name="重试")).to_be_visible()


def test_chunks_are_switched_one_and_many_and_settings_are_changed(
    console: Console, gateway: Gateway, kb_id: str
) -> None:
    page = console.page
    console.open(f"#/kbs/{kb_id}")
    page.get_by_role("link", name="hulumiao.txt").click()
    first = page.locator(".chunk").first
    first.get_by_role("switch").click()
    expect(first.locator(".badge")).to_have_text("已停用")
    page.locator("label.check input").check()
    console.button(re.compile("^启用")).click()
    expect(page.locator(".chunk .badge")).to_have_count(0)
    console.field("在文本中搜索").fill("葫芦")
    expect(page.get_by_text(re.compile("共 [1-3] 个分段"))).to_be_visible()

    console.open(f"#/kbs/{kb_id}/settings")
    console.field("段落数 (top_k)").fill("7")
    console.field("检索方式").select_option("hybrid_search")
    console.button("保存").click()
    expect(page.get_by_text("已保存。")).to_be_visible()
    detail = gateway.get("kb/detail", kb_id=kb_id)["data"]
    assert (detail["top_k"], detail["search_method"]) == (7, "hybrid_search")


def test_a_search_shows_scores_marks_and_a_histogram_for_two_settings(console: Console, kb_id: str) -> None:
    page = console.page
    console.open(f"#/search?kb={kb_id}")
    console.field("并排比较两组设置").check()
    console.field("问题").fill("葫芦庙 英莲")
    console.field("问题").press("Enter")
    for side in page.locator(".side-by-side").all():
        expect(side.locator(".result").first).to_be_visible()
        expect(side.locator(".histogram .bar")).to_have_count(20)
        assert side.locator(".result meter").count() == side.locator(".result").count()
    assert "英莲" in page.locator(".result mark").all_inner_texts()


def test_an_answer_is_rated_and_a_conversation_renamed_and_deleted(
    console: Console, gateway: Gateway, kb_id: str
) -> None:
    page = console.page
    console.open(f"#/chat?kb={kb_id}")
    answer = console.ask_and_wait(QUESTION)
    answer.get_by_role("button", name="回答得不好").click()
    console.field("哪里不对？（可不填）").fill("太短")
    answer.get_by_role("button", name="提交").click()
    expect(answer.get_by_text("评价已保存")).to_be_visible()
    ids = {"user_id": "console", "conversation_id": console.conversation_id()}
    (message,) = gateway.get("conversation/messages", **ids)["data"]["messages"]
    assert (message["feedback_score"], message["feedback_reason"]) == (0, "太短")

    row = page.locator(".conversations .row", has=page.locator("[aria-current=true]"))
    row.get_by_role("button").click()
    console.field("名称").fill("英莲的故事")
    console.button("保存").click()
    expect(row).to_contain_text("英莲的故事")
    row.get_by_role("button").click()
    console.button("删除").click()
    console.button("删除").click()
    expect(page.get_by_text("英莲的故事")).to_have_count(0)
    assert page.url.endswith("#/chat")


FORM = {
    "form_id": "7e2c8f7e-65a2-4f6e-9d0a-0b9f0b1c2d3e",
    "title": "Leave",
    "content": "How many days? {{#$output.days#}} Who takes over? {{#$output.deputy#}} Thank you.",
    "inputs": [
        {"name": "days", "type": "paragraph", "default": "3", "options": []},
        {"name": "deputy", "type": "select", "default": "", "options": ["甄士隐", "贾雨村"]},
    ],
    "actions": [{"id": "approve", "title": "Approve"}],
    "expires_at": 1900000000,
}
PAUSED = {
    "conversation_id": "a29fde42-6714-42a5-bb52-e4e0ee587acd",
    "message_id": "35a58db4-420d-4774-8d76-e7cca21ab40d",
    "query": "Leave, please",
    "content": "One moment.",
    "thinking": "",
    "status": "paused",
    "feedback_score": None,
    "meta_data": {"forms": [FORM], "references": []},
}
GRANTED = {**PAUSED, "content": "One moment. Granted.", "status": "done", "meta_data": {"forms": [], "references": []}}


def open_paused(console: Console, submit_form: Json, message: Json | None = None) -> None:
    """Open a conversation whose answer waits for a form, and choose its deputy.

    :param submit_form: how `conversation/submit_form` answers: options of `Route.fulfill`
    :param message: the message that the gateway has afterwards
    """
    answers = {
        "conversation/get": {"name": "Leave", "kb_ids": []},
        "conversation/messages": {"messages": [PAUSED], "total": 1},
        "message/get": message,
    }

    def fulfill(route: Route) -> None:
        path = urlsplit(route.request.url).path.removeprefix("/v1/")
        route.fulfill(json={"code": 0, "data": answers[path], "message": "success", "elapsed_s": 0})

    for path in answers:
        console.page.route(f"**/{path}*", fulfill)
    console.page.route("**/conversation/submit_form", lambda route: route.fulfill(**submit_form))
    console.open(f"#/chat/{PAUSED['conversation_id']}")
    expect(console.answers().locator(".badge")).to_have_text("等待填写表单")


def test_the_form_of_a_paused_answer_is_filled_in_and_the_rest_of_the_answer_arrives_as_events(
    console: Console,
) -> None:
    events = [
        ("sources", {"references": [], **{name: PAUSED[name] for name in ("conversation_id", "message_id")}}),
        ("delta", {"answer": "One moment. "}),
        ("delta", {"answer": "Granted."}),
        ("end", {"code": 0, "data": {**GRANTED, "forms": []}, "message": "", "elapsed_s": 0}),
    ]
    body = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)
    open_paused(console, {"body": body, "content_type": "text/event-stream"})
    console.field("days").fill("5")
    console.field("deputy").select_option("贾雨村")
    with console.page.expect_request("**/conversation/submit_form") as submitted:
        console.button("Approve").click()
    sent = submitted.value.post_data_json
    inputs = {"days": "5", "deputy": "贾雨村"}
    assert (sent["form_id"], sent["action"], sent["inputs"]) == (FORM["form_id"], "approve", inputs)
    assert (sent["streaming"], sent["stream_mode"]) == (True, "events")
    expect(console.answers().locator(".answer-text")).to_have_text("One moment. Granted.")
    expect(console.page.get_by_text("How many days?")).to_have_count(0)


def test_a_choice_of_a_form_without_a_default_must_be_made_before_the_form_is_sent(console: Console) -> None:
    """On a live 1.14.2 the page sent an empty value, which the gateway refuses, and the field had no name."""
    requests: list[str] = []
    console.page.on("request", lambda request: requests.append(urlsplit(request.url).path))
    open_paused(console, {"status": 500})
    assert console.axe() == []
    console.button("Approve").click()
    expect(console.page.locator("select:focus")).to_have_attribute("aria-label", "deputy")
    assert "/v1/conversation/submit_form" not in requests


@pytest.mark.parametrize("message", [GRANTED, PAUSED])
def test_after_a_form_that_is_closed_the_page_shows_what_the_message_is_now(console: Console, message: Json) -> None:
    """Somebody else has filled it in, or its time is over: seen on a live 1.14.2, where the page kept the old text."""
    refusal = {
        "code": -1,
        "data": None,
        "error": "form_closed",
        "message": "不再等待",
        "request_id": "r",
        "elapsed_s": 0,
    }
    open_paused(console, {"status": 409, "json": refusal}, message)
    console.field("deputy").select_option("贾雨村")
    console.button("Approve").click()
    answer = console.answers().first
    expect(answer).to_contain_text("form_closed")
    expect(answer.locator(".answer-text")).to_have_text(message["content"])
    expect(answer.locator("section.card")).to_have_count(0 if message is GRANTED else 1)


def test_a_knowledge_base_is_deleted_only_after_its_name_was_typed_back(console: Console, gateway: Gateway) -> None:
    kb_id = gateway.create_kb("要删除的")
    name = gateway.get("kb/detail", kb_id=kb_id)["data"]["name"]
    console.open()
    console.page.get_by_role("button", name=f"删除 {name}").click()
    expect(console.button("删除")).to_be_disabled()
    console.page.locator("dialog input").fill(name)
    console.button("删除").click()
    expect(console.page.get_by_text(name)).to_have_count(0)


def test_whoever_has_not_logged_in_is_asked_and_the_key_stays_in_the_session(
    browser: Browser, gateway: Gateway
) -> None:
    with console_page(browser, gateway, credential=None) as console:
        console.open()
        expect(console.page.locator(".error")).to_contain_text("credentials_missing")
        console.page.locator(".error").get_by_role("button", name="登录").click()
        key = console.field("服务密钥")
        key.fill("a-wrong-key")
        key.press("Enter")
        expect(console.page.locator("dialog .error")).to_contain_text("credentials_invalid")
        key.fill(KEY)
        key.press("Enter")
        expect(console.page.get_by_role("button", name="新建知识库").first).to_be_visible()
        expect(console.page.locator(".error")).to_have_count(0)
        assert KEY not in console.page.evaluate("JSON.stringify(localStorage) + document.cookie")


def test_what_is_shown_as_curl_does_the_same(console: Console) -> None:
    console.open()
    console.button("显示 curl 和 JavaScript 代码").click()
    curl, javascript = console.page.locator("dialog pre").all_inner_texts()
    done = subprocess.run(
        ["bash", "-c", curl], env={**os.environ, "KEY": KEY}, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert json.loads(done.stdout)["data"]["total"] >= 0, done.stderr
    assert "client.kbList" in javascript and KEY not in curl + javascript


def test_ten_thousand_documents_and_a_thousand_conversations_stay_fluent(console: Console, kb_id: str) -> None:
    page = console.page
    (document,) = console.gateway.get("document/list", kb_id=kb_id)["data"]["docs"][:1]

    def many(route: Route) -> None:
        asked = parse_qs(urlsplit(route.request.url).query)
        begin, rows = (int(asked["page"][0]) - 1) * 100, range(100)
        if "conversation" in route.request.url:
            shown = [{"conversation_id": f"{begin + n}", "name": f"对话 {begin + n}", "update_time": 1} for n in rows]
            data = {"conversations": shown, "total": 1000}
        else:
            docs = [{**document, "id": f"{begin + n}", "name": f"文档 {begin + n}.txt"} for n in rows]
            data = {"docs": docs, "total": 10_000}
        route.fulfill(json={"code": 0, "data": data, "message": "success", "elapsed_s": 0})

    page.route("**/document/list*", many)
    page.route("**/conversation/list*", many)
    for address, name in ((f"#/kbs/{kb_id}", "文档 9999.txt"), ("#/chat", "对话 999")):
        console.open(address)
        expect(page.locator(".rows .row").first).to_contain_text("0")
        page.locator(".virtual").evaluate("list => list.scrollTop = list.scrollHeight")
        expect(page.get_by_role("link", name=name)).to_be_visible()
        most_rows = page.locator(".virtual").evaluate("""async (list) => {
                let most = 0;
                for (let n = 0; n < 20; n++) {
                    list.scrollTop = (list.scrollHeight / 20) * n;
                    await new Promise(requestAnimationFrame);
                    most = Math.max(most, list.querySelectorAll(".rows .row").length);
                }
                return most;
            }""")
        assert 0 < most_rows < 60, "the page has no more rows than the screen shows"


VIEWS = ("", "#/kbs/{kb}", "#/kbs/{kb}/settings", "#/search?kb={kb}", "#/chat?kb={kb}", "#/status")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_any_view(browser: Browser, gateway: Gateway, kb_id: str, scheme: str) -> None:
    with console_page(browser, gateway, color_scheme=scheme) as console:
        found = {}
        for view in VIEWS:
            console.open(view.format(kb=kb_id))
            console.page.wait_for_load_state("networkidle") if view != "#/status" else None
            expect(console.page.locator(".loading")).to_have_count(0)
            if "chat" in view:
                console.ask_and_wait(QUESTION)
            found[view] = console.axe()
        console.button(re.compile("显示 curl")).click()
        found["code"] = console.axe()
        console.open()
        console.button("新建知识库").click()
        found["new kb"] = console.axe()
        assert not any(found.values()), found


def test_it_fits_on_a_phone(browser: Browser, gateway: Gateway, kb_id: str) -> None:
    with console_page(browser, gateway, viewport=PHONE, has_touch=True) as console:
        for view in VIEWS:
            console.open(view.format(kb=kb_id))
            expect(console.page.locator(".loading")).to_have_count(0)
            assert console.overflow() <= 0, view
        console.open(f"#/chat?kb={kb_id}")
        answer = console.ask_and_wait(QUESTION)
        expect(answer.locator(".chip").first).to_be_in_viewport()
        console.button("对话列表").click()
        expect(console.page.locator(".conversations .row").first).to_be_visible()
        assert console.axe() == []


def test_the_keyboard_is_enough(console: Console, gateway: Gateway) -> None:
    page = console.page
    choose_the_story(console)
    console.open()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="跳到正文")).to_be_focused()
    page.get_by_role("button", name="新建知识库").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    expect(page.get_by_role("button", name="新建知识库").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(console.field("名称")).to_be_focused()
    page.keyboard.type("用键盘建的知识库")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("用键盘建的知识库")
    console.button("选择文件").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".rows .row")).to_contain_text("个分段")
    page.locator(".rows [role=switch]").focus()
    page.keyboard.press("Space")
    expect(page.locator(".rows .row .badge")).to_have_text("已停用")
    expect(page.locator(".rows [role=switch]")).to_be_focused()
    gateway.post("kb/rm", kb_id=re.search(r"#/kbs/([0-9a-f-]+)", page.url)[1])  # type: ignore[index]


def test_the_status_tells_the_version_the_check_the_models_and_live_numbers(console: Console) -> None:
    page = console.page
    console.open("#/status")
    expect(page.locator(".tile", has_text="Dify 版本")).to_contain_text("1.12.1")
    expect(page.locator(".findings li").first).to_be_visible()
    texts = page.locator(".findings li div").all_inner_texts()
    assert [text for text in texts if not re.search("[\u4e00-\u9fff]", text)] == []
    expect(page.get_by_text("sandbox-extractive", exact=True)).to_be_visible()
    expect(page.locator(".plot-card .figure").first).not_to_have_text("–")
