"""The routes of the application, for tests that walk through all of them."""

import re

from flask import Flask
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

KB_ID = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PAGES = "docs."
METRICS = "health.get_metrics"
"""Prometheus' own format: the one route of ours whose answer is not in the envelope. Its failures are."""


def routes(app: Flask) -> list[Rule]:
    """The routes that answer in the envelope: all but those for reading about them."""
    return [rule for rule in app.url_map.iter_rules() if not rule.endpoint.startswith(PAGES)]


def path_of(rule: Rule) -> str:
    """The path of a rule with something in its variables."""
    return re.sub(r"<\w+>", KB_ID, rule.rule)


def assert_failure(answer: TestResponse, status: int, error: str) -> None:
    assert (answer.status_code, answer.mimetype) == (status, "application/json"), answer.text
    assert answer.json.keys() == {"code", "data", "elapsed_s", "message", "error", "request_id"}
    assert (answer.json["code"], answer.json["data"], answer.json["error"]) == (-1, None, error)
    assert answer.json["message"] and isinstance(answer.json["elapsed_s"], float)
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]
