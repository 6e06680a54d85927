"""Callers in tests: registered users, their requests, and checks of rejected requests."""

from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from route_api.access import users
from route_api.access.tokens import Login
from route_api.extensions import db


def at(client: FlaskClient, address: str, path: str = "/user/login", **given: Any) -> Any:
    """A request from this address."""
    return client.post(path, environ_overrides={"REMOTE_ADDR": address}, **given)


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def registered(app: Flask, username: str = "yinglian", role: str = "user") -> dict[str, Any]:
    """A user, and the headers of their requests."""
    with app.app_context():
        user = users.register(db.engine, username, "a long sentence", role)
        token = app.extensions["route_api"].tokens.write(Login(user["user_id"], 0))
    return {**user, "headers": bearer(token)}


def assert_refused(answer: TestResponse, status: int, error: str) -> None:
    assert (answer.status_code, answer.json["code"], answer.json["error"]) == (status, -1, error), answer.text
    assert (answer.headers.get("WWW-Authenticate") == "Bearer") is (status == 401)


YINGLIAN = {"username": "yinglian", "password": "a long sentence"}


def log_in(client: FlaskClient, **other: str) -> TestResponse:
    return client.post("/user/login", json={**YINGLIAN, **other})


def token_of(client: FlaskClient, **other: str) -> dict[str, str]:
    return bearer(log_in(client, **other).json["data"]["token"])
