"""`flask dify provision` and `flask dify check` as the operator types them."""

import json
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import flask_migrate
import pytest
from click.testing import Result
from dotenv import dotenv_values

from config import Config
from route_api.commands import dify as dify_commands
from route_api.commands.dify_provision import APP_NAME
from route_api.sandbox.errors import SandboxError

from ..support.fresh_dify import EMAIL, PASSWORD, FreshDify, fresh_dify
from ..support.gateway_client import MakeApp

WRITTEN = [
    "DIFY_BASE_URL",
    "DIFY_DATASET_API_KEY",
    "DIFY_APP_API_KEY",
    "AUTH",
    "API_KEYS",
    "SECRET_KEY",
    "DIFY_CONSOLE_EMAIL",
    "DIFY_CONSOLE_PASSWORD",
]
Provision = Callable[..., Result]


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of the test's own, and a project without one, in an environment without settings."""
    monkeypatch.setattr(dify_commands, "PROJECT_ENV_FILE", tmp_path / "no.env")
    for entry in fields(Config):
        monkeypatch.delenv(entry.name, raising=False)
    return tmp_path / "gateway.env"


@pytest.fixture
def provision(make_app: MakeApp, env_file: Path) -> Provision:
    """Types `flask dify provision --env-file …` with more arguments and perhaps something on standard input."""
    runner = make_app(DIFY_BASE_URL="").test_cli_runner()

    def run(*arguments: str, stdin: str = "") -> Result:
        return runner.invoke(args=["dify", "provision", "--env-file", str(env_file), *arguments], input=stdin)

    return run


@pytest.fixture
def first(provision: Provision, fresh: FreshDify) -> Result:
    return provision("--url", fresh.url, "--email", EMAIL, "--password-stdin", stdin=PASSWORD + "\n")


def test_every_setting_is_written_and_nothing_secret_is_printed(
    first: Result, env_file: Path, fresh: FreshDify
) -> None:
    assert first.exit_code == 0, first.output
    settings = dotenv_values(env_file)
    assert list(settings) == WRITTEN
    assert (settings["DIFY_BASE_URL"], settings["AUTH"]) == (fresh.url, "required")
    assert (settings["DIFY_CONSOLE_EMAIL"], settings["DIFY_CONSOLE_PASSWORD"]) == (EMAIL, PASSWORD)
    assert env_file.stat().st_mode & 0o777 == 0o600
    secrets = [settings[name] for name in WRITTEN if "KEY" in name or "PASSWORD" in name]
    assert len(secrets) == 5 and not [secret for secret in secrets if secret in first.output]
    assert f"made    the chat app “{APP_NAME}”" in first.output


def test_a_second_run_asks_for_nothing_and_changes_nothing(
    first: Result, provision: Provision, env_file: Path, fresh: FreshDify
) -> None:
    written, asked = env_file.read_bytes(), len(fresh.changes())
    second = provision()
    assert second.exit_code == 0, second.output
    assert env_file.read_bytes() == written
    assert len(fresh.changes()) == asked
    assert "Nothing had to be changed" in second.output and "made" not in second.output


def test_secrets_are_printed_when_that_is_asked_for(first: Result, provision: Provision, env_file: Path) -> None:
    shown = provision("--show-secrets").output
    assert all(f"{name}={value}" in shown for name, value in dotenv_values(env_file).items())


def test_a_login_that_shall_not_be_kept_is_not_written_and_an_old_one_is_taken_out(
    first: Result, provision: Provision, env_file: Path
) -> None:
    kept = [line for line in env_file.read_text().splitlines() if not line.startswith("DIFY_CONSOLE")]
    assert provision("--forget-login").exit_code == 0
    assert env_file.read_text().splitlines() == kept
    assert len(kept) == len(WRITTEN) - 2


@pytest.mark.parametrize(
    "known", ["DIFY_BASE_URL={url}/", "# nothing\nDIFY_BASE_URL={url}/\nDIFY_CONSOLE_EMAIL=" + EMAIL]
)
def test_what_the_file_has_already_need_not_be_said_and_stays_as_it_is_written(
    provision: Provision, env_file: Path, fresh: FreshDify, known: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file.write_text(known.format(url=fresh.url))
    monkeypatch.setenv("DIFY_CONSOLE_PASSWORD", PASSWORD)
    done = provision(stdin=EMAIL + "\n")
    assert done.exit_code == 0, done.output
    assert env_file.read_text().startswith(known.format(url=fresh.url) + "\n")


def test_a_wrong_password_is_tried_once_and_the_file_stays(
    provision: Provision, env_file: Path, fresh: FreshDify
) -> None:
    env_file.write_text("PORT=9001\n")
    done = provision("--url", fresh.url, "--email", EMAIL, "--password-stdin", stdin="Wrong1234\n")
    assert done.exit_code == 1
    assert "refused" in done.output and "Wrong1234" not in done.output
    assert fresh.calls.count("POST /console/api/login") == 1
    assert env_file.read_text() == "PORT=9001\n"


def test_the_stored_password_of_one_account_is_never_tried_for_another(
    first: Result, provision: Provision, fresh: FreshDify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFY_CONSOLE_PASSWORD", PASSWORD)  # Config.load copies it there from the file.
    fresh.calls.clear()
    done = provision("--email", "other@example.com")
    assert done.exit_code == 2 and "--password-stdin" in done.output
    assert fresh.calls == []


def test_without_a_terminal_and_a_password_it_says_how_to_give_one(provision: Provision, fresh: FreshDify) -> None:
    done = provision("--url", fresh.url, "--email", EMAIL)
    assert done.exit_code == 2 and "DIFY_CONSOLE_PASSWORD" in done.output
    done = provision("--url", fresh.url, "--email", EMAIL, "--password-stdin", stdin="")
    assert done.exit_code == 2 and "standard input" in done.output


def test_there_is_no_option_for_a_password(provision: Provision) -> None:
    assert provision("--password", "x").exit_code == 2
    assert "--password " not in provision("--help").output


@pytest.mark.parametrize("url", ["dify.example.com", "http://dify.example.com/v1", "ftp://dify"])
def test_an_address_that_cannot_be_one_is_named(provision: Provision, url: str) -> None:
    done = provision("--url", url, "--email", EMAIL, "--password-stdin", stdin="x\n")
    assert done.exit_code == 2 and url in done.output


def test_a_dify_that_is_away_is_told_in_words(provision: Provision, env_file: Path) -> None:
    done = provision("--url", "http://127.0.0.1:9", "--email", EMAIL, "--password-stdin", stdin="x\n")
    assert done.exit_code == 1 and "http://127.0.0.1:9: Dify cannot be reached" in done.output
    assert not env_file.exists()


def test_a_dify_without_an_account_is_sent_to_its_install_page(
    provision: Provision, tmp_path: Path, env_file: Path
) -> None:
    with fresh_dify(tmp_path / "empty", with_account=False) as empty:
        done = provision("--url", empty.url, "--email", EMAIL, "--password-stdin", stdin="x\n")
        assert done.exit_code == 1 and f"{empty.url}/install" in done.output
        assert "POST /console/api/login" not in empty.calls


def test_without_a_model_the_settings_are_written_and_it_says_what_is_missing(
    provision: Provision, env_file: Path, fresh: FreshDify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("route_api.sandbox.model.available_models.all_models", list)
    done = provision("--url", fresh.url, "--email", EMAIL, "--password-stdin", stdin=PASSWORD + "\n")
    assert done.exit_code == 1
    assert "missing a language model" in done.output
    assert f"Wrote {env_file}" in done.output and list(dotenv_values(env_file)) == WRITTEN


def test_the_keys_and_the_password_of_one_dify_are_not_shown_to_another(
    first: Result, provision: Provision, env_file: Path, tmp_path: Path
) -> None:
    before = dotenv_values(env_file)
    with fresh_dify(tmp_path / "other") as other:
        assert provision("--url", other.url).exit_code == 2
        assert other.calls == []
        done = provision("--url", other.url, "--password-stdin", stdin=PASSWORD + "\n")
        assert done.exit_code == 0, done.output
        assert not [call for call in other.calls if call.startswith("GET /v1/datasets")]
    after = dotenv_values(env_file)
    changed = {name for name in WRITTEN if before[name] != after[name]}
    assert changed == {"DIFY_BASE_URL", "DIFY_DATASET_API_KEY", "DIFY_APP_API_KEY"}
    assert str(before["DIFY_BASE_URL"]) in done.output


def test_a_console_that_answers_in_an_unknown_form_is_told_in_words(
    provision: Provision, env_file: Path, fresh: FreshDify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("route_api.sandbox.access.dataset_key_routes.list_keys", lambda *_: [{"key": "secret"}])
    done = provision("--url", fresh.url, "--email", EMAIL, "--password-stdin", stdin=PASSWORD + "\n")
    assert done.exit_code == 1 and "form that we do not know" in done.output and "secret" not in done.output
    assert not env_file.exists()


def test_a_member_who_may_not_do_this_is_told_who_may(
    provision: Provision, fresh: FreshDify, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise SandboxError(403, "forbidden", "You don't have the permission.")

    monkeypatch.setattr("route_api.sandbox.access.dataset_key_routes.list_keys", refuse)
    done = provision("--url", fresh.url, "--email", EMAIL, "--password-stdin", stdin=PASSWORD + "\n")
    assert done.exit_code == 1 and "owner or admin" in done.output


def test_a_file_that_cannot_be_written_is_told_in_words(
    provision: Provision, env_file: Path, fresh: FreshDify, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    done = provision("--url", fresh.url, "--email", EMAIL, "--password-stdin", stdin=PASSWORD + "\n")
    assert done.exit_code == 1 and "No space left" in done.output
    assert not env_file.exists()


def test_what_the_environment_has_otherwise_is_told_because_it_wins(
    first: Result, provision: Provision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFY_BASE_URL", "http://another.example")
    monkeypatch.setenv("AUTH", "required")
    output = provision().output
    assert "another DIFY_BASE_URL" in output and "another AUTH" not in output


def test_check_prints_a_line_for_each_capability_and_fails_if_something_is_missing(make_app: MakeApp) -> None:
    runner = make_app(DIFY_BASE_URL="").test_cli_runner()
    done = runner.invoke(args=["dify", "check"])
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert all(line.split()[0] in ("works", "missing", "optional", "unknown") for line in lines)
    assert any(line.startswith("missing  Dify: DIFY_BASE_URL is not set → ") for line in lines)


def test_check_succeeds_for_what_provision_wrote_and_speaks_json_too(
    first: Result, env_file: Path, make_app: MakeApp
) -> None:
    settings = dotenv_values(env_file)
    app = make_app(**{**settings, "API_KEYS": [settings["API_KEYS"]]})
    with app.app_context():
        flask_migrate.stamp()
    done = app.test_cli_runner().invoke(args=["dify", "check", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.output)
    assert report["works"] is True
    assert {"capability", "state", "text", "remedy"} == set(report["findings"][0])
    assert PASSWORD not in done.output
