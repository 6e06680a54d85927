"""A question while the circuit breaker refuses calls to Dify is stored, and the caller is told when to come back."""

from flask import Flask
from flask.testing import FlaskClient

from route_api.dify.breaker import FAILURES

from ..support.fake_dify import FakeDify
from ..support.talk import ask, messages


def test_a_question_that_dify_is_not_asked_is_stored(app: Flask, client: FlaskClient, any_dify: FakeDify) -> None:
    breaker = app.extensions["route_api"].dify.transport.breaker
    breaker.close()  # Its thread would ping the mocked Dify.
    for _ in range(FAILURES):
        call = breaker.begin("read")
        call.failed()
        call.end()
    answer = ask(client, "还在吗？")
    assert (answer.status_code, answer.json["error"]) == (503, "dify_unreachable")
    assert answer.headers["Retry-After"] == "2" and any_dify.calls == []
    (stored,) = messages(app)
    assert (stored.query, stored.meta_data["status"]) == ("还在吗？", "failed")
    assert (stored.meta_data["reason"], stored.claimed_until) == ("dify_unreachable", None)
