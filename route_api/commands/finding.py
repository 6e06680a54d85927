"""What a check of `flask dify check` has found."""

from dataclasses import dataclass
from typing import Literal

from ..languages import DIFY, Sentence, quoted

State = Literal["works", "missing", "optional", "unknown"]

NOTHING = quoted("")
"""The remedy where there is nothing to do."""

PROVISION = Sentence("run `flask --app wsgi dify provision`")


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of the check of one capability. `flask dify check` prints it in English; `dify/check` answers in the
    caller's language.

    :param state: it works; it is missing, though needed; it is missing, and optional; or we cannot know
    :param text: what was found, without secrets
    :param remedy: what to do about it; empty if there is nothing to do
    """

    capability: Sentence
    state: State
    text: Sentence
    remedy: Sentence = NOTHING


class WithoutStop(Sentence):
    """The message of an error as the text of a finding, which has no full stop at its end."""

    def __new__(cls, message: Sentence) -> "WithoutStop":
        """
        :param message: a whole sentence
        """
        made: WithoutStop = str.__new__(cls, message.rstrip("."))
        made._template, made._values = "{message}", {"message": message}
        return made

    def in_language(self, language: str, backend: str = DIFY) -> str:
        """The text in a language."""
        return self._values["message"].in_language(language, backend).rstrip(".。")
