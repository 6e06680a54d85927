"""A test client that checks each JSON answer for leaks and for undocumented errors."""

import re
from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from route_api.views.blueprint import possible_codes

from .settings import SECRETS

UNROUTED = ("route_not_found", "method_not_allowed")
INSIDES = re.compile(r"dify\.test|Traceback|sqlalchemy|psycopg|pymysql|sqlite|SELECT |INSERT |<dify>")

MakeApp = Callable[..., Flask]


class GatewayClient(FlaskClient):
    """A client that checks every JSON answer: it reveals no internals, and the API reference has its error code."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        answer = super().open(*args, **kwargs)
        if answer.mimetype == "application/json" and answer.data and not answer.request.path.endswith("/openapi.json"):
            assert_says_nothing_of_our_insides(answer.text)
            self.assert_is_documented(answer)
        return answer

    def assert_is_documented(self, answer: TestResponse) -> None:
        """Check that the view declares the error. Dify's own answers, and paths without a view, are not checked."""
        code = answer.json.get("error") if isinstance(answer.json, dict) else None
        if code is None or code in UNROUTED or "request_id" not in answer.json:
            return
        adapter = self.application.url_map.bind("localhost")
        endpoint, _ = adapter.match(answer.request.path.removeprefix("/v1"), method=answer.request.method)
        assert code in possible_codes(self.application.view_functions[endpoint]), f"{endpoint} does not name {code}"


def assert_says_nothing_of_our_insides(text: str) -> None:
    """Check that an answer has no key, no SQL, no stack trace and no address of Dify."""
    assert not INSIDES.search(text), text
    assert not [secret for secret in SECRETS if secret in text]
