"""Every route of the application: its envelope, its prefix and its place in the API reference."""

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

from .support.routes import KB_ID, METHODS, METRICS, assert_failure, path_of, routes


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_every_route_refuses_other_methods_in_the_envelope_and_names_its_own(app: Flask, prefix: str) -> None:
    client = app.test_client()
    for rule in routes(app):
        allowed = {m for other in routes(app) if other.rule == rule.rule for m in other.methods}
        for method in set(METHODS) - allowed:
            answer = client.open(prefix + path_of(rule), method=method)
            assert_failure(answer, 405, "method_not_allowed")
            assert set(answer.headers["Allow"].split(", ")) == allowed
            assert all(name in answer.json["message"] for name in allowed - {"HEAD", "OPTIONS"})


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_every_route_answers_in_the_envelope_to_a_request_without_anything(app: Flask, prefix: str) -> None:
    client = app.test_client()
    for rule in routes(app):
        if rule.endpoint == METRICS:
            continue
        for method in rule.methods & set(METHODS):
            answer = client.open(prefix + path_of(rule), method=method)
            assert answer.mimetype == "application/json"
            assert {"code", "data", "elapsed_s", "message"} <= answer.json.keys()
            assert answer.status_code in (200, 400, 502, 503), f"{method} {rule}: {answer.text}"
            assert answer.status_code != 503 or rule.rule == "/readyz"  # No Dify answers here.


@pytest.mark.parametrize("path", ["/kb", "/kb/list/", "/v1/v1/nothing", "/models/set_default"])
def test_an_unknown_path_is_a_404_in_the_envelope_that_names_it(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert_failure(answer, 404, "route_not_found")
    assert path.removeprefix("/v1") in answer.json["message"]


def test_every_route_says_how_many_upstream_calls_it_makes(app: Flask) -> None:
    silent = [
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if not re.search(r"Upstream calls: \w", app.view_functions[rule.endpoint].__doc__ or "")
    ]
    assert silent == []


@pytest.mark.parametrize("path", ["/healthz", "/v1/healthz"])
def test_health_is_answered_at_once(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json["code"], answer.json["data"]) == (200, 0, "ok")


def test_both_spellings_of_the_javabackends_upload_lead_to_one_view(app: Flask) -> None:
    adapter = app.url_map.bind("localhost")
    views = {
        app.view_functions[adapter.match(f"/datasets/{KB_ID}/document/{name}", method="POST")[0]].__name__
        for name in ("create_by_file", "create-by-file")
    }
    assert views == {"create_document_by_file"}


def test_head_answers_as_get_does_and_without_a_body(app: Flask) -> None:
    """`document/get` is left out: it saves a file, which HEAD must not do (tests/views/test_document.py)."""
    client, seen = app.test_client(), 0
    for rule in app.url_map.iter_rules():
        if "GET" not in rule.methods or rule.rule == "/document/get":
            continue
        path = path_of(rule)
        got, asked = client.get(path), client.head(path)
        assert (asked.status_code, asked.data) == (got.status_code, b""), path
        # The length differs with the digits of elapsed_s, and the id with the request.
        assert set(asked.headers.keys()) == set(got.headers.keys()), path
        assert asked.headers["Content-Type"] == got.headers["Content-Type"], path
        seen += 1
    assert seen > 10
