"""`/user`: registering, logging in, passwords, signing out."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from route_api.access import passwords
from route_api.extensions import db
from route_api.storage.models import User

from ..support.callers import YINGLIAN, assert_refused, bearer, log_in, token_of
from ..support.gateway_client import MakeApp
from ..support.settings import KEY, LOCKED


@pytest.fixture
def open_app(make_app: MakeApp) -> Flask:
    return make_app(**LOCKED, REGISTRATION="open")


@pytest.fixture
def gate(open_app: Flask) -> FlaskClient:
    return open_app.test_client()


@pytest.fixture
def user(gate: FlaskClient) -> dict[str, Any]:
    answer = gate.post("/user/register", json=YINGLIAN)
    assert answer.json["code"] == 0
    return answer.json["data"]


def test_a_user_registers_logs_in_and_is_who_they_say(gate: FlaskClient, user: dict[str, Any]) -> None:
    answer = log_in(gate).json["data"]
    assert (answer["token_type"], answer["expires_in"], answer["user"]) == ("Bearer", 86400, user)
    info = gate.get("/user/info", headers=bearer(answer["token"])).json["data"]
    assert info == user
    assert (info["username"], info["role"], len(info["user_id"])) == ("yinglian", "user", 32)


def test_what_is_stored_is_no_password(open_app: Flask, user: dict[str, Any]) -> None:
    with open_app.app_context():
        stored = db.session.scalar(select(User))
    assert stored.password_hash.startswith("scrypt:") and YINGLIAN["password"] not in stored.password_hash


@pytest.mark.parametrize("username", ["yinglian", "YingLian", " yinglian ", "ｙinglian"])
def test_a_name_that_looks_the_same_is_taken(gate: FlaskClient, user: dict[str, Any], username: str) -> None:
    again = gate.post("/user/register", json={"username": username, "password": "another sentence"})
    assert_refused(again, 409, "username_taken")
    assert log_in(gate, username=username).json["data"]["user"] == user


def test_a_wrong_password_and_an_unknown_user_look_the_same(
    gate: FlaskClient, user: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def check(stored: str, password: str) -> bool:
        hashed.append(stored.split(":")[0])
        return False

    monkeypatch.setattr(passwords, "check_password_hash", check)
    wrong, unknown = log_in(gate, password="a wrong sentence"), log_in(gate, username="nobody")
    assert_refused(wrong, 401, "login_failed")
    assert_refused(unknown, 401, "login_failed")
    assert wrong.json["message"] == unknown.json["message"]
    assert hashed == ["scrypt", "scrypt"], "an unknown user costs a hash as well"


def test_the_password_of_an_unknown_user_is_compared_with_a_hash_of_the_same_cost() -> None:
    assert passwords.DUMMY_HASH.split("$")[0] == passwords.hash_password("a password").split("$")[0]


def test_a_user_who_only_came_with_a_turn_cannot_log_in(open_app: Flask, gate: FlaskClient) -> None:
    with open_app.app_context():
        db.session.add(User(id="alice"))
        db.session.add(User(id="named", username="yinglian"))
        db.session.commit()
    assert_refused(log_in(gate), 401, "login_failed")
    info = gate.get("/user/info?user_id=alice", headers=bearer(KEY)).json["data"]
    assert (info["user_id"], info["username"], info["role"]) == ("alice", None, "user")


def test_a_closed_registration_takes_service_keys_only(make_app: MakeApp) -> None:
    client = make_app(**LOCKED).test_client()
    assert_refused(client.post("/user/register", json=YINGLIAN), 403, "forbidden")
    assert client.post("/user/register", json=YINGLIAN, headers=bearer(KEY)).json["code"] == 0
    other = {**YINGLIAN, "username": "xiren"}
    assert_refused(client.post("/user/register", json=other, headers=token_of(client)), 403, "forbidden")


def test_nobody_gives_themselves_a_role(gate: FlaskClient) -> None:
    answer = gate.post("/user/register", json={**YINGLIAN, "role": "admin", "login_generation": 5, "id": "x" * 32})
    assert answer.json["data"]["role"] == "user"
    assert answer.json["data"]["user_id"] != "x" * 32


def test_another_password_ends_all_logins_but_the_one_that_it_begins(gate: FlaskClient, user: dict[str, Any]) -> None:
    here, elsewhere = token_of(gate), token_of(gate)
    change = {"password": YINGLIAN["password"], "new_password": "a longer sentence"}
    answer = gate.post("/user/password", json=change, headers=here)
    assert gate.get("/user/info", headers=bearer(answer.json["data"]["token"])).json["data"] == user
    for ended in (here, elsewhere):
        assert_refused(gate.get("/user/info", headers=ended), 401, "login_ended")
    assert_refused(log_in(gate), 401, "login_failed")
    assert log_in(gate, password="a longer sentence").json["code"] == 0


def test_a_stolen_token_is_not_enough_for_another_password(gate: FlaskClient, user: dict[str, Any]) -> None:
    change = {"password": "a guess", "new_password": "a longer sentence"}
    assert_refused(gate.post("/user/password", json=change, headers=token_of(gate)), 401, "login_failed")
    assert_refused(gate.post("/user/password", json=change, headers=bearer(KEY)), 403, "forbidden")
    assert log_in(gate).json["code"] == 0


def test_signing_out_ends_all_logins(gate: FlaskClient, user: dict[str, Any]) -> None:
    here, elsewhere = token_of(gate), token_of(gate)
    assert gate.post("/user/logout", headers=here).json["code"] == 0
    for ended in (here, elsewhere):
        assert_refused(gate.get("/user/info", headers=ended), 401, "login_ended")
    assert gate.get("/user/info", headers=token_of(gate)).json["code"] == 0


def test_a_backend_signs_a_user_out(gate: FlaskClient, user: dict[str, Any]) -> None:
    theirs = token_of(gate)
    assert gate.post("/user/logout", json={"user_id": user["user_id"]}, headers=bearer(KEY)).json["code"] == 0
    assert_refused(gate.get("/user/info", headers=theirs), 401, "login_ended")
    unknown = gate.post("/user/logout", json={"user_id": "nobody"}, headers=bearer(KEY))
    assert_refused(unknown, 404, "user_not_found")


def test_an_ended_login_does_not_keep_anybody_from_logging_in(gate: FlaskClient, user: dict[str, Any]) -> None:
    ended = token_of(gate)
    gate.post("/user/logout", headers=ended)
    assert gate.post("/user/login", json=YINGLIAN, headers=ended).json["code"] == 0
