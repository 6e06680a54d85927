"""Tells the caller what was not used of a request: in the answer's `warnings`, as a refusal, or not at all, as the
setting UNKNOWN_PARAMETERS says."""

from collections.abc import Iterable

from flask import current_app

from ..errors import ValidationFailed
from ..monitoring import tracing

SHOWN_CHARACTERS = 50
"""How much of a name is shown."""


def report(sentences: Iterable[str]) -> None:
    """Tell the caller what was not used.

    :param sentences: each begins with the name of a parameter
    :raises ValidationFailed: there is a sentence, and UNKNOWN_PARAMETERS is `refuse`
    """
    mode = current_app.config["UNKNOWN_PARAMETERS"] if current_app else "warn"
    told = list(sentences)
    if told and mode == "refuse":
        raise ValidationFailed(" ".join(told))
    if mode == "warn":
        for sentence in told:
            tracing.current().warn(sentence)


def shown(name: str) -> str:
    """A name for a sentence: not too long, and without characters that would break a line of the log."""
    short = name if len(name) <= SHOWN_CHARACTERS else f"{name[:SHOWN_CHARACTERS]}…"
    return "".join(char if char.isprintable() else "\ufffd" for char in short)
