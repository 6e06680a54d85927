"""Failures of Dify and of the gateway: each is in the envelope, with a fitting status and with nothing internal."""

import json
import socket
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from requests import exceptions as network

from config import Config
from route_api.app import create_app
from route_api.envelope import JSON_TYPE, elapsed_s, failure_body, json_bytes, success, with_warnings
from route_api.errors import ApiError
from route_api.extensions import db
from route_api.languages import Sentence, quoted
from route_api.monitoring import tracing
from route_api.views import kb

from .support.fake_dify import FakeDify
from .support.gateway_client import MakeApp
from .support.recordings import DIFY
from .support.settings import OPEN

LIST = "/v1/datasets"


def failed(answer: Any, status: int, error: str) -> Any:
    """The body of a failure, checked."""
    assert (answer.status_code, answer.json["code"], answer.json["error"]) == (status, -1, error), answer.text
    assert answer.json.keys() == {"code", "data", "elapsed_s", "message", "error", "request_id"}
    return answer.json


@pytest.mark.parametrize(
    ("failure", "status", "error"),
    [
        (network.ConnectionError(), 502, "dify_unreachable"),
        (network.ConnectTimeout(), 502, "dify_unreachable"),
        (network.ChunkedEncodingError(), 502, "dify_unreachable"),
        (network.ReadTimeout(), 504, "dify_timeout"),
    ],
)
def test_a_network_that_fails_is_no_fault_of_the_caller(
    client: FlaskClient, any_dify: FakeDify, failure: Exception, status: int, error: str
) -> None:
    any_dify.fail("GET", LIST, failure)
    failed(client.get("/kb/list"), status, error)


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (
            Sentence("Dify cannot be reached, or broke the connection."),
            "Sandbox cannot be reached, or broke the connection.",
        ),
        (
            Sentence(
                "Dify's answer is larger than {max_size:g} MB. The operator may raise DIFY_MAX_ANSWER_MB.", max_size=1
            ),
            "Sandbox's answer is larger than 1 MB. The operator may raise DIFY_MAX_ANSWER_MB.",
        ),
        (
            Sentence("{name}: {reason}", name="Dify it's.zip", reason=Sentence("Dify does not allow this.")),
            "Dify it's.zip: Sandbox does not allow this.",
        ),
        (Sentence("There is no {path} in this API.", path="/Dify"), "There is no /Dify in this API."),
        (quoted("The model Dify/small is not loaded."), "The model Dify/small is not loaded."),
    ],
)
def test_an_error_names_the_server_as_the_operator_calls_it_and_keeps_the_words_of_others(
    make_app: MakeApp, message: Sentence, named: str
) -> None:
    with make_app(DIFY_NAME="Sandbox").app_context():
        assert failure_body(ApiError(message))["message"] == named
    with make_app().app_context():
        assert failure_body(ApiError(message))["message"] == message


def test_warnings_and_sentences_in_data_name_the_server_too(make_app: MakeApp) -> None:
    progress, warning = Sentence("Dify has nothing."), Sentence("Dify stores {sent}.", sent="Dify.txt")
    trace = tracing.begin("1")
    try:
        with make_app(DIFY_NAME="Sandbox").app_context():
            trace.warn(warning)
            answer = success({"progress_msg": progress}).json
            repeated = with_warnings(json.dumps(answer), JSON_TYPE)
    finally:
        tracing.end()
    assert answer["data"] == {"progress_msg": "Sandbox has nothing."}
    assert answer["warnings"] == json.loads(repeated)["warnings"] == ["Sandbox stores Dify.txt."]


def test_a_refusal_of_the_sandbox_is_not_put_into_difys_mouth(make_app: MakeApp, any_dify: FakeDify) -> None:
    any_dify.fail("GET", LIST, network.ConnectionError())
    body = failed(make_app(DIFY_NAME="Sandbox").test_client().get("/kb/list"), 502, "dify_unreachable")
    assert body["message"].startswith("Sandbox cannot be reached")
    any_dify.fail("GET", LIST, network.ConnectionError())
    in_chinese = make_app(DIFY_NAME="Sandbox", DEFAULT_LANGUAGE="zh").test_client().get("/kb/list").json
    assert in_chinese["message"] == "无法连接 Sandbox，或连接被 Sandbox 中断。"


def test_a_wrong_key_is_never_the_callers_401(client: FlaskClient, dify: FakeDify) -> None:
    dify.play("datasets/list-wrong-key")
    body = failed(client.get("/kb/list"), 502, "dify_auth_failed")
    assert "DIFY_DATASET_API_KEY" in body["message"]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, '{"message": "Internal Server Error", "code": "unknown", "status": 500}'),
        (500, "<html><h1>Traceback (most recent call last)</h1></html>"),
        (502, "<html><h1>502 Bad Gateway</h1><hr>nginx</html>"),
        (302, ""),
        (200, "<html>not a Dify</html>"),
        (200, '{"data": '),
    ],
)
def test_a_dify_that_is_broken_is_a_502_without_its_words(
    client: FlaskClient, any_dify: FakeDify, status: int, body: str
) -> None:
    any_dify.mock.get(DIFY + LIST, body=body, status=status)
    message = failed(client.get("/kb/list"), 502, "dify_failed")["message"]
    assert "<" not in message and "nginx" not in message


def test_a_refusal_in_sql_is_told_in_words(client: FlaskClient, any_dify: FakeDify) -> None:
    """Dify's answer has SQL text. The client in conftest.py checks that our answer has none."""
    sql = '(psycopg2.errors.UndefinedTable) relation "x" does not exist\nLINE 1: SELECT secret FROM x'
    any_dify.answer("GET", LIST, {"code": "invalid_param", "message": sql, "status": 400}, 400)
    failed(client.get("/kb/list"), 400, "dify_rejected")


def test_too_many_requests_stay_a_failure_that_says_so(client: FlaskClient, any_dify: FakeDify) -> None:
    headers = {"X-Version": "1.12.1", "Retry-After": "17"}
    any_dify.mock.get(DIFY + LIST, json={"code": "too_many_requests", "message": ""}, status=429, headers=headers)
    answer = client.get("/kb/list")
    body = failed(answer, 429, "dify_too_busy")
    assert "too many requests" in body["message"]
    assert answer.headers["Retry-After"] == "17"


def test_a_kb_that_is_closed_for_the_api_is_told(client: FlaskClient, any_dify: FakeDify) -> None:
    (kb_id,) = any_dify.play("datasets/get-api-disabled")
    body = failed(client.get("/kb/detail", query_string={"kb_id": kb_id}), 502, "dify_forbidden")
    assert "api access is not enabled" in body["message"]


@pytest.mark.parametrize("path", ["/document/status", "/v1/document/status"])
def test_the_odd_envelope_of_document_status_is_the_common_one_when_it_fails(client: FlaskClient, path: str) -> None:
    failed(client.post(path, json={}), 400, "validation_failed")


def test_a_bug_of_ours_is_a_500_that_tells_nothing_and_a_log_line_that_tells_all(
    client: FlaskClient, any_dify: FakeDify, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: Any, **__: Any) -> None:
        raise KeyError("a bug of ours")

    monkeypatch.setattr(kb, "kb_row", break_down)
    any_dify.play("datasets/list-default", f"{LIST}")
    body = failed(client.get("/kb/list"), 500, "internal_error")
    assert "KeyError" not in body["message"]
    assert body["request_id"] in log.text and "KeyError" in log.text


def test_a_database_that_fails_tells_no_sql(app: Flask, client: FlaskClient, any_dify: FakeDify) -> None:
    with app.app_context():
        db.drop_all()
    body = {"user_id": "alice", "message": "葫芦庙在哪里？"}
    answer = client.post("/conversation/completion", json=body)
    failed(answer, 503, "database_unavailable")
    assert answer.headers["Retry-After"] == "5"
    assert any_dify.calls == []


@pytest.mark.parametrize("driver", ["postgresql", "mysql"])
def test_a_database_that_is_away_is_a_503_that_says_so(any_dify: FakeDify, driver: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed_again:
        address = f"{driver}://u:p@127.0.0.1:{closed_again.getsockname()[1]}/x"
    client = create_app(Config.load(**{**OPEN, "DATABASE_URL": address})).test_client()
    answer = client.post("/conversation/completion", json={"user_id": "alice", "message": "葫芦庙在哪里？"})
    failed(answer, 503, "database_unavailable")
    assert any_dify.calls == [], "Dify is not asked, because the question could not be stored"


@pytest.mark.parametrize("case", [("GET", "/kb/detail"), ("GET", "/nothing"), ("PUT", "/kb/list")])
def test_with_error_http_status_200_the_code_alone_tells(make_app: MakeApp, case: tuple[str, str]) -> None:
    method, path = case
    answer = make_app(ERROR_HTTP_STATUS=200).test_client().open(path, method=method)
    assert (answer.status_code, answer.json["code"]) == (200, -1) and answer.json["error"]


# ------------------------------------------------------------------ request ids, time, CORS


def test_a_request_id_names_a_line_of_the_log(client: FlaskClient, log: pytest.LogCaptureFixture) -> None:
    answer = client.get("/kb/detail")
    assert answer.headers["X-Request-Id"] == answer.json["request_id"]
    assert "400 validation_failed: kb_id is required." in log.text


def test_every_request_has_an_id_of_its_own(client: FlaskClient) -> None:
    assert client.get("/healthz").headers["X-Request-Id"] != client.get("/healthz").headers["X-Request-Id"]


@pytest.mark.parametrize("given", ["trace-1", "0b.c_D-9", "x" * 64])
def test_a_callers_request_id_is_kept(client: FlaskClient, given: str) -> None:
    answer = client.get("/kb/detail", headers={"X-Request-Id": given})
    assert answer.json["request_id"] == answer.headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "id\u00e9", 'a"b', "<script>", "{}%s"])
def test_a_request_id_that_could_do_harm_in_a_log_is_replaced(client: FlaskClient, given: str) -> None:
    answer = client.get("/healthz", headers={"X-Request-Id": given})
    assert answer.headers["X-Request-Id"] != given and len(answer.headers["X-Request-Id"]) == 32


def test_elapsed_s_is_the_time_that_it_took(client: FlaskClient) -> None:
    assert 0 <= client.get("/healthz").json["elapsed_s"] < 5


def test_elapsed_s_of_what_gunicorn_refuses_is_not_negative() -> None:
    tracing.end()  # What gunicorn refuses is no request of the application, so it has no trace.
    assert min(elapsed_s() for _ in range(100)) >= 0


def test_browsers_of_the_configured_origins_may_call(make_app: MakeApp) -> None:
    client = make_app(CORS_ORIGINS=["http://front.test"]).test_client()
    allowed = [
        client.get("/healthz", headers={"Origin": origin}).headers.get("Access-Control-Allow-Origin")
        for origin in ("http://front.test", "http://evil.test")
    ]
    assert allowed == ["http://front.test", None]


def test_without_cors_origins_no_browser_of_another_origin_may_call(client: FlaskClient) -> None:
    answer = client.get("/healthz", headers={"Origin": "http://evil.test"})
    assert "Access-Control-Allow-Origin" not in answer.headers


LINE_ENDS = [character for character in map(chr, range(0x10000)) if len(f"a{character}b".splitlines()) > 1]
"""Every character at which Python's `str.splitlines` ends a line."""


@pytest.mark.parametrize("line_end", LINE_ENDS, ids=lambda character: f"U+{ord(character):04X}")
def test_json_has_no_character_that_a_client_takes_for_the_end_of_a_line(line_end: str) -> None:
    value = {f"“甲{line_end}乙…": [f"µ{line_end}", "\u2027\u2030\u0084\u0086\xa0 是—😀"]}
    written = json_bytes(value)
    assert len(written.decode().splitlines()) == 1
    assert json.loads(written) == value


@pytest.mark.parametrize("path", ["kb/list", "no/such\u2028path"])
def test_a_failure_is_one_line(client: FlaskClient, any_dify: FakeDify, path: str) -> None:
    any_dify.answer("GET", LIST, {"code": "invalid_param", "message": "甲\u2028乙\u0085丙", "status": 400}, 400)
    answer = client.get(f"/{path}?keywords=a%E2%80%A8b")
    assert answer.status_code >= 400 and "\u2028" in answer.json["message"]
    assert len(answer.text.splitlines()) == 1
    any_dify.mock.assert_all_requests_are_fired = False
