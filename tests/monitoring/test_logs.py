"""The log: each request has one line, in both formats. No caller can forge a line, and no line has a secret."""

import logging
import sys
from collections.abc import Callable
from io import StringIO
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from flask import g

from config import Config
from route_api.monitoring import tracing
from route_api.monitoring.logs import MASK, JsonFormatter, RequestIdFilter, SecretMasker, TextFormatter, secrets_of

from ..support.fake_dify import FakeDify
from ..support.gateway_client import MakeApp
from ..support.settings import KEYS
from ..support.talk import ask, without_variables

KB_LIST = "/v1/kb/list"
NASTY = "a\nb\r\x1b[31m\x9b\u2028\u202e\x00c"
"""Characters that end a line, control a terminal, or change the reading direction."""

SECRETS = {
    "DIFY_BASE_URL": "http://dify.test",
    "DIFY_DATASET_API_KEY": "dataset-1234567890",
    "DIFY_APP_API_KEY": "app-1234567890",
    "DIFY_APPS": {"small": "app-small-1234567890"},
    "DIFY_CONSOLE_EMAIL": "admin@example.com",
    "DIFY_CONSOLE_PASSWORD": "Pass\"wör\\d'/+ 1",
    "DATABASE_URL": "postgresql://gateway:p%40ss%2Fw0rd@db.example/route_api",
    "API_KEYS": ["service-key-number-one", "service-key-number-two"],
    "SECRET_KEY": "signs-the-tokens-of-users",
    "LIMITS_STORAGE": "redis://:redis-password@127.0.0.1:6379/0",
}
IN_CLEAR = [
    "dataset-1234567890",
    "app-1234567890",
    "app-small-1234567890",
    "Pass\"wör\\d'/+ 1",
    "p%40ss%2Fw0rd",
    "p@ss/w0rd",
    "service-key-number-one",
    "service-key-number-two",
    "signs-the-tokens-of-users",
    "redis-password",
]

Lines = Callable[[], list[str]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    """A function that returns the lines since its last call. Request this fixture before the application."""
    return lambda: capsys.readouterr().err.splitlines()


def accesses(lines: list[str]) -> list[dict[str, Any]]:
    decoded = [orjson.loads(line) for line in lines]
    return [line for line in decoded if line["logger"] == "route_api.access"]


# ------------------------------------------------------------------ the line of a request


def test_a_request_is_one_line_with_what_it_cost(lines: Lines, make_app: MakeApp, any_dify: FakeDify) -> None:
    client = make_app().test_client()
    any_dify.play("datasets/list-default")
    client.get(f"{KB_LIST}?page=1&page_size=20&secret=in-the-query", headers={"X-Request-Id": "trace-1"}).close()
    (line,) = accesses(lines())
    assert line["time"].endswith("+00:00") and line["level"] == "INFO" and line["message"] == "GET /v1/kb/list"
    wanted = {
        "request_id": "trace-1",
        "caller": "anonymous",
        "method": "GET",
        "route": "/kb/list",
        "path": KB_LIST,
        "status": 200,
        "dify_calls": 1,
        "error": None,
    }
    assert {name: line[name] for name in wanted} == wanted
    assert line["ms"] >= line["dify_ms"] > 0 and line["own_ms"] == pytest.approx(line["ms"] - line["dify_ms"], abs=0.2)


def test_a_failure_has_its_name_in_the_line_and_its_words_in_another(lines: Lines, make_app: MakeApp) -> None:
    make_app().test_client().get("/kb/detail").close()
    *others, line = [orjson.loads(line) for line in lines()]
    assert (line["status"], line["error"], line["route"]) == (400, "validation_failed", "/kb/detail")
    assert [other["message"] for other in others if other["request_id"] == line["request_id"]] == [
        "GET /kb/detail: 400 validation_failed: kb_id is required."
    ]


def test_the_line_tells_the_status_that_error_http_status_hides(lines: Lines, make_app: MakeApp) -> None:
    answer = make_app(ERROR_HTTP_STATUS=200).test_client().get("/nothing")
    answer.close()
    (line,) = accesses(lines())
    assert (answer.status_code, line["status"], line["error"], line["route"]) == (200, 404, "route_not_found", None)


def test_the_line_names_the_caller(lines: Lines, make_app: MakeApp) -> None:
    app = make_app()

    @app.before_request
    def authenticate() -> None:
        g.caller = SimpleNamespace(label="user:alice")

    app.test_client().get("/healthz").close()
    assert [line["caller"] for line in accesses(lines())] == ["user:alice"]


def test_a_stream_has_its_line_when_it_ends(lines: Lines, make_app: MakeApp, any_dify: FakeDify) -> None:
    client = make_app().test_client()
    without_variables(any_dify)
    any_dify.play("chat/streaming-auto-generate-name-false")
    answer = ask(client, streaming=True)
    next(answer.response)
    assert accesses(lines()) == []
    assert answer.data.endswith(b"true}\n\n")
    answer.close()
    (line,) = accesses(lines())
    assert (line["status"], line["dify_calls"], line["error"]) == (200, 2, None)


def test_a_stream_that_fails_in_its_middle_names_the_error(lines: Lines, make_app: MakeApp, any_dify: FakeDify) -> None:
    client = make_app().test_client()
    without_variables(any_dify)
    any_dify.play("chat/error-mid-stream")
    answer = ask(client, streaming=True)
    assert answer.data
    answer.close()
    assert [(line["status"], line["error"]) for line in accesses(lines())] == [(200, "model_failed")]


def test_after_a_request_nothing_belongs_to_it(make_app: MakeApp) -> None:
    make_app().test_client().get("/healthz").close()
    assert tracing.current().request_id == ""


def test_with_log_level_warning_requests_have_no_line(lines: Lines, make_app: MakeApp) -> None:
    make_app(LOG_LEVEL="WARNING").test_client().get("/healthz").close()
    assert lines() == []


def test_as_text_a_request_is_one_line_for_people(lines: Lines, make_app: MakeApp) -> None:
    make_app(LOG_FORMAT="text").test_client().get("/healthz", headers={"X-Request-Id": "trace-1"}).close()
    (line,) = lines()
    assert " INFO route_api.access [trace-1] GET /healthz caller=anonymous route=/healthz status=200 ms=" in line


def test_what_a_library_warns_of_has_the_same_form(lines: Lines, make_app: MakeApp, monkeypatch: Any) -> None:
    make_app()
    logger = logging.getLogger("a.library")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # Without the handlers of pytest, as on a server.
    logger.warning("the pool is full")
    (line,) = [orjson.loads(line) for line in lines()]
    assert (line["level"], line["logger"], line["message"]) == ("WARNING", "a.library", "the pool is full")


# ------------------------------------------------------------------ forged lines


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_path_cannot_begin_another_line(lines: Lines, make_app: MakeApp, form: str) -> None:
    app = make_app(LOG_FORMAT=form)
    app.test_client().get("/x" + quote(f"{NASTY}\n2026-11-20 09:00:00,000 INFO route_api [-] all is well")).close()
    found = lines()
    assert len(found) == 2  # The line of the failure, and the line of the request.
    assert all(line.isprintable() for line in found)
    assert all("all is well" in line and not line.startswith("2026-11-20 09:00:00") for line in found)


def raised(error: Exception) -> logging.LogRecord:
    """A record of an exception."""
    try:
        raise error
    except type(error):
        return logging.LogRecord("route_api", logging.ERROR, __file__, 1, "it %s", ("failed",), sys.exc_info())


def test_an_exception_is_part_of_its_record_in_json() -> None:
    line = JsonFormatter(SecretMasker([])).format(with_id(raised(ValueError(NASTY + "\n{}"))))
    assert line.isprintable()
    record = orjson.loads(line)
    assert record["message"] == "it failed" and record["exception"].endswith(f"ValueError: {NASTY}\n{{}}")


def test_an_exception_is_indented_in_text() -> None:
    record = with_id(raised(ValueError(NASTY + "\n2026-11-20 ERROR forged")))
    record.exc_text = "2026-11-20 kept by another formatter"
    head, *rest = TextFormatter(SecretMasker([])).format(record).split("\n")
    assert head.endswith("ERROR route_api [-] it failed")
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
    assert rest[-1] == "    2026-11-20 ERROR forged"


def test_half_a_surrogate_pair_is_no_reason_to_lose_a_line() -> None:
    record = with_id(logging.LogRecord("route_api", logging.INFO, __file__, 1, "file %s", ("\udcff.txt",), None))
    assert (
        orjson.loads(JsonFormatter(SecretMasker([])).format(record).replace("\\udcff", "?"))["message"] == "file ?.txt"
    )


def with_id(record: logging.LogRecord) -> logging.LogRecord:
    record.request_id = "-"
    return record


# ------------------------------------------------------------------ secrets


@pytest.mark.parametrize("formatter", [JsonFormatter, TextFormatter])
@pytest.mark.parametrize("secret", IN_CLEAR)
def test_no_secret_is_in_a_line_however_it_is_written(formatter: Any, secret: str) -> None:
    log, written = logging.getLogger("secrets"), StringIO()
    handler = logging.StreamHandler(written)
    handler.addFilter(RequestIdFilter())
    handler.setFormatter(formatter(SecretMasker(secrets_of(Config.load(**SECRETS)))))
    log.handlers[:], log.propagate = [handler], False
    log.error(
        "as it is %s, quoted %r, in a URL ?key=%s", secret, secret, quote(secret, safe=""), extra={"also": secret}
    )
    try:
        raise ValueError({"password": secret})
    except ValueError:
        log.exception("in an exception", stack_info=True)
    text = written.getvalue()
    assert "as it is ***, quoted" in text and "ValueError" in text and text.count(MASK) >= 4
    spelt = (secret, orjson.dumps(secret).decode()[1:-1], repr(secret)[1:-1], quote(secret, safe=""))
    assert [spelling for spelling in spelt if spelling in text] == []


def test_the_lines_of_the_gateway_are_without_secrets(lines: Lines, make_app: MakeApp) -> None:
    make_app(API_KEYS=["service-key-number-one"])
    logging.getLogger("route_api.views").info("called with service-key-number-one")
    assert [orjson.loads(line)["message"] for line in lines()] == ["called with ***"]


def test_the_password_within_an_address_is_a_secret_and_an_address_without_one_is_none() -> None:
    assert {"p%40ss%2Fw0rd", "p@ss/w0rd", "redis-password"} < secrets_of(Config.load(**SECRETS))
    assert secrets_of(Config.load(**KEYS, DATABASE_URL="sqlite:////srv/db")) == {"dataset-secret", "app-secret"}


def test_an_address_is_shown_without_its_password() -> None:
    masker = SecretMasker(secrets_of(Config.load(**SECRETS)))
    assert masker.mask("host=db.example password=p@ss/w0rd") == "host=db.example password=***"


def test_a_bearer_token_is_blanked_though_it_is_no_setting() -> None:
    line = SecretMasker([]).mask("sent {'Authorization': 'Bearer eyJhbGciOi.J9-_x='} to nobody")
    assert line == "sent {'Authorization': 'Bearer ***'} to nobody"


def test_a_password_of_a_letter_or_two_does_not_take_every_line_apart() -> None:
    config = Config.load(**KEYS, DATABASE_URL="postgresql://u:a@db/x")
    assert SecretMasker(secrets_of(config)).mask("a banana") == "a banana"
