"""The commands that we add to `flask`: `flask dify`, `flask user` and `flask api-reference`."""

import click
from flask import Flask

from ..extensions import api
from ..openapi.markdown import api_reference
from .dify import dify_commands
from .user import user_commands


def register_commands(app: Flask) -> None:
    """Add our commands to the command line of the application."""
    app.cli.add_command(dify_commands)
    app.cli.add_command(print_reference)
    app.cli.add_command(user_commands)


@click.command("api-reference")
def print_reference() -> None:
    """Print the API reference; `make docs` writes it to docs/api.md."""
    click.echo(api_reference(api.spec.to_dict()), nl=False)
