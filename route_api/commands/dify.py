"""`flask dify`: connect the gateway to a Dify, and say what works."""

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
from ..errors import ConsoleLoginRefused, DifyError, DifyForbidden
from . import checkup
from .env_file import EnvFileError, read_env, update_env
from .provisioner import Note, Provisioner

PROJECT_ENV_FILE = PROJECT_DIR / ".env"

LOGIN = ("DIFY_CONSOLE_EMAIL", "DIFY_CONSOLE_PASSWORD")

LOGIN_REFUSED = (
    "Dify refused this e-mail address and password; nothing was changed. It was tried once and is not tried again by"
    " itself: six wrong passwords lock the account for a day (it may be locked already), so please make sure of them in"
    " Dify's own page first."
)


@click.group("dify")
def dify_commands() -> None:
    """Connect the gateway to a Dify, and see what works."""


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

    Makes what is missing in Dify: a dataset key, a chat app with our input variables, its key. Uses what is there, and
    may be run as often as you like. The password comes from DIFY_CONSOLE_PASSWORD, from standard input or from a
    question, never from the command line, where everybody on this machine could read it.
    """
    try:
        known = read_env(env_file)
        of_project = read_env(PROJECT_ENV_FILE)
        url = _address(url or known.get("DIFY_BASE_URL") or click.prompt("Dify's address", type=str))
        email = email or known.get("DIFY_CONSOLE_EMAIL") or click.prompt("E-mail of an owner or admin", type=str)
        password = _password(url, email, password_stdin, known, of_project)
        settings, is_complete = _provisioned(url, email, password, known)
        without = () if keep_login else LOGIN
        settings = {name: value for name, value in settings.items() if name not in without}
        is_written = update_env(env_file, settings, without)
    except (EnvFileError, OSError) as error:
        raise click.ClickException(f"The settings could not be written: {error}") from error
    done = "Wrote" if is_written else "Nothing had to be changed in"
    click.echo(f"{done} {env_file}, which only its owner may read: {', '.join(settings)}.")
    if show_secrets:
        for name, value in settings.items():
            click.echo(f"{name}={value}")
    _warn_of_environment(settings, of_project)
    if not is_complete:
        sys.exit(1)
    click.echo("Next: `flask --app wsgi db upgrade`, then `flask --app wsgi dify check`.")


def _address(url: str) -> str:
    try:
        dify_address(url)
    except ValidationError as error:
        raise click.UsageError(f"'{url}' {error.messages[0]}.") from error
    return url.rstrip("/")


def _password(url: str, email: str, from_stdin: bool, *files: dict[str, str]) -> str:
    """The password for this account, from where nobody else can read it.

    One that a file has is for the file's own Dify and account: it is not shown to another server, and for another
    account it would count as a wrong one. What the environment has may come from the project's file too, which was read
    at the start.
    """
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise click.UsageError("There is no password on standard input.")
        return password
    of_others = {
        file.get("DIFY_CONSOLE_PASSWORD")
        for file in files
        if (file.get("DIFY_BASE_URL", url).rstrip("/"), file.get("DIFY_CONSOLE_EMAIL")) != (url, email)
    }
    candidates = [os.environ.get("DIFY_CONSOLE_PASSWORD"), *(file.get("DIFY_CONSOLE_PASSWORD") for file in files)]
    for password in candidates:
        if password and password not in of_others:
            return password
    if not sys.stdin.isatty():
        raise click.UsageError("Give the password in DIFY_CONSOLE_PASSWORD, or with --password-stdin.")
    return str(click.prompt(f"Password of {email}", hide_input=True))


def _provisioned(url: str, email: str, password: str, known: dict[str, str]) -> tuple[dict[str, str], bool]:
    """The settings, in the order in which they are written, and whether questions can be answered with them."""
    former = known.get("DIFY_BASE_URL", url)
    if former.rstrip("/") != url:  # The keys of one Dify are no business of another.
        click.echo(f"The settings were those of {former}; its address and keys are replaced.")
        if "DIFY_APPS" in known:
            click.echo("DIFY_APPS has keys of it, too; please mend or remove that line yourself.")
        known = {name: value for name, value in known.items() if not name.startswith("DIFY_")}
    settings = _settings()
    dify = Dify(
        url,
        known.get("DIFY_DATASET_API_KEY", ""),
        known.get("DIFY_APP_API_KEY", ""),
        console_email=email,
        console_password=password,
        connect_timeout=settings.DIFY_CONNECT_TIMEOUT,
        read_timeout=settings.DIFY_READ_TIMEOUT,
        chat_timeout=settings.DIFY_CHAT_TIMEOUT,
        upload_timeout=settings.DIFY_UPLOAD_TIMEOUT,
    )
    try:
        if not dify.provisioning.is_set_up():
            raise click.ClickException(
                f"This Dify has no account yet. Open {url}/install in a browser, make one, and run this again with it."
            )
        click.echo(f"Dify {dify.transport.server_version() or 'of an unknown version'} at {url}")
        provisioned = Provisioner(dify, known, _print_note).run()
    except ConsoleLoginRefused as error:
        raise click.ClickException(LOGIN_REFUSED) from error
    except DifyForbidden as error:
        text = f"{email} may not do this in Dify; it takes an owner or admin of the workspace. ({error.message})"
        raise click.ClickException(text) from error
    except DifyError as error:
        raise click.ClickException(f"{url}: {error.message} Nothing was written; run this again.") from error
    except (LookupError, TypeError) as error:
        version = dify.transport.dify_version or "of an unknown version"
        text = f"Dify {version} answers in a form that we do not know. Nothing was written."
        raise click.ClickException(text) from error
    address = former if former.rstrip("/") == url else url  # As it is written already, if it is.
    login = dict(zip(LOGIN, (email, password), strict=True))
    return {"DIFY_BASE_URL": address, **provisioned.settings, **login}, provisioned.is_complete


def _print_note(note: Note) -> None:
    click.echo(f"  {note.state:8}{note.text}.")


def _warn_of_environment(settings: dict[str, str], of_project: dict[str, str]) -> None:
    """The environment wins over the file: say where it would. The project's old `.env` has been read into it."""
    for name, value in settings.items():
        if os.environ.get(name, value) not in (value, of_project.get(name)):
            click.echo(f"Note: the environment has another {name}, and it wins over the file.", err=True)


@dify_commands.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document for machines.")
@click.option("--without-login", is_flag=True, help="Do not try the console login, nor what needs it.")
@with_appcontext
def check(as_json: bool, without_login: bool) -> None:
    """Say what works and what is missing, with the way to mend it. Changes nothing.

    Exit status: 0 if everything that is needed works, 1 if not. The console login is tried once; do not repeat the
    check with a login that was refused, because six wrong passwords lock the account for a day.
    """
    findings = checkup.run(_settings(), may_log_in=not without_login)
    is_fine = not any(finding.state == "missing" for finding in findings)
    if as_json:
        click.echo(orjson.dumps({"works": is_fine, "findings": [asdict(finding) for finding in findings]}).decode())
    else:
        for finding in findings:
            click.echo(_line(finding))
    sys.exit(0 if is_fine else 1)


def _settings() -> Config:
    settings: Any = {name: current_app.config[name] for name in Config.__dataclass_fields__}
    return Config(**settings)


def _line(finding: checkup.Finding) -> str:
    remedy = f" → {finding.remedy}" if finding.remedy else ""
    return f"{finding.state:9}{finding.capability}: {finding.text}{remedy}"
