"""The console's session beyond the recordings: the lock, single use, logout, the first setup."""

import re
from pathlib import Path

from werkzeug.security import check_password_hash

from route_api.sandbox.app import create_sandbox
from route_api.sandbox.gateway_settings import prepare_gateway_settings

from ...support.sandbox_chat import Sandbox


def test_six_wrong_passwords_lock_the_address_even_for_the_right_one(sandbox: Sandbox) -> None:
    statuses = [sandbox.login("WrongPass123").status_code for _ in range(6)]
    assert statuses == [401] * 6
    answer = sandbox.login()
    assert (answer.status_code, answer.json["code"]) == (429, "email_code_login_limit")


def test_a_right_password_forgets_the_wrong_ones(sandbox: Sandbox) -> None:
    for _ in range(2):
        assert [sandbox.login("WrongPass123").status_code for _ in range(5)] == [401] * 5
        assert sandbox.login().status_code == 200


def test_the_lock_outlives_a_restart(sandbox: Sandbox) -> None:
    for _ in range(6):
        sandbox.login("WrongPass123")
    assert Sandbox(sandbox.data_dir, sandbox.credentials).login().status_code == 429


def test_a_refresh_token_works_once_and_brings_a_new_session(sandbox: Sandbox) -> None:
    sandbox.open_session()
    spent = sandbox.cookie("refresh_token")
    assert sandbox.client.post("/console/api/refresh-token").json == {"result": "success"}
    sandbox.csrf_token = sandbox.cookie("csrf_token")
    assert sandbox.console("GET", "/account/profile").status_code == 200
    sandbox.client.set_cookie("refresh_token", spent)
    assert sandbox.client.post("/console/api/refresh-token").status_code == 401


def test_the_password_is_stored_as_a_hash_only(sandbox: Sandbox) -> None:
    password = sandbox.credentials["DIFY_CONSOLE_PASSWORD"]
    row = sandbox.flask.extensions["sandbox_store"].connection().execute("SELECT * FROM account").fetchone()
    assert password not in map(str, tuple(row))
    assert check_password_hash(row["password_hash"], password)


def test_setup_makes_the_account_once(tmp_path: Path) -> None:
    client = create_sandbox(tmp_path).test_client()
    body = {"email": "owner@example.com", "name": "admin", "password": "Abcdef12345"}
    assert client.get("/console/api/setup").json == {"step": "not_started", "setup_at": None}
    assert client.post("/console/api/setup", json=body).status_code == 201
    assert client.post("/console/api/setup", json=body).status_code == 403


def test_the_page_to_which_provision_sends_people_asks_for_what_the_setup_needs(tmp_path: Path) -> None:
    page = create_sandbox(tmp_path).test_client().get("/install")
    assert page.mimetype == "text/html"
    assert re.findall(r'name="(\w+)"', page.text) == ["email", "name", "password"]
    assert "/console/api/setup" in page.text


def test_bootstrap_gives_the_same_values_after_a_restart(tmp_path: Path) -> None:
    first = prepare_gateway_settings(tmp_path)
    assert sorted(first) == [
        "DIFY_APP_API_KEY",
        "DIFY_CONSOLE_EMAIL",
        "DIFY_CONSOLE_PASSWORD",
        "DIFY_DATASET_API_KEY",
    ]
    assert prepare_gateway_settings(tmp_path) == first
    sandbox = Sandbox(tmp_path, first)
    assert [app["name"] for app in sandbox.console("GET", "/apps").json["data"]] == ["Route API sandbox"]


def test_the_file_with_the_password_is_its_owner_s_alone(sandbox: Sandbox) -> None:
    assert (sandbox.data_dir / "credentials.json").stat().st_mode & 0o777 == 0o600


def test_a_lost_credentials_file_means_a_new_password_that_works(sandbox: Sandbox) -> None:
    (sandbox.data_dir / "credentials.json").unlink()
    renewed = prepare_gateway_settings(sandbox.data_dir)
    assert renewed["DIFY_CONSOLE_PASSWORD"] != sandbox.credentials["DIFY_CONSOLE_PASSWORD"]
    assert renewed["DIFY_DATASET_API_KEY"] == sandbox.credentials["DIFY_DATASET_API_KEY"]
    assert Sandbox(sandbox.data_dir, renewed).login().status_code == 200


def test_the_bootstrapped_app_asks_for_nothing_and_takes_long_values(sandbox: Sandbox) -> None:
    declared = sandbox.service("GET", "/parameters").json["user_input_form"]
    assert [item["paragraph"]["variable"] for item in declared] == ["instructions", "context", "history"]
    sandbox.ask("[[nothink]]", inputs={"context": "长" * 200_000})
    sandbox.ask("[[nothink]]")
