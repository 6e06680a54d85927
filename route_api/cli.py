"""Commands of `flask`."""

from flask import Flask


def register_commands(app: Flask) -> None:
    """Add our commands to the application's."""
