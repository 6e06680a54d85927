"""Headers for browsers: the ones of every answer, and CORS."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from ..support.callers import bearer
from ..support.gateway_client import MakeApp
from ..support.routes import METHODS, path_of
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
            assert headers["Cache-Control"] == "no-store"
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
