"""Callers get our sentences in their language; every sentence has a Chinese text, and none is made without one."""

import ast
import json
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from route_api.chat.inputs import FIELDS
from route_api.chat.stream_events import EventWriter
from route_api.commands.translations import PACKAGE, texts_of_messages, texts_of_reference
from route_api.errors import GatewayStopped
from route_api.languages import CHINESE, Sentence, joined, preferred_language, quoted, read_catalogue
from route_api.monitoring import tracing
from route_api.schemas.base import Parameters
from route_api.schemas.fields import Id

from .support.fake_dify import FakeDify
from .support.gateway_client import MakeApp

IN_CHINESE = {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}
HAN = re.compile("[\u4e00-\u9fff]")
UNKNOWN_ID = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"
EXAMPLES = Path(__file__).parent / "examples"


# ------------------------------------------------- the catalogue is complete


def placeholders(text: str) -> set[tuple[str, str]]:
    """The `{name:format}` of a text."""
    return {(name, form or "") for _, name, form, _ in Formatter().parse(text) if name is not None}


def test_every_sentence_has_a_chinese_text() -> None:
    translated = {entry.msgid for entry in read_catalogue(CHINESE, "messages") if entry.msgstr}
    missing = sorted(texts_of_messages().keys() - translated)
    assert missing == [], "run `make docs`, and write the Chinese into route_api/translations/zh.messages.po"


def test_the_catalogue_has_no_sentence_that_the_code_lacks() -> None:
    known = {entry.msgid for entry in read_catalogue(CHINESE, "messages")}
    assert sorted(known - texts_of_messages().keys()) == [], "run `make docs`"


def test_the_catalogue_has_no_empty_sentence() -> None:
    """Its translation would be the head of the file."""
    assert "" not in texts_of_messages()


def test_a_chinese_text_has_the_values_of_the_english_one() -> None:
    with_values = [
        entry for entry in read_catalogue(CHINESE, "messages") if re.search(r"\{\w+(:[^}]*)?\}", entry.msgid)
    ]
    assert len(with_values) > 100
    assert [each.msgid for each in with_values if placeholders(each.msgid) != placeholders(each.msgstr)] == []


def test_a_chinese_text_is_chinese() -> None:
    with_words = [entry for entry in read_catalogue(CHINESE, "messages") if re.search(r"[a-z]", _words(entry.msgid))]
    assert [entry.msgid for entry in with_words if not HAN.search(entry.msgstr)] == []


def _words(text: str) -> str:
    return re.sub(r"\{[^}]*\}", "", text)


# ----------------------------------------- no sentence goes past the catalogue


def code() -> Iterator[tuple[str, ast.Call]]:
    """Every call in the code that callers may meet, with its place."""
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] not in ("sandbox", "commands"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    yield f"{path.name}:{node.lineno}", node


def called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def is_plain_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or isinstance(node, ast.Constant) and isinstance(node.value, str)


NOT_FOR_CALLERS = ("monitoring/metrics.py", "openapi", "prompts/templates.py", "serve.py", "server/hooks.py")
"""Files whose sentences operators read, and the folder with the catalogue `reference`."""

NO_SENTENCES_OF_OURS = {
    "kb_id is required.",  # an example of the OpenAPI document
    "Dify is getting too many requests; please try again later.",  # an example of the OpenAPI document
    "Dataset does not exist.",  # Dify's words, to which its answer is compared
    "… cannot be written as JSON.",  # mistakes of our own code
    "… needs an example from which its type can be told, not ….",
    "Signed out on all devices.",  # an example of the OpenAPI document
}

LOGGING_AND_PATTERNS = {"compile", "error", "exception", "info", "log", "warning"}


def plain_sentences(node: ast.AST) -> Iterator[str]:
    """The texts below a node that look like sentences, but are no :class:`Sentence`, docstring, or line of the log."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        if isinstance(child, ast.Call) and called(child) in LOGGING_AND_PATTERNS | {Sentence.__name__}:
            continue
        if is_plain_text(child):
            parts = child.values if isinstance(child, ast.JoinedStr) else [child]
            text = "".join(part.value if isinstance(part, ast.Constant) else "…" for part in parts)
            if re.search(r"\w+ \w+ \w+.*[.。]$", text, re.S):
                yield text
        else:
            yield from plain_sentences(child)


def test_what_looks_like_a_sentence_for_callers_is_one() -> None:
    """mypy refuses a plain text in an :class:`ApiError` and in :meth:`Trace.warn`. This finds those that reach callers
    in other ways: in `data`, as `progress_msg`, and in the errors of marshmallow and werkzeug."""
    found = {
        f"{path.relative_to(PACKAGE)}: {text}"
        for path in PACKAGE.rglob("*.py")
        if not str(path.relative_to(PACKAGE)).startswith((*NOT_FOR_CALLERS, "sandbox", "commands"))
        for text in plain_sentences(ast.parse(path.read_text()))
        if text not in NO_SENTENCES_OF_OURS
    }
    assert found == set(), "write them as Sentence(…)"


def test_a_message_of_success_is_a_sentence_or_stands_in_the_api_document() -> None:
    fixed = {
        json.loads(path.read_text(encoding="utf-8")).get("message", "")
        for path in EXAMPLES.rglob("*.json")
        if isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    }
    patterns = []
    for _, call in code():
        if called(call) == "success" and len(call.args) > 1 and is_plain_text(call.args[1]):
            parts = call.args[1].values if isinstance(call.args[1], ast.JoinedStr) else [call.args[1]]
            patterns.append(
                "".join(re.escape(part.value) if isinstance(part, ast.Constant) else ".+" for part in parts)
            )
    assert patterns
    assert [each for each in patterns if not any(re.fullmatch(each, message) for message in fixed)] == []


def families(base: type[Any]) -> Iterator[type[Any]]:
    yield base
    for child in base.__subclasses__():
        yield from families(child)


def test_every_message_of_a_field_is_a_sentence() -> None:
    """marshmallow has sentences of its own, such as "Missing data for required field."; ours replace all of them."""
    fields = [field for schema in families(Parameters) for field in schema().fields.values()]
    fields += [make(10, ("a", "b")) for make in FIELDS.values()]
    fields.append(Id())
    assert len(fields) > 100
    plain = {
        (type(field).__name__, key)
        for field in fields
        for key, message in field.error_messages.items()
        if not isinstance(message, Sentence)
    }
    plain |= {
        (type(field).__name__, type(check).__name__)
        for field in fields
        for check in field.validators
        if not isinstance(getattr(check, "error", None), Sentence)
    }
    assert plain == set()


# ------------------------------------------------------------------ sentences


def test_a_sentence_is_english_text_and_has_a_chinese_one() -> None:
    sentence = Sentence("There is no user '{user_id}'.", user_id="{alice}")
    assert sentence == "There is no user '{alice}'."
    assert sentence.in_language("zh") == "没有用户 '{alice}'。"
    assert sentence.in_language("en") == sentence


def test_sentences_in_a_sentence_are_put_into_the_language_too_and_the_words_of_others_are_not() -> None:
    told = Sentence("The model could not answer: {reason}", reason=Sentence("The model gave an empty answer."))
    assert told.in_language("zh") == "模型无法回答：模型返回了空的回答。"
    told = Sentence("The model could not answer: {reason}", reason=quoted("Model {x} is not loaded."))
    assert told.in_language("zh") == "模型无法回答：Model {x} is not loaded."


def test_joined_sentences_have_a_blank_between_them_in_english_only() -> None:
    two = joined([Sentence("The username or the password is wrong."), Sentence("The gateway is stopping.")])
    assert two == "The username or the password is wrong. The gateway is stopping."
    assert two.in_language("zh") == "用户名或密码错误。网关正在停止。"


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("*", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("zh-CN,en;q=0.8", "zh"),
        ("en,zh;q=0.5", "en"),
        ("en-US,en;q=0.9,zh-CN;q=0.8", "en"),
        ("en;q=0.2, zh;q=0.7", "zh"),
        ("zh-TW", "zh"),
        ("zh-Hant-HK", "zh"),
        ("ZH_cn", "zh"),
        ("de-DE,de;q=0.9,zh;q=0.1", "zh"),
        ("zh;q=0", "en"),
        ("fr", "en"),
        ("nonsense;;;q=,", "en"),
    ],
)
def test_the_language_is_the_first_of_ours_that_the_caller_prefers(header: str | None, language: str) -> None:
    assert preferred_language(header, "en") == language


def test_a_caller_who_prefers_none_of_our_languages_gets_the_one_of_the_setting() -> None:
    assert (preferred_language(None, "zh"), preferred_language("fr", "zh")) == ("zh", "zh")
    assert preferred_language("en-GB", "zh") == "en"


# -------------------------------------------------------------------- answers


def test_an_error_is_told_in_chinese_to_who_prefers_it(client: FlaskClient) -> None:
    answer = client.get("/kb/detail", headers=IN_CHINESE)
    assert (answer.status_code, answer.json["error"], answer.json["message"]) == (
        400,
        "validation_failed",
        "kb_id 是必填项。",
    )
    assert answer.headers["Content-Language"] == "zh"
    assert "Accept-Language" in answer.headers["Vary"]
    in_english = client.get("/kb/detail")
    assert (in_english.json["message"], in_english.headers["Content-Language"]) == ("kb_id is required.", "en")


def test_an_answer_without_a_sentence_of_ours_has_no_language(client: FlaskClient) -> None:
    answer = client.get("/healthz", headers=IN_CHINESE)
    assert answer.json["message"] == "success"
    assert "Content-Language" not in answer.headers and "Vary" not in answer.headers


def test_several_problems_and_a_list_are_told_in_chinese(client: FlaskClient) -> None:
    answer = client.post("/document/list?page=0&page_size=x", headers=IN_CHINESE)
    assert answer.json["message"] == "page 必须是 1 到 1000000 之间的整数。page_size 必须是整数。kb_id 是必填项。"


def test_unknown_paths_and_methods_are_told_in_chinese(client: FlaskClient) -> None:
    assert client.get("/nothing", headers=IN_CHINESE).json["message"] == "本 API 没有 /nothing。"
    answer = client.delete("/kb/list", headers=IN_CHINESE)
    assert answer.json["message"] == "/kb/list 不支持 DELETE 方法，请使用 GET, HEAD, OPTIONS, POST。"


def test_warnings_are_in_chinese_in_the_envelope_and_in_the_header(client: FlaskClient) -> None:
    assert client.get("/healthz?verbose=1", headers=IN_CHINESE).json["warnings"] == [
        "verbose：本接口没有该参数，因此没有使用。"
    ]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"a": 1,}', "最后一项之后多了一个逗号（第 1 行第 8 列）。"),
        ('{"a": x}', "有多余的字符，此处应为 JSON 值（第 1 行第 7 列）。"),
        ("{'a': 1}", '名称和文本必须用双引号括起来，例如 {"kb_id": "…"}（第 1 行第 2 列）。'),
    ],
)
def test_what_is_wrong_with_json_is_told_in_chinese(client: FlaskClient, body: str, words: str) -> None:
    answer = client.post("/kb/detail", data=body, content_type="application/json", headers=IN_CHINESE)
    assert answer.json["message"] == f"请求体不是有效的 JSON：{words}"


def test_what_dify_said_stays_in_its_words(client: FlaskClient, any_dify: FakeDify) -> None:
    refusal = {"code": "invalid_param", "message": "Name must be shorter.", "status": 400}
    any_dify.answer("GET", "/v1/datasets", refusal, 400)
    assert client.get("/kb/list", headers=IN_CHINESE).json["message"] == "Name must be shorter."


def test_an_error_of_dify_that_we_put_into_words_is_in_chinese_and_the_log_is_in_english(
    client: FlaskClient, any_dify: FakeDify, log: pytest.LogCaptureFixture
) -> None:
    any_dify.answer("GET", "/v1/datasets", {"code": "unauthorized", "message": "…", "status": 401}, 401)
    answer = client.get("/kb/list", headers=IN_CHINESE)
    assert answer.json["message"] == "Dify 拒绝了网关自己的凭据。请运维人员检查 DIFY_DATASET_API_KEY。"
    assert "Dify refused the gateway's own credentials." in log.text and not HAN.search(log.text)


def test_a_line_for_each_file_has_the_form_that_ragflows_ui_reads() -> None:
    line = Sentence("{name}: {reason}", name="a.txt", reason=Sentence("The gateway is stopping."))
    assert line.in_language("zh") == "a.txt: 网关正在停止。"


def test_the_setting_decides_for_callers_without_the_header(make_app: MakeApp) -> None:
    client = make_app(DEFAULT_LANGUAGE="zh").test_client()
    assert client.get("/kb/detail").json["message"] == "kb_id 是必填项。"
    assert client.get("/kb/detail", headers={"Accept-Language": "en"}).json["message"] == "kb_id is required."


def test_the_warnings_in_a_header_are_in_the_callers_language(client: FlaskClient, any_dify: FakeDify) -> None:
    any_dify.answer("GET", f"/v1/datasets/{UNKNOWN_ID}/documents", {"data": [], "total": 0})
    any_dify.play("documents/create-by-file-txt-chinese-name", f"/v1/datasets/{UNKNOWN_ID}/document/create-by-file")
    path = f"/datasets/{UNKNOWN_ID}/document/create_by_file?x=1"
    data = {"data": "{}", "file": (BytesIO("葫芦庙".encode()), "a.txt")}
    answer = client.post(path, headers=IN_CHINESE, data=data)
    assert json.loads(answer.headers["X-Warnings"]) == ["x：本接口没有该参数，因此没有使用。"]


def test_a_replayed_answer_tells_a_warning_once_in_the_language_of_the_repeat(
    client: FlaskClient, any_dify: FakeDify
) -> None:
    any_dify.play("datasets/create-all-fields")
    key = {"Idempotency-Key": "in-two-languages"}
    for language, told in (
        ("zh", "x：本接口没有该参数，因此没有使用。"),
        ("en", "x: this endpoint has no such parameter, so it was not used."),
    ):
        answer = client.post("/kb/create?x=1", json={"name": "a"}, headers={**key, "Accept-Language": language})
        assert answer.json["warnings"] == [told], answer.json
    assert answer.headers["Idempotent-Replayed"] == "true"


def test_the_last_event_of_a_failed_stream_is_in_the_callers_language(app: Flask) -> None:
    tracing.begin("1").language = CHINESE
    try:
        with app.app_context():
            event = EventWriter({}, think="keep", is_cumulative=False).write_failure(GatewayStopped()).decode()
    finally:
        tracing.end()
    assert "网关正在停止。" in json.loads(event.removeprefix("data: "))["message"]


# -------------------------------------------- the OpenAPI document and /docs


def test_every_text_of_the_reference_and_of_the_docs_page_has_a_chinese_one(app: Flask) -> None:
    with app.app_context():
        texts = texts_of_reference()
    translated = {entry.msgid: entry.msgstr for entry in read_catalogue(CHINESE, "reference")}
    missing = sorted(text for text in texts if not translated.get(text))
    assert missing == [], "run `make docs`, and write the Chinese into route_api/translations/zh.reference.po"
    assert sorted(translated.keys() - texts.keys()) == [], "run `make docs`"


def test_a_chinese_text_of_the_reference_has_the_code_and_the_values_of_the_english_one() -> None:
    """Names of fields, paths and settings stand in backquotes. A sentence in them, an example, may differ."""
    for entry in read_catalogue(CHINESE, "reference"):
        in_english, in_chinese = (set(re.findall("`([^` ]+)`", text)) for text in (entry.msgid, entry.msgstr))
        assert in_english - in_chinese == set(), entry.msgid
        assert placeholders(entry.msgid.replace("{role, content}", "")) == placeholders(
            entry.msgstr.replace("{role, content}", "")
        )


@pytest.mark.parametrize("path", ["/openapi.json", "/docs/openapi.json", "/docs"])
def test_the_reader_gets_the_document_in_their_language_or_in_the_one_they_choose(
    client: FlaskClient, path: str
) -> None:
    by_header = client.get(path, headers=IN_CHINESE)
    chosen = client.get(f"{path}?lang=zh")
    assert by_header.text == chosen.text and HAN.search(chosen.text)
    assert (chosen.headers["Content-Language"], chosen.headers["Vary"]) == ("zh", "Accept-Language")
    in_english = client.get(f"{path}?lang=en", headers=IN_CHINESE)
    assert in_english.headers["Content-Language"] == "en" and in_english.text == client.get(path).text


def test_a_document_in_chinese_differs_in_its_texts_alone(client: FlaskClient) -> None:
    def without_texts(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: without_texts(value) for key, value in node.items() if not _is_text(key, value)}
        return [without_texts(each) for each in node] if isinstance(node, list) else node

    def _is_text(key: str, value: Any) -> bool:
        return key in ("description", "summary", "message") and isinstance(value, str)

    english, chinese = (client.get(f"/openapi.json?lang={language}").json for language in ("en", "zh"))
    assert english != chinese and without_texts(english) == without_texts(chinese)
    assert chinese["paths"]["/kb/create"]["post"]["summary"] == "创建知识库。"
