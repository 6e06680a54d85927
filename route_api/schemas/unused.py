"""Tells the caller what was not used of a request: in the answer's `warnings`, as a refusal, or not at all, as the
setting UNKNOWN_PARAMETERS says."""

from collections.abc import Iterable

from flask import current_app

from ..errors import ValidationFailed
from ..languages import Sentence, joined
from ..monitoring import tracing


def report(sentences: Iterable[Sentence]) -> None:
    """Tell the caller what was not used.

    :param sentences: each begins with the name of a parameter
    :raises ValidationFailed: there is a sentence, and UNKNOWN_PARAMETERS is `refuse`
    """
    mode = current_app.config["UNKNOWN_PARAMETERS"] if current_app else "warn"
    told = list(sentences)
    if told and mode == "refuse":
        raise ValidationFailed(joined(told))
    if mode == "warn":
        for sentence in told:
            tracing.current().warn(sentence)
