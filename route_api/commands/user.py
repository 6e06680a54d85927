"""`flask user`: the operator makes users who can log in, and changes their roles and passwords."""

import click
from flask.cli import AppGroup
from marshmallow import Schema, ValidationError

from ..access import users
from ..access.callers import ADMIN
from ..errors import ApiError
from ..extensions import db
from ..schemas import user as schemas
from ..schemas.base import describe_problems

user_commands = AppGroup("user", help="Make users who can log in, and say what they may do.")

ROLES = ["user", ADMIN]


@user_commands.command("list")
def list_users() -> None:
    """Print all users who can log in, and their roles."""
    for account in users.list_users(db.engine):
        click.echo(f"{account['username']}\t{account['role']}\t{account['user_id']}")


@user_commands.command("create")
@click.argument("username")
@click.option("--role", type=click.Choice(ROLES), default="user", help="admin: may change knowledge bases.")
@click.password_option(help="Asked for if left out: on a command line everybody on the machine reads it.")
def create_user(username: str, role: str, password: str) -> None:
    """Make a user who can log in."""
    given = validated(schemas.Registration(), username=username, password=password)
    try:
        account = users.register(db.engine, given["username"], given["password"], role)
    except ApiError as error:
        raise click.ClickException(error.message) from error
    click.echo(f"Made the user {account['username']} with the role {role}.")


@user_commands.command("role")
@click.argument("username")
@click.argument("role", type=click.Choice(ROLES))
def give_role(username: str, role: str) -> None:
    """Give a user another role, from their next request on."""
    try:
        users.change_role(db.engine, schemas.canonical_name(username), role)
    except ApiError as error:
        raise click.ClickException(error.message) from error
    click.echo(f"{username} has the role {role}.")


@user_commands.command("password")
@click.argument("username")
@click.password_option(help="Asked for if left out.")
def set_password(username: str, password: str) -> None:
    """Give a user who has lost theirs another password, and sign them out on all devices."""
    given = validated(schemas.Registration(), username=username, password=password)
    try:
        user_id = users.user_id_of(db.engine, given["username"])
    except ApiError as error:
        raise click.ClickException(error.message) from error
    users.change_password(db.engine, user_id, given["password"])
    click.echo(f"{given['username']} has another password, and is signed out everywhere.")


def validated(schema: Schema, **given: str) -> dict[str, str]:
    """Validate what the operator typed, with the rules of the API.

    :raises click.ClickException: it breaks a rule
    """
    try:
        loaded: dict[str, str] = schema.load(given)
    except ValidationError as error:
        raise click.ClickException(" ".join(describe_problems(error.messages))) from error
    return loaded
