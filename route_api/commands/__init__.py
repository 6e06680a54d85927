"""The commands that we add to `flask`: `flask dify`, `flask user`, `flask api-reference` and `flask
translations`."""

import click
from flask import Flask

from ..extensions import api
from ..languages import ENGLISH, LANGUAGES
from ..openapi.markdown import api_reference
from ..openapi.translation import translate_into, translated_document
from .dify import dify_commands
from .translations import update_translations
from .user import user_commands


def register_commands(app: Flask) -> None:
    """Add our commands to the command line of the application."""
    app.cli.add_command(dify_commands)
    app.cli.add_command(print_reference)
    app.cli.add_command(update_translations)
    app.cli.add_command(user_commands)


@click.command("api-reference")
@click.option("--language", type=click.Choice(LANGUAGES), default=ENGLISH)
def print_reference(language: str) -> None:
    """Print the API reference; `make docs` writes it to docs/api.md and docs/api.zh.md."""
    translate = translate_into(language)
    click.echo(api_reference(translated_document(api.spec.to_dict(), translate), translate), nl=False)
