"""`flask user`: the operator's side of users who log in."""

import pytest
from flask import Flask

from ..support.callers import log_in, token_of
from ..support.gateway_client import MakeApp
from ..support.settings import LOCKED


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(**LOCKED)


def run(app: Flask, *arguments: str, typed: str = "") -> str:
    result = app.test_cli_runner().invoke(args=["user", *arguments], input=typed)
    assert result.exit_code == 0, result.output
    return result.output


def refused(app: Flask, *arguments: str) -> str:
    result = app.test_cli_runner().invoke(args=["user", *arguments])
    assert result.exit_code == 1
    return result.output


def test_an_administrator_is_made_and_becomes_a_user_again(app: Flask) -> None:
    password = "a long sentence"
    run(app, "create", "YingLian", "--role", "admin", typed=f"{password}\n{password}\n")
    client = app.test_client()
    headers = token_of(client)
    assert client.post("/kb/rm", headers=headers).status_code == 400
    assert run(app, "list").startswith("yinglian\tadmin\t")
    run(app, "role", "Yinglian", "user")
    assert client.post("/kb/rm", headers=headers).status_code == 403


def test_a_lost_password_is_replaced_and_all_logins_end(app: Flask) -> None:
    run(app, "create", "yinglian", "--password", "a long sentence")
    client = app.test_client()
    headers = token_of(client)
    output = run(app, "password", "yinglian", "--password", "a new sentence")
    assert "a new sentence" not in output
    assert client.get("/user/info", headers=headers).status_code == 401
    assert log_in(client, password="a new sentence").status_code == 200


def test_what_is_wrong_is_said_in_words(app: Flask) -> None:
    run(app, "create", "yinglian", "--password", "a long sentence")
    assert "There is a user 'yinglian' already" in refused(app, "create", "yinglian", "--password", "a long sentence")
    assert "password must have 8 characters or more." in refused(app, "create", "xiren", "--password", "short")
    assert "username may hold letters" in refused(app, "create", "xi ren", "--password", "a long sentence")
    assert "There is no user 'xiren'." in refused(app, "role", "xiren", "admin")
    assert "There is no user 'xiren'." in refused(app, "password", "xiren", "--password", "a long sentence")
