"""Which views a caller may use: service keys, logged-in users, unknown callers, and everybody with AUTH=open."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer

from route_api.access import users
from route_api.access.callers import access_of
from route_api.access.tokens import Login, Tokens
from route_api.extensions import db

from ..support.callers import assert_refused, bearer, registered
from ..support.fake_dify import FakeDify
from ..support.gateway_client import MakeApp
from ..support.routes import METHODS, path_of, routes
from ..support.settings import KEY, LOCKED, OLD_KEY, SECRET
from ..support.talk import without_variables

PUBLIC_ROUTES = {
    "/",
    "/console/<name>",
    "/docs",
    "/docs/<name>",
    "/healthz",
    "/openapi.json",
    "/readyz",
    "/user/login",
    "/user/register",
}
ADMIN_ROUTES = {
    "/kb/create",
    "/kb/update",
    "/kb/rm",
    "/document/upload",
    "/document/get",
    "/document/rm",
    "/document/change_status",
    "/chunk/switch",
    "/datasets/<kb_id>/document/create_by_file",
    "/datasets/<kb_id>/document/create-by-file",
    "/datasets/<kb_id>/documents/<doc_id>/segment/<action>",
    "/user/set_tenant_info",
}
SERVICE_KEY_ROUTES = {"/dify/check", "/metrics"}

Bearer = Callable[[str], dict[str, str]]


# ------------------------------------------------------------------ every route


def test_every_route_is_open_to_the_callers_that_it_should_be_open_to(locked: Flask) -> None:
    found: dict[str, set[str]] = {}
    for rule in locked.url_map.iter_rules():
        found.setdefault(access_of(locked.view_functions[rule.endpoint]), set()).add(rule.rule)
    assert found["public"] == PUBLIC_ROUTES
    assert found["admin"] == ADMIN_ROUTES
    assert found["service_key"] == SERVICE_KEY_ROUTES


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_every_route_that_is_not_public_refuses_a_stranger_before_it_looks_at_anything(
    locked: Flask, prefix: str
) -> None:
    client = locked.test_client()
    for rule in routes(locked):
        for method in rule.methods & set(METHODS):
            answer = client.open(prefix + path_of(rule), method=method, data=b"{", content_type="application/json")
            if rule.rule in PUBLIC_ROUTES:
                assert answer.status_code in (200, 400, 403, 503)  # 503: /readyz reports that no Dify answers.
            else:
                assert_refused(answer, 401, "credentials_missing")


def test_every_route_of_the_administration_refuses_a_user_and_takes_an_administrator(locked: Flask) -> None:
    client, user, admin = locked.test_client(), registered(locked), registered(locked, "boss", "admin")
    for rule in routes(locked):
        for method in rule.methods & set(METHODS):
            if rule.rule in ADMIN_ROUTES:
                assert_refused(client.open(path_of(rule), method=method, headers=user["headers"]), 403, "forbidden")
                allowed = client.open(path_of(rule), method=method, headers=admin["headers"])
                assert allowed.json["error"] in ("validation_failed", "unsupported_media_type"), allowed.text


def test_every_endpoint_that_takes_a_user_id_refuses_another_users(locked: Flask) -> None:
    client, user = locked.test_client(), registered(locked)
    tried = 0
    for rule in routes(locked):
        declared = getattr(locked.view_functions[rule.endpoint], "_apidoc", {}).get("arguments", {})
        schemas = [argument["schema"] for argument in declared.get("parameters", [])]
        if not any("user_id" in schema.fields for schema in schemas):
            continue
        for method in rule.methods & set(METHODS):
            for given in ({"json": {"user_id": "bob"}}, {"query_string": {"user_id": "bob"}}):
                answer = client.open(path_of(rule), method=method, headers=user["headers"], **given)
                assert_refused(answer, 403, "forbidden")
                assert "user_id" in answer.json["message"]
                tried += 1
    assert tried > 30


# ------------------------------------------------------------------ service keys


@pytest.mark.parametrize("key", [KEY, OLD_KEY])
def test_each_service_key_opens_while_one_replaces_the_other(gate: FlaskClient, any_dify: FakeDify, key: str) -> None:
    any_dify.play("datasets/list-default")
    assert gate.get("/kb/list", headers=bearer(key)).json["code"] == 0


@pytest.mark.parametrize(
    "header",
    [
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY.upper()}",
        f"Bearer {KEY},{OLD_KEY}",
        f"Bearer {KEY}\x00",
        f"Basic {KEY}",
        "Bearer é中",
        "Bearer nullnullnull",
        "Bearer " + "x" * 7000,
    ],
)
def test_what_is_no_service_key_is_refused(gate: FlaskClient, header: str) -> None:
    answer = gate.get("/kb/list", environ_overrides={"HTTP_AUTHORIZATION": header.encode().decode("latin-1")})
    assert_refused(answer, 401, "credentials_invalid")
    assert header[8:] not in answer.text


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "   "])
def test_an_empty_credential_is_a_missing_one(gate: FlaskClient, header: str) -> None:
    answer = gate.get("/kb/list", environ_overrides={"HTTP_AUTHORIZATION": header})
    assert answer.json["error"] in ("credentials_missing", "credentials_invalid")
    assert answer.status_code == 401


def test_a_service_key_speaks_for_any_user(gate: FlaskClient, any_dify: FakeDify) -> None:
    for user_id in ("alice", "bob"):
        answer = gate.get("/conversation/list", query_string={"user_id": user_id}, headers=bearer(KEY))
        assert answer.json["data"] == {"conversations": [], "total": 0}


# ------------------------------------------------------------------ users


def test_a_user_speaks_for_nobody_else_and_need_not_say_who_they_are(
    locked: Flask, gate: FlaskClient, any_dify: FakeDify
) -> None:
    user, other = registered(locked), registered(locked, "xiren")
    without_variables(any_dify)
    any_dify.play("chat/streaming-first-turn")
    turn = gate.post("/conversation/completion", json={"message": "?"}, headers=user["headers"]).json["data"]
    assert any_dify.sent()["user"] == user["user_id"]
    mine = gate.get("/conversation/list", headers=user["headers"]).json["data"]
    assert [row["id"] for row in mine["conversations"]] == [turn["conversation_id"]]
    assert gate.get("/conversation/list", headers=other["headers"]).json["data"]["total"] == 0
    theirs = {"conversation_id": turn["conversation_id"], "message_id": turn["message_id"], "name": "x", "score": 1}
    for path in ("get", "messages", "rename", "rm", "stop"):
        answer = gate.post(f"/conversation/{path}", json=theirs, headers=other["headers"])
        assert answer.status_code == 404, answer.text
    for path in ("get", "feedback", "suggested"):
        assert gate.post(f"/message/{path}", json=theirs, headers=other["headers"]).status_code == 404
    going_on = {"message": "?", "conversation_id": turn["conversation_id"]}
    assert gate.post("/conversation/completion", json=going_on, headers=other["headers"]).status_code == 404
    assert len(any_dify.calls) == 2


@pytest.mark.parametrize("user_id", [5, ["x"], {"a": 1}, True, "YINGLIAN", "alice"])
def test_whatever_else_a_user_gives_as_user_id_is_refused(locked: Flask, gate: FlaskClient, user_id: Any) -> None:
    user = registered(locked)
    answer = gate.post("/conversation/list", json={"user_id": user_id}, headers=user["headers"])
    assert_refused(answer, 403, "forbidden")


def test_ragflows_frontend_sends_the_bare_token(locked: Flask, gate: FlaskClient) -> None:
    token = registered(locked)["headers"]["Authorization"].removeprefix("Bearer ")
    assert gate.get("/conversation/list", headers={"Authorization": token}).json["code"] == 0


def forged(login: list[Any], secret: str = SECRET, salt: str = "route-api-login", **signer: Any) -> str:
    return str(URLSafeTimedSerializer(secret, salt=salt, signer_kwargs=signer).dumps(login))


def test_a_forged_token_is_refused(locked: Flask, gate: FlaskClient) -> None:
    user, other = registered(locked), registered(locked, "xiren")
    token = user["headers"]["Authorization"].removeprefix("Bearer ")
    payload, stamp, signature = token.split(".")
    others_payload = other["headers"]["Authorization"].removeprefix("Bearer ").split(".")[0]
    for attempt in (
        forged([user["user_id"], 0], "another-secret-of-some-length"),
        forged([user["user_id"], 0], ""),
        forged([user["user_id"], 0], salt="another salt"),
        forged([user["user_id"], 0]),  # SHA-1, as itsdangerous signs if one does not say otherwise
        f"{others_payload}.{stamp}.{signature}",
        f"{payload}.{stamp}.",
        f"{payload}.{stamp}",
        payload,
        f"{payload}.{stamp}.{signature[:-2]}",
        token[::-1],
        "eyJhbGciOiJub25lIn0.eyJ1c2VyX2lkIjoiYWRtaW4ifQ.",
    ):
        assert_refused(gate.get("/conversation/list", headers=bearer(attempt)), 401, "credentials_invalid")


def test_a_token_ends_after_its_lifetime(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(**LOCKED, LOGIN_LIFETIME=60)
    user = registered(app)
    assert app.test_client().get("/conversation/list", headers=user["headers"]).status_code == 200
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: __import__("time").monotonic() + 4e9)
    assert_refused(app.test_client().get("/conversation/list", headers=user["headers"]), 401, "login_ended")


def test_a_token_ends_with_its_user_and_with_its_generation(locked: Flask, gate: FlaskClient) -> None:
    user = registered(locked)
    with locked.app_context():
        users.end_logins(db.engine, user["user_id"])
    assert_refused(gate.get("/conversation/list", headers=user["headers"]), 401, "login_ended")
    nobody = bearer(Tokens(SECRET, 60).write(Login("0" * 32, 0)))
    assert_refused(gate.get("/conversation/list", headers=nobody), 401, "login_ended")


def test_a_role_that_is_taken_away_is_gone_at_once(locked: Flask, gate: FlaskClient) -> None:
    admin = registered(locked, "boss", "admin")
    assert gate.post("/kb/rm", headers=admin["headers"]).status_code == 400
    with locked.app_context():
        users.change_role(db.engine, "boss", "user")
    assert_refused(gate.post("/kb/rm", headers=admin["headers"]), 403, "forbidden")


def test_without_a_secret_key_nobody_logs_in_and_no_token_counts(make_app: MakeApp) -> None:
    app = make_app(AUTH="required", API_KEYS=[KEY])
    with app.app_context():
        users.register(db.engine, "yinglian", "a long sentence")
    client = app.test_client()
    answer = client.post("/user/login", json={"username": "yinglian", "password": "a long sentence"})
    assert_refused(answer, 503, "accounts_not_configured")
    assert_refused(client.get("/kb/list", headers=bearer(forged(["x", 0], ""))), 401, "credentials_invalid")


# ------------------------------------------------------------------ anybody


def test_where_everybody_may_call_nobody_is_asked(client: FlaskClient, any_dify: FakeDify) -> None:
    any_dify.play("datasets/list-default")
    any_dify.play("datasets/list-default")
    assert client.get("/kb/list").json["code"] == 0
    assert client.get("/kb/list", headers=bearer("a token of RAGFlow's")).json["code"] == 0


def test_a_logged_in_user_is_held_to_it_where_everybody_may_call(make_app: MakeApp) -> None:
    app = make_app(SECRET_KEY=SECRET)
    user = registered(app)
    client = app.test_client()
    refused = client.get("/conversation/list?user_id=bob", headers=user["headers"])
    assert_refused(refused, 403, "forbidden")
    assert_refused(client.post("/kb/create", json={"name": "x"}, headers=user["headers"]), 403, "forbidden")


def test_an_unknown_path_and_a_wrong_method_are_told_to_everybody(gate: FlaskClient) -> None:
    assert_refused(gate.get("/nothing"), 404, "route_not_found")
    assert_refused(gate.put("/kb/list"), 405, "method_not_allowed")


def test_a_key_never_shows(locked: Flask, gate: FlaskClient, log: pytest.LogCaptureFixture) -> None:
    gate.get("/kb/list", headers=bearer(KEY[:-1]))
    gate.post("/kb/rm", headers=bearer(KEY))
    assert not re.search(f"{KEY[:-1]}|{SECRET}", log.text)
