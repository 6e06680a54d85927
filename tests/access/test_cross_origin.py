"""Headers for browsers: the ones of every answer, and CORS."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from route_api.access.cross_origin import headers_for_any_caller

from ..support.callers import bearer
from ..support.fake_dify import FakeDify
from ..support.gateway_client import MakeApp
from ..support.recordings import DIFY
from ..support.routes import KB_ID, METHODS, path_of
from ..support.settings import KEY, LOCKED

OURS, ANOTHER = "https://app.example.com", "https://evil.example.com"


def test_every_answer_says_that_nothing_in_it_may_run_or_be_kept(app: Flask) -> None:
    client = app.test_client()
    for rule in app.url_map.iter_rules():
        for method in rule.methods & set(METHODS):
            headers = client.open(path_of(rule), method=method).headers
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["X-Frame-Options"] == "DENY"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert headers["Cache-Control"] == ("no-cache" if rule.rule == "/" else "no-store")
    assert client.get("/nothing").headers["X-Content-Type-Options"] == "nosniff"


def preflight(client: FlaskClient, origin: str) -> Any:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    return client.options("/kb/list", headers={"Origin": origin, **asked})


def test_no_origin_may_read_us_unless_it_is_named(make_app: MakeApp) -> None:
    client = make_app(**LOCKED).test_client()
    for answer in (preflight(client, OURS), client.get("/healthz", headers={"Origin": OURS})):
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("other", [ANOTHER, "null", "https://app.example.com.evil.com", "https://appXexample.com"])
def test_a_named_origin_may_and_others_may_not(make_app: MakeApp, other: str) -> None:
    client = make_app(**LOCKED, CORS_ORIGINS=[OURS]).test_client()
    allowed = preflight(client, OURS)
    assert (allowed.status_code, allowed.headers["Access-Control-Allow-Origin"]) == (200, OURS)
    assert "authorization" in allowed.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in allowed.headers
    assert "Access-Control-Allow-Origin" not in preflight(client, other).headers
    refused = client.post("/kb/rm", headers={"Origin": OURS, **bearer(KEY)})
    assert refused.status_code == 400 and refused.headers["Access-Control-Allow-Origin"] == OURS
    unknown = client.get("/kb/list", headers={"Origin": OURS})
    assert unknown.status_code == 401
    assert unknown.headers["Access-Control-Allow-Origin"] == OURS, "a frontend must be able to read why"
    assert "X-Request-Id" in unknown.headers["Access-Control-Expose-Headers"]


SHOWN_ANYWAY = {"Content-Language", "Cache-Control", "Content-Type", "Expires", "Last-Modified"}
"""Headers that browsers show to every page that may read the answer (Fetch standard, CORS-safelisted)."""

FOR_THE_BROWSER = {"Cross-Origin-Resource-Policy", "Content-Security-Policy", "Referrer-Policy", "Vary"} | {
    "X-Content-Type-Options",
    "X-Frame-Options",
}
FILE = {"kb_id": KB_ID, "document_id": KB_ID}


def answers_with_every_header(client: FlaskClient, dify: FakeDify) -> Iterator[tuple[int, Any]]:
    """Requests of a page of OURS: with the expected status, one for each header that an answer of ours may have."""
    ours = {"Origin": OURS, **bearer(KEY)}
    path = f"/v1/datasets/{KB_ID}/documents/{KB_ID}/download"
    for headers, status in (({}, 200), ({"Range": "bytes=1-"}, 206), ({"Range": "bytes=9-"}, 416)):
        dify.answer("GET", path, {"url": "/files/f"})
        name = {"Content-Disposition": "attachment; filename*=UTF-8''a.txt", "Content-Length": "3"}
        dify.mock.get(f"{DIFY}/files/f", body=b"abc", headers=name)
        yield status, client.get(
            "/document/download", query_string={**FILE, "unread": "1"}, headers={**ours, **headers}
        )
    yield 401, client.get("/kb/list", headers={"Origin": OURS})
    yield 404, client.get("/nothing", headers=ours)
    yield 405, client.put("/kb/list", headers=ours)
    dify.fail("GET", "/v1/datasets", ValueError("a bug"))
    yield 500, client.get("/kb/list", headers=ours)
    for _ in range(2):
        yield 200, client.post("/kb/create", headers={**ours, "Idempotency-Key": "k"}, json={"name": "kb"})
    yield 429, next(
        answer for _ in range(99) if (answer := client.get("/kb/list", headers={"Origin": OURS})).status_code == 429
    )


def test_a_page_may_read_every_answer_and_every_header_that_is_meant_for_it(
    make_app: MakeApp, any_dify: FakeDify
) -> None:
    any_dify.play("datasets/create-all-fields")
    client = make_app(**{**LOCKED, "RATE_LIMIT": 10}, CORS_ORIGINS=[OURS]).test_client()
    seen = set()
    for status, answer in answers_with_every_header(client, any_dify):
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (status, OURS), answer.text
        answer.close()
        seen |= {name for name in answer.headers.keys() if not name.startswith("Access-Control")}
        exposed = set(answer.headers["Access-Control-Expose-Headers"].split(", "))
    assert seen - SHOWN_ANYWAY - FOR_THE_BROWSER == exposed


def test_a_browser_asks_once_in_two_hours(make_app: MakeApp) -> None:
    client = make_app(**LOCKED, CORS_ORIGINS=[OURS]).test_client()
    asked = {"Origin": OURS, "Access-Control-Request-Method": "GET"}
    headers = "authorization,content-type,idempotency-key,if-range,range,x-request-id"
    answer = client.options("/document/download", headers={**asked, "Access-Control-Request-Headers": headers})
    assert answer.headers["Access-Control-Max-Age"] == "7200"
    assert set(answer.headers["Access-Control-Allow-Headers"].split(", ")) == set(headers.split(","))
    assert {"GET", "POST", "DELETE", "PATCH"} <= set(answer.headers["Access-Control-Allow-Methods"].split(", "))


def test_the_404_of_an_unknown_path_reaches_the_page(make_app: MakeApp) -> None:
    """A browser sends the request itself only if the answer to its question is a success."""
    client = make_app(**LOCKED, CORS_ORIGINS=[OURS]).test_client()
    asked = {"Origin": OURS, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    answer = client.options("/no/such/path", headers=asked)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, OURS)
    assert client.options("/no/such/path").status_code == 404


def test_the_questions_of_browsers_use_up_nobodys_limit(make_app: MakeApp) -> None:
    client = make_app(**{**LOCKED, "RATE_LIMIT": 3}, CORS_ORIGINS=[OURS]).test_client()
    assert {preflight(client, OURS).status_code for _ in range(9)} == {200}
    assert client.get("/kb/list", headers={"Origin": OURS}).status_code == 401


@pytest.mark.parametrize(
    ("origins", "allowed"), [([], []), ([OURS], [OURS]), ([OURS, ANOTHER], []), (["*"], ["*"]), ([OURS, "*"], ["*"])]
)
def test_an_answer_for_an_unknown_origin_names_the_only_one(origins: list[str], allowed: list[str]) -> None:
    headers = dict(headers_for_any_caller(origins))
    assert [headers[name] for name in ("Access-Control-Allow-Origin",) if name in headers] == allowed
