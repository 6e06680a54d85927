"""The console page at `/` where something is missing, forbidden, deleted, wrong or slow."""

import json
import re
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Route, expect

from ..support.browser import browser_context
from ..support.console_page import STORY, Console, console_page
from ..support.running_gateway import Gateway

pytestmark = pytest.mark.server

DELETED = "00000000-0000-4000-8000-000000000000"
STORAGES = {
    "forbidden": """for (const name of ["sessionStorage", "localStorage"])
        Object.defineProperty(window, name, {get() { throw new DOMException("denied", "SecurityError"); }});""",
    "full": "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };",
}
IDS = {"conversation_id": "a29fde42-6714-42a5-bb52-e4e0ee587acd", "message_id": "35a58db4-420d-4774-8d76-e7cca21ab40d"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    running = Gateway(tmp_path_factory.mktemp("console-faults"), AUTH="open", WORKERS="1")
    running.start()
    yield running
    running.stop()


@pytest.fixture
def console(browser: Browser, gateway: Gateway) -> Iterator[Console]:
    with console_page(browser, gateway, credential=None) as console:
        yield console


@pytest.fixture(scope="module")
def kb_id(gateway: Gateway) -> str:
    """A knowledge base with one indexed document."""
    kb_id = gateway.create_kb("红楼梦")
    gateway.wait_until_indexed(kb_id, gateway.upload(kb_id, STORY)["batch"])
    return kb_id


def success(data: object) -> dict[str, object]:
    return {"code": 0, "data": data, "message": "success", "elapsed_s": 0}


@pytest.mark.parametrize(
    ("address", "heading", "error"),
    [
        ("#/kbs/%E0%A4%A", "知识库", "kb_id"),
        (f"#/kbs/{DELETED}", "知识库", "kb_not_found"),
        (f"#/kbs/{{kb}}/docs/{DELETED}", "文档", "document_not_found"),
    ],
)
def test_an_address_of_something_deleted_says_what_is_missing(
    console: Console, kb_id: str, address: str, heading: str, error: str
) -> None:
    console.open(address.format(kb=kb_id))
    expect(console.page.locator(".error")).to_contain_text(error)
    expect(console.page.locator("h1")).to_have_text(heading)
    assert console.page.title() == f"{heading} · Route API"


@pytest.mark.parametrize("storage", STORAGES)
def test_the_page_works_with_a_storage_that_is_forbidden_or_full(
    browser: Browser, gateway: Gateway, storage: str
) -> None:
    with browser_context(browser, locale="zh-CN") as context:
        context.add_init_script(STORAGES[storage])
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{gateway.port}/")
        page.get_by_role("button", name="English").click()
        expect(page.locator("h1")).to_have_text("Knowledge bases")
        page.get_by_role("link", name="Chat").click()
        expect(page.locator(".composer textarea")).to_be_focused()


def test_an_answer_is_stopped_before_its_first_event_and_new_begins_anew(console: Console) -> None:
    console.page.route("**/completion_db", lambda _: None)
    console.open("#/chat")
    answer = console.ask("你好")
    console.button("停止").click()
    expect(answer.locator(".badge")).to_have_text("提前停止")
    expect(answer).to_have_attribute("aria-busy", "false")
    console.button("新对话").click()
    expect(console.answers()).to_have_count(0)


def test_asking_again_keeps_what_was_typed_meanwhile(console: Console) -> None:
    console.open("#/chat")
    answer = console.ask_and_wait("你好")
    field = console.page.locator(".composer textarea")
    field.fill("还没写完的问题")
    answer.get_by_role("button", name="重新提问").click()
    expect(console.answers()).to_have_count(2)
    expect(field).to_have_value("还没写完的问题")


def test_the_code_of_a_turn_with_wrong_variables_says_what_is_wrong(console: Console) -> None:
    console.open("#/chat")
    console.button("参数").click()
    console.field("应用变量").fill("{city")
    console.page.keyboard.press("Escape")
    console.page.locator(".chat-head").get_by_role("button", name="显示 curl").click()
    expect(console.page.locator("dialog .error")).to_contain_text("不是有效的 JSON")


def test_the_code_needs_no_key_where_nobody_logs_in_and_reads_no_file_for_a_setting(
    console: Console, kb_id: str
) -> None:
    console.open(f"#/kbs/{kb_id}")
    console.page.locator("details.fold summary").click()
    console.field("分段标识符").fill("@x")
    console.page.locator(".dropzone").get_by_role("button", name="显示 curl").click()
    curl, javascript = console.page.locator("dialog pre").all_inner_texts()
    assert "--form-string 'separator=@x'" in curl and "Authorization" not in curl
    assert 'new File(["text"], "example.txt")' in javascript and "token" not in javascript


def test_a_wrong_value_in_a_closed_fold_is_shown(browser: Browser, gateway: Gateway) -> None:
    with console_page(browser, gateway, credential=None) as console:
        console.open()
        console.button("新建知识库").click()
        console.field("名称").fill("值有误")
        fold = console.page.locator("dialog summary")
        fold.click()
        expect(console.field("语义权重")).to_be_hidden()
        console.field("检索方式").select_option("hybrid_search")
        expect(console.field("语义权重")).to_be_visible()
        console.field("段落数 (top_k)").fill("5000")
        fold.click()
        console.button("创建").click()
        expect(console.field("段落数 (top_k)")).to_be_focused()


def test_a_key_that_no_header_can_have_is_refused_and_not_kept(console: Console) -> None:
    console.open()
    console.page.locator(".side-foot button").last.click()
    key = console.field("服务密钥")
    key.fill("密钥")
    key.press("Enter")
    expect(console.page.locator("dialog .error")).to_contain_text("ASCII")
    assert console.page.evaluate("sessionStorage.getItem('route-api.credential')") == "null"


def test_many_files_are_asked_for_slowly_and_a_deleted_one_no_more(console: Console, kb_id: str) -> None:
    asked: list[tuple[float, str]] = []

    def status(route: Route) -> None:
        batch = parse_qs(urlsplit(route.request.url).query)["batch"][0]
        asked.append((time.monotonic(), batch))
        if batch == "0.txt":
            error = {"code": -1, "error": "batch_not_found", "message": "It was deleted.", "data": None}
            return route.fulfill(status=404, json=error)
        state = {"indexing_status": "indexing", "progress": 0.5, "error": None, "total_segments": 0}
        return route.fulfill(json=success({"data": [state]}))

    def upload(route: Route) -> None:
        name = (route.request.post_data_buffer or b"").split(b'filename="')[1].split(b'"')[0].decode()
        route.fulfill(json=success([{"id": name, "batch": name}]))

    page = console.page
    page.route("**/document/upload", upload)
    page.route("**/document/status*", status)
    console.open(f"#/kbs/{kb_id}")
    files = [{"name": f"{n}.txt", "mimeType": "text/plain", "buffer": b"text"} for n in range(12)]
    page.locator("input[type=file]").set_input_files(files)  # type: ignore[arg-type]
    expect(page.locator(".uploads .badge.busy")).to_have_count(11)
    while len(asked) < 34:
        page.wait_for_event("response", lambda response: "/document/status" in response.url)
    assert asked[-1][0] - asked[0][0] > 2.4, "more than 14 requests a second"
    assert [batch for _, batch in asked].count("0.txt") == 1
    expect(page.locator(".uploads li").first).to_contain_text("batch_not_found")


def test_a_passage_leads_into_the_knowledge_base_that_was_searched(
    console: Console, gateway: Gateway, kb_id: str
) -> None:
    other = gateway.create_kb("另一个")
    name = gateway.get("kb/detail", kb_id=other)["data"]["name"]
    page = console.page
    console.open(f"#/search?kb={kb_id}")
    expect(console.field("语义权重").first).to_be_hidden()
    console.field("问题").fill("英莲")
    console.field("问题").press("Enter")
    expect(page.locator(".result").first).to_be_visible()
    page.locator(".picker").click()
    page.locator("dialog").get_by_role("button", name=name).click()
    console.field("相似度阈值").first.press("ArrowRight")
    assert f"#/kbs/{kb_id}/" in (page.locator(".result a").first.get_attribute("href") or "")
    gateway.post("kb/rm", kb_id=other)


def test_a_long_answer_is_not_laid_out_anew_for_each_word(console: Console) -> None:
    events = [("sources", {**IDS, "references": []})]
    events += [("delta", {"answer": f"第 {n} 句。"}) for n in range(3000)]
    events += [("end", {"data": {**IDS, "status": "done"}})]
    body = "".join(f"event: {name}\ndata: {json.dumps({'code': 0, **data})}\n\n" for name, data in events)
    console.page.route("**/completion_db", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    console.open("#/chat")
    console.page.evaluate("""() => {
        window.drawings = 0;
        const watcher = new MutationObserver((changes) => (window.drawings += changes.filter(
            ({target}) => target.closest?.(".answer-text")).length));
        watcher.observe(document.querySelector(".messages"), {childList: true, subtree: true});
    }""")
    answer = console.ask_and_wait("写长一点")
    expect(answer.locator(".answer-text")).to_contain_text("第 2999 句。")
    assert console.page.evaluate("window.drawings") < 300


def test_the_documents_stay_while_looking_for_their_progress_fails(console: Console, kb_id: str) -> None:
    lists: list[str] = []

    def documents(route: Route) -> None:
        lists.append(route.request.url)
        if len(lists) == 2:
            error = {"code": -1, "error": "dify_unreachable", "message": "Dify cannot be reached.", "data": None}
            return route.fulfill(status=503, json=error)
        answer = route.fetch().json()
        answer["data"]["docs"][0]["run"] = "1" if len(lists) == 1 else "3"
        return route.fulfill(json=answer)

    console.page.route("**/document/list*", documents)
    console.open(f"#/kbs/{kb_id}")
    row = console.page.locator(".row")
    expect(row.locator(".badge.busy")).to_have_count(1)
    expect(console.page.locator(".error")).to_contain_text("dify_unreachable")
    expect(row).to_have_count(1)
    expect(row.locator(".badge.ok")).to_have_count(1)
    expect(console.page.locator(".error")).to_have_count(0)


def test_the_uploads_change_their_language_with_the_page(console: Console, kb_id: str) -> None:
    page = console.page
    state = {"indexing_status": "indexing", "progress": 0.5, "error": None, "total_segments": 0}
    page.route("**/document/upload", lambda route: route.fulfill(json=success([{"id": "1", "batch": "1"}])))
    page.route("**/document/status*", lambda route: route.fulfill(json=success({"data": [state]})))
    console.open(f"#/kbs/{kb_id}")
    file = {"name": "a.txt", "mimeType": "text/plain", "buffer": b"text"}
    page.locator("input[type=file]").set_input_files([file])  # type: ignore[list-item]
    expect(page.locator(".uploads .badge")).to_have_text("正在索引 50%")
    console.button("English").click()
    expect(page.locator(".uploads .badge")).to_have_text("indexing 50%")
    expect(page.locator(".toolbar", has_text="Files: 1 · indexed: 0")).to_be_visible()
    expect(page.get_by_role("list", name="Uploads")).to_be_visible()
    state.update(indexing_status="completed", total_segments=3)
    expect(page.locator(".uploads .badge")).to_have_text("Indexed, chunks: 3")
    expect(console.button("Ask about them")).to_be_visible()
    console.button("Clear the list").click()
    expect(page.locator(".uploads > li")).to_have_count(0)
    console.button("中文").click()
    expect(page.get_by_role("link", name="文档", exact=True)).to_be_visible()
    expect(page.get_by_text("文件 1 个")).to_have_count(0)


def test_an_answer_goes_on_while_the_language_is_changed(console: Console) -> None:
    page = console.page
    console.open("#/chat")
    answer = console.ask("你好 [[len:900]][[delay:40]]")
    expect(answer.locator(".answer-text")).to_contain_text("沙箱")
    page.locator(".composer textarea").fill("下一个问题")
    console.button("English").click()
    expect(page.locator("h1")).to_have_text("Chat")
    expect(answer).to_have_attribute("aria-busy", "true")
    expect(answer.locator(".answer-text")).to_contain_text("沙箱")
    expect(page.locator(".message.question")).to_have_count(1)
    expect(page.locator(".composer textarea")).to_have_value("下一个问题")
    expect(console.button("Stop")).to_be_visible()
    expect(answer.locator(".badge")).to_have_text("Complete")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    whole = answer.locator(".answer-text").inner_text()
    page.reload()
    expect(answer.locator(".answer-text")).to_have_text(whole)
    console.button("中文").click()
    expect(answer.locator(".badge")).to_have_text("已完成")
    expect(page.locator(".message.question")).to_have_count(1)


def test_an_eleventh_knowledge_base_is_refused_in_words(console: Console) -> None:
    page = console.page
    kbs = [{"id": f"{DELETED[:-2]}{n:02}", "name": f"库 {n}", "doc_num": 0} for n in range(11)]
    page.route("**/kb/list*", lambda route: route.fulfill(json=success({"kbs": kbs, "total": 11})))
    console.open("#/chat")
    page.locator(".picker").click()
    options = page.locator("dialog .option")
    for n in range(11):
        options.nth(n).click()
    expect(page.locator("dialog [role=status]")).to_contain_text("最多可选 10 个知识库。要添加“库 10”")
    expect(page.locator("dialog [aria-pressed=true]")).to_have_count(10)
    options.first.click()
    expect(page.locator("dialog [role=status]")).to_have_count(0)
    options.last.click()
    console.button("完成").click()
    expect(page.locator(".picker")).to_contain_text("库 1 等另外 9 个")


def test_an_answer_that_fails_for_too_many_requests_says_when_to_come_again(console: Console) -> None:
    failure = {"code": -1, "error": "dify_too_busy", "message": "Dify gets too many requests.", "retry_after": 7}
    events = [("sources", {**IDS, "references": []}), ("error", {**failure, "data": IDS, "request_id": "1"})]
    body = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)
    console.page.route("**/completion_db", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    console.open("#/chat")
    answer = console.ask("你好")
    expect(answer.locator(".error")).to_contain_text("请在 7 秒后重试")
    expect(answer.locator(".badge")).to_have_text("失败")


def test_two_tabs_of_one_conversation_show_what_each_of_them_has_asked(console: Console) -> None:
    console.open("#/chat")
    console.ask_and_wait("第一个问题")
    other = Console(console.page.context.new_page(), console.gateway)
    other.page.goto(console.page.url)
    expect(other.answers()).to_have_count(1)
    running = console.ask("第二个问题 [[len:4000]][[delay:40]]")
    expect(running.locator(".answer-text")).to_contain_text("沙箱")
    refused = other.ask("同时提出的问题")
    expect(refused.locator(".error")).to_contain_text("conversation_busy")
    expect(other.page.locator(".message.question", has_text="第二个问题")).to_be_visible()
    expect(other.answers().filter(has_text="沙箱").last.locator(".badge")).to_have_text("仍在生成")
    console.button("停止").click()
    expect(other.answers().filter(has_text="沙箱").last.locator(".badge")).to_have_text("提前停止")
    other.ask_and_wait("第三个问题")
    console.page.evaluate("dispatchEvent(new Event('focus'))")
    questions = console.page.locator(".message.question")
    expect(questions).to_have_text(["第一个问题", re.compile("第二个问题"), "第三个问题"])


@pytest.mark.parametrize("status", [403, 404])
def test_metrics_that_a_proxy_hides_are_told_in_words_without_empty_plots(console: Console, status: int) -> None:
    page = console.page
    page.route("**/metrics", lambda route: route.fulfill(status=status, content_type="text/html", body="<html>"))
    error = {"code": -1, "error": "forbidden", "message": "…", "data": None}
    page.route("**/dify/check", lambda route: route.fulfill(status=403, json=error))
    console.open("#/status")
    expect(page.locator("section[aria-label=实时] .notice")).to_contain_text("此地址没有指标")
    expect(page.locator(".plot-card")).to_have_count(0)
    expect(page.locator("section[aria-label=能力检查] .notice")).to_contain_text("服务密钥")
    expect(page.locator(".tile", has_text="Dify 版本")).to_contain_text("未知")
    expect(page.locator(".error")).to_have_count(0)


def test_a_high_contrast_shows_what_is_chosen_and_what_is_on(browser: Browser, gateway: Gateway, kb_id: str) -> None:
    with console_page(browser, gateway, credential=None, forced_colors="active") as console:
        console.open(f"#/kbs/{kb_id}")
        page = console.page
        switch = page.locator(".rows [role=switch]")
        expect(switch).to_have_attribute("aria-checked", "true")
        colour = "element => getComputedStyle(element).backgroundColor"
        knob = "element => getComputedStyle(element, '::after').backgroundColor"
        back = page.locator("body").evaluate(colour)
        assert switch.evaluate(colour) not in (back, switch.evaluate(knob))
        outline = "element => getComputedStyle(element).outlineStyle"
        assert page.locator(".side nav a").evaluate_all(f"all => all.map({outline})") == ["solid", *["none"] * 3]
        border = "element => getComputedStyle(element).borderBottomColor"
        chosen, other = page.locator(".tabs a").evaluate_all(f"all => all.map({border})")
        assert chosen != other == back


def test_a_name_from_right_to_left_begins_where_all_others_do(console: Console, gateway: Gateway) -> None:
    kb_id = gateway.post("kb/create", name="قاعدة المعرفة")["data"]["kb_id"]
    console.open(f"#/kbs/{kb_id}")
    file = {"name": "ملف طويل.txt", "mimeType": "text/plain", "buffer": "مرحبا".encode()}
    console.page.locator("input[type=file]").set_input_files([file])  # type: ignore[list-item]
    expect(console.page.locator(".uploads .badge.ok")).to_be_visible()
    heading = """element => {
        const range = document.createRange();
        range.selectNodeContents(element);
        return range.getBoundingClientRect().left - element.getBoundingClientRect().left;
    }"""
    for place in ("h1", ".uploads .name", ".rows .row-title"):
        assert console.page.locator(place).evaluate(heading) < 2, place
    style = "element => getComputedStyle(element).unicodeBidi"
    assert console.page.locator(".uploads .name").evaluate(style) == "plaintext"
    gateway.post("kb/rm", kb_id=kb_id)


def test_a_print_is_dark_on_white_also_from_a_dark_screen(browser: Browser, gateway: Gateway) -> None:
    with console_page(browser, gateway, credential=None, color_scheme="dark") as console:
        console.open()
        colour = "element => getComputedStyle(element).color"
        light = console.page.locator("h1").evaluate(colour)
        console.page.emulate_media(media="print")
        assert light != console.page.locator("h1").evaluate(colour) == "rgb(28, 35, 48)"


def test_a_login_that_ends_during_an_answer_loses_neither_the_answer_nor_the_next_question(console: Console) -> None:
    page = console.page
    console.open("#/chat")
    answer = console.ask_and_wait("你好")
    expect(answer.locator(".badge")).to_have_text("已完成")
    error = {"code": -1, "error": "login_ended", "message": "登录已失效，请重新登录。", "data": None}
    page.route("**/completion_db", lambda route: route.fulfill(status=401, json=error))
    refused = console.ask("登录失效后的问题")
    expect(refused.locator(".error")).to_contain_text("login_ended")
    expect(refused.get_by_role("button", name="登录")).to_be_visible()
    page.reload()
    expect(page.locator(".composer textarea")).to_have_value("登录失效后的问题")
    expect(console.answers()).to_have_count(1)
