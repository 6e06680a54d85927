"""`flask dify provision` and `flask dify check`: their options, their output and their exit status."""

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import orjson
from flask import current_app
from flask.cli import with_appcontext
from marshmallow import ValidationError

from config import PROJECT_DIR, Config, dify_address

from ..dify import Dify
from ..errors import ConsoleLoginRefused, DifyError, DifyForbidden, DifyUnreadable
from ..extensions import dify as configured_dify
from .dify_check import check_everything, is_fine
from .dify_provision import Provisioner, Step
from .env_file import EnvFileError, owner_of, read_env, update_env
from .finding import Finding

PROJECT_ENV_FILE = PROJECT_DIR / ".env"

LOGIN_SETTINGS = ("DIFY_CONSOLE_EMAIL", "DIFY_CONSOLE_PASSWORD")

LOGIN_REFUSED = (
    "Dify refused this e-mail address and password; nothing was changed. They were tried once and are not tried again:"
    " six wrong passwords lock the account for a day, and it may be locked already. Before you run this command again,"
    " check them by a login on Dify's own page."
)


@click.group("dify")
def dify_commands() -> None:
    """Connect the gateway to a Dify, and check what works."""


@dify_commands.command()
@click.option("--url", help="Dify's address, without /v1; asked for if nothing names one.")
@click.option("--email", help="An owner's or admin's e-mail address in Dify; asked for if nothing names one.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option(
    "--env-file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=PROJECT_ENV_FILE,
    help="The file that gets the settings; the project's .env if left out.",
)
@click.option(
    "--keep-login/--forget-login",
    default=True,
    help="Whether the gateway keeps the login, for model parameters per request, default models, and downloads.",
)
@click.option("--show-secrets", is_flag=True, help="Print the settings, keys and password among them.")
@with_appcontext
def provision(
    url: str | None, email: str | None, password_stdin: bool, env_file: Path, keep_login: bool, show_secrets: bool
) -> None:
    """Write every setting that the gateway needs, from a Dify and an admin's login.

    Makes a dataset key, a chat app with our input variables and a key of that app, unless they exist already. You may
    run it as often as you like. The password is read from DIFY_CONSOLE_PASSWORD, from standard input or at a prompt,
    never from the command line, which everybody on this machine can read.
    """
    try:
        existing = read_env(env_file)
        project_settings = read_env(PROJECT_ENV_FILE)
        url = _check_address(url or existing.get("DIFY_BASE_URL") or click.prompt("Dify's address", type=str))
        email = email or existing.get("DIFY_CONSOLE_EMAIL") or click.prompt("E-mail of an owner or admin", type=str)
        password = _password(url, email, password_stdin, existing, project_settings)
        settings, is_complete = _provision(url, email, password, existing)
        removed = () if keep_login else LOGIN_SETTINGS
        settings = {name: value for name, value in settings.items() if name not in removed}
        is_written = update_env(env_file, settings, removed)
    except (EnvFileError, OSError) as error:
        raise click.ClickException(f"The settings could not be written: {error}") from error
    done = "Wrote" if is_written else "Nothing had to be changed in"
    click.echo(f"{done} {env_file}, which only its owner, {owner_of(env_file)}, may read: {', '.join(settings)}.")
    if os.geteuid() == 0 and owner_of(env_file) == "root":
        click.echo(f"Note: if the gateway runs as another user than root, give it this file: chown USER {env_file}")
    if show_secrets:
        for name, value in settings.items():
            click.echo(f"{name}={value}")
    _warn_about_environment(settings, project_settings)
    if settings["AUTH"] != "open":
        click.echo(f"Callers send the service key as 'Authorization: Bearer …'. It is API_KEYS in {env_file}.")
    if not is_complete:
        sys.exit(1)
    click.echo("Next: `flask --app wsgi db upgrade`, then `flask --app wsgi dify check`.")


def _check_address(url: str) -> str:
    """Return the address without a slash at its end.

    :raises click.UsageError: it cannot be the address of a Dify
    """
    try:
        dify_address(url)
    except ValidationError as error:
        raise click.UsageError(f"'{url}' {error.messages[0]}.") from error
    return url.rstrip("/")


def _password(url: str, email: str, from_stdin: bool, *files: dict[str, str]) -> str:
    """Read the password from standard input, the environment, one of the files or the terminal.

    A password in a file is only for the Dify and the account that the same file names. We must not send it to another
    server, and for another account Dify would count it as a wrong password. The environment may hold the password of
    the project's file, because `flask` copies that file into the environment.

    :param files: the settings of each file, by name
    """
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise click.UsageError("There is no password on standard input.")
        return password
    passwords_of_others = {
        file.get("DIFY_CONSOLE_PASSWORD")
        for file in files
        if (file.get("DIFY_BASE_URL", url).rstrip("/"), file.get("DIFY_CONSOLE_EMAIL")) != (url, email)
    }
    candidates = [os.environ.get("DIFY_CONSOLE_PASSWORD"), *(file.get("DIFY_CONSOLE_PASSWORD") for file in files)]
    for password in candidates:
        if password and password not in passwords_of_others:
            return password
    if not sys.stdin.isatty():
        raise click.UsageError("Give the password in DIFY_CONSOLE_PASSWORD, or with --password-stdin.")
    return str(click.prompt(f"Password of {email}", hide_input=True))


def _provision(url: str, email: str, password: str, existing: dict[str, str]) -> tuple[dict[str, str], bool]:
    """Run the provisioner, print its steps, and turn its errors into messages.

    :returns: the settings, in the order in which they are written, and whether the gateway can answer questions with
        them
    """
    former = existing.get("DIFY_BASE_URL", url)
    if former.rstrip("/") != url:  # We must not show the keys of one Dify to another.
        click.echo(f"The settings were those of {former}; its address and keys are replaced.")
        if "DIFY_APPS" in existing:
            click.echo("DIFY_APPS has keys of that Dify, too; please correct or remove that line yourself.")
        existing = {name: value for name, value in existing.items() if not name.startswith("DIFY_")}
    settings = _settings()
    dify = Dify(
        url,
        existing.get("DIFY_DATASET_API_KEY", ""),
        existing.get("DIFY_APP_API_KEY", ""),
        app_ids=settings.DIFY_APP_IDS,
        console_email=email,
        console_password=password,
        connect_timeout=settings.DIFY_CONNECT_TIMEOUT,
        read_timeout=settings.DIFY_READ_TIMEOUT,
        chat_timeout=settings.DIFY_CHAT_TIMEOUT,
        upload_timeout=settings.DIFY_UPLOAD_TIMEOUT,
        event_timeout=settings.DIFY_EVENT_TIMEOUT,
    )
    try:
        if not dify.provisioning.is_set_up():
            raise click.ClickException(
                f"This Dify has no account yet. Open {url}/install in a browser, make one, and run this again with it."
            )
        click.echo(f"Dify {dify.transport.server_version() or 'of an unknown version'} at {url}")
        result = Provisioner(dify, existing, _print_step).run()
    except ConsoleLoginRefused as error:
        raise click.ClickException(LOGIN_REFUSED) from error
    except DifyForbidden as error:
        text = f"{email} may not do this in Dify; it takes an owner or admin of the workspace. ({error.message})"
        raise click.ClickException(text) from error
    except DifyUnreadable as error:
        version = dify.transport.dify_version or "of an unknown version"
        text = f"Dify {version} answers in a form that we do not know. Nothing was written."
        raise click.ClickException(text) from error
    except DifyError as error:
        raise click.ClickException(f"{url}: {error.message} Nothing was written; run this again.") from error
    address = former if former.rstrip("/") == url else url  # The file keeps its own spelling of the address.
    login = dict(zip(LOGIN_SETTINGS, (email, password), strict=True))
    return {"DIFY_BASE_URL": address, **result.settings, **login}, result.is_complete


def _print_step(step: Step) -> None:
    click.echo(f"  {step.state:8}{step.text}.")


def _warn_about_environment(settings: dict[str, str], project_settings: dict[str, str]) -> None:
    """Print the settings for which the environment has another value, because that value wins over the file's.

    :param project_settings: the project's `.env` before this run; `flask` has copied it into the environment, so its
        values are no reason for a warning
    """
    for name, value in settings.items():
        if os.environ.get(name, value) not in (value, project_settings.get(name)):
            click.echo(f"Note: the environment has another {name}, and it wins over the file.", err=True)


@dify_commands.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for programs.")
@click.option("--without-login", is_flag=True, help="Skip the console login and the checks that need it.")
@with_appcontext
def check(as_json: bool, without_login: bool) -> None:
    """Report what works, what is missing, and what to do about it. Changes nothing.

    Exit status: 0 if everything that is needed works, 1 if not. The console login is tried once; do not repeat the
    check with a login that was refused, because six wrong passwords lock the account for a day.
    """
    findings = check_everything(_settings(), configured_dify, may_log_in=not without_login)
    works = is_fine(findings)
    if as_json:
        click.echo(orjson.dumps({"works": works, "findings": [asdict(finding) for finding in findings]}).decode())
    else:
        for finding in findings:
            click.echo(_line(finding))
    sys.exit(0 if works else 1)


def _settings() -> Config:
    settings: Any = {name: current_app.config[name] for name in Config.__dataclass_fields__}
    return Config(**settings)


def _line(finding: Finding) -> str:
    remedy = f" → {finding.remedy}" if finding.remedy else ""
    return f"{finding.state:9}{finding.capability}: {finding.text}{remedy}"
