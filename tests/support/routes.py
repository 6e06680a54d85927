"""The routes of the application, for tests that check all of them."""

import re

from flask import Flask
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

KB_ID = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PAGES = ("docs.", "console.")
METRICS = "health.get_metrics"
"""The only route whose success is not in the envelope: it has the format of Prometheus. Its failures are in it."""


def routes(app: Flask) -> list[Rule]:
    """All routes but the pages for browsers."""
    return [rule for rule in app.url_map.iter_rules() if not rule.endpoint.startswith(PAGES)]


def path_of(rule: Rule) -> str:
    """The path of a rule, with values for its variables."""
    return re.sub(r"<\w+>", KB_ID, rule.rule)


def assert_failure(answer: TestResponse, status: int, error: str) -> None:
    assert (answer.status_code, answer.mimetype) == (status, "application/json"), answer.text
    assert answer.json.keys() == {"code", "data", "elapsed_s", "message", "error", "request_id"}
    assert (answer.json["code"], answer.json["data"], answer.json["error"]) == (-1, None, error)
    assert answer.json["message"] and isinstance(answer.json["elapsed_s"], float)
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]
