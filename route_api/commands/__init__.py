"""What an operator does with `flask dify` and `flask user`, and what those commands are made of."""

from .dify import dify_commands
from .user import user

__all__ = ["dify_commands", "user"]
