"""Sentences for callers, and the language in which a caller gets them.

A sentence is written in English where its error is made, and is put into the caller's language when the answer is
written as JSON (`envelope.py`). In between it is a `str` in English. So logs are in English, and a sentence may be made
in any thread, before the caller's language is known, and once for all callers.
"""

from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Literal

import polib
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

ENGLISH, CHINESE = "en", "zh"
LANGUAGES = (ENGLISH, CHINESE)

DIFY = "Dify"
"""What our sentences call the server behind the gateway. The setting DIFY_NAME can give it another name."""

Catalogue = Literal["messages", "reference"]
"""`messages`: the sentences of answers. `reference`: the texts of the OpenAPI document and of docs/api.md."""


class Sentence(str):
    """A sentence of ours for a caller: as a `str` in English, and in another language by :meth:`in_language`.

    The first argument must be a literal, because `make docs` reads the sentences of the catalogue from the code.
    """

    _template: str
    _values: dict[str, Any]

    def __new__(cls, template: str, /, **values: Any) -> "Sentence":
        """
        :param template: the English text. With values it is a format string, in which `{name}` is the value `name`
        :param values: a value that is a sentence is put into the caller's language too
        """
        sentence = super().__new__(cls, template.format(**values) if values else template)
        sentence._template = template
        sentence._values = values
        return sentence

    def format(self, *_: object, **values: object) -> "Sentence":
        """The sentence with further values. marshmallow calls this for the messages of its fields and validators."""
        return Sentence(self._template, **{**values, **self._values})

    def in_language(self, language: str, backend: str = DIFY) -> str:
        """The text in a language. Without a translation it stays in English.

        :param backend: stands in our own words in place of Dify; values stay as they are
        """
        if language == ENGLISH and backend == DIFY:
            return str(self)
        template = self._template
        if language != ENGLISH:
            template = translations(language, "messages").get(template, template)
        template = template.replace(DIFY, backend)
        if not self._values:
            return template
        values = {
            name: value.in_language(language, backend) if isinstance(value, Sentence) else value
            for name, value in self._values.items()
        }
        return template.format(**values)


def quoted(text: str) -> Sentence:
    """Words that are not ours, such as Dify's. They are the same in every language. A sentence stays what it is."""
    return text if isinstance(text, Sentence) else Sentence("{words}", words=text)


def shown(text: str, length: int = 50) -> str:
    """A caller's text for a sentence: on one line, because a line of the log should not be broken, and not too long.

    :param length: the maximum number of characters
    """
    short = text if len(text) <= length else f"{text[:length]}…"
    return "".join(character if character.isprintable() else "\ufffd" for character in short)


def joined(sentences: "list[Sentence]") -> Sentence:
    """Sentences one after the other: with a blank between two in English, and without one in Chinese."""
    whole = sentences[0]
    for sentence in sentences[1:]:
        whole = Sentence("{sentences} {next_sentence}", sentences=whole, next_sentence=sentence)
    return whole


@cache
def translations(language: str, catalogue: Catalogue) -> dict[str, str]:
    """The texts of a catalogue in a language, by their English text."""
    return {entry.msgid: entry.msgstr for entry in read_catalogue(language, catalogue) if entry.msgstr}


def read_catalogue(language: str, catalogue: Catalogue) -> polib.POFile:
    """The file of a catalogue."""
    return polib.pofile(catalogue_path(language, catalogue))


def catalogue_path(language: str, catalogue: Catalogue) -> str:
    """Where the file of a catalogue is."""
    return str(files(__package__) / "translations" / f"{language}.{catalogue}.po")


MAX_HEADER_LENGTH = 200
"""How much of the header Accept-Language is read, in characters. What was read is remembered."""


def preferred_language(accept_language: str | None, default: str) -> str:
    """The language of an answer.

    :param accept_language: the header Accept-Language. Every kind of Chinese counts as Chinese
    :param default: the language if the header names none that we have
    """
    return _preferred_language(accept_language[:MAX_HEADER_LENGTH], default) if accept_language else default


@lru_cache(1000)
def _preferred_language(accept_language: str, default: str) -> str:
    for tag, quality in parse_accept_header(accept_language, LanguageAccept):
        language = tag.replace("_", "-").partition("-")[0].lower()
        if quality > 0 and language in LANGUAGES:
            return language
    return default
