"""`flask translations`: writes the texts that need a translation into the catalogues, as `make docs` does."""

import ast
from collections.abc import Iterator
from pathlib import Path

import click
import polib

from ..extensions import api
from ..languages import CHINESE, Catalogue, Sentence, catalogue_path
from ..openapi.markdown import api_reference
from ..openapi.page import document_for_page, page_texts
from ..openapi.translation import translated_document

PACKAGE = Path(__file__).parents[1]
OTHERS = ("sandbox",)
"""Folders whose sentences are not for callers of the API."""

Texts = dict[str, list[str]]
"""Texts in English, with the files in which they are."""


class NoLiteral(click.ClickException):
    """The text of a sentence is no literal, so it cannot be read from the code."""


def texts_of_messages() -> Texts:
    """The text of each :class:`Sentence` in the code.

    :raises NoLiteral: it is no literal
    """
    texts: Texts = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] in OTHERS:
            continue
        for text in sorted(set(_texts_in(path))):
            texts.setdefault(text, []).append(path.relative_to(PACKAGE.parent).as_posix())
    return texts


def _texts_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id != Sentence.__name__:
            continue
        text = node.args[0]
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            yield text.value
        elif path.stem != Sentence.__module__.rpartition(".")[2]:
            raise NoLiteral(f"{path}:{node.lineno}: the text of a Sentence must be a literal, not {ast.unparse(text)}.")


def texts_of_reference() -> Texts:
    """The texts that are looked up for docs/api.zh.md and for the OpenAPI document."""
    texts: Texts = {}

    def note(text: str) -> str:
        texts.setdefault(text, [])
        return text

    document = translated_document(api.spec.to_dict(), note)
    api_reference(document, note)
    document_for_page(document, note)
    page_texts(note)
    return texts


def update(catalogue: Catalogue, texts: Texts) -> list[str]:
    """Write the texts into a catalogue: new ones without a translation, and without those that are no longer used.

    :returns: the texts that have no translation
    """
    path = catalogue_path(CHINESE, catalogue)
    known = {entry.msgid: entry for entry in polib.pofile(path)} if Path(path).exists() else {}
    updated = polib.POFile(wrapwidth=118)
    updated.metadata = {"Language": CHINESE, "Content-Type": "text/plain; charset=utf-8"}
    for text, places in texts.items():
        entry = known.get(text) or polib.POEntry(msgid=text)
        entry.occurrences = [(place, "") for place in places]
        updated.append(entry)
    updated.save(path)
    return [entry.msgid for entry in updated if not entry.msgstr]


@click.command("translations")
def update_translations() -> None:
    """Write new texts into route_api/translations/, and tell which have no Chinese."""
    for text in update("messages", texts_of_messages()) + update("reference", texts_of_reference()):
        click.echo(f"No Chinese yet: {text}")
