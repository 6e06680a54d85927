"""Commands of `flask`."""

import click
from flask import Flask

from .commands import dify_commands, user
from .extensions import api
from .reference import api_reference


def register_commands(app: Flask) -> None:
    """Add our commands to the application's."""
    app.cli.add_command(dify_commands)
    app.cli.add_command(print_reference)
    app.cli.add_command(user)


@click.command("api-reference")
def print_reference() -> None:
    """Print the API reference, which `make docs` keeps in docs/api.md."""
    click.echo(api_reference(api.spec.to_dict()), nl=False)
