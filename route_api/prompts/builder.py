"""A turn's prompt: what goes to the Dify app by its variables, and what within the query."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..dify.records import document_name, segment_text
from .templates import PromptTemplate
from .variables import Form, escape_braces

Json = dict[str, Any]

CONTEXT_BUDGET = 20_000
"""Characters of passages in one prompt. Dify neither cuts nor refuses a prompt that is too long (FINDINGS b)."""

HISTORY_BUDGET = 20_000
"""Characters of earlier turns in one prompt."""

SEPARATOR = "\n\n"
"""Between passages, and between turns."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a Dify app is asked.

    :param inputs: a value for every variable that the app declares
    :param context: the text of the passages, as the model reads it
    :param passages: Dify's records that went into it, best first
    :param history_used: how many earlier turns went into it
    """

    query: str
    inputs: dict[str, str]
    context: str
    passages: list[Json]
    history_used: int


def compose(
    template: PromptTemplate, form: Form, *, question: str, records: Sequence[Json], history: Sequence[str]
) -> Prompt:
    """The prompt of a turn. What the app declares goes by its variables, the rest by the template's query.

    :param form: the variables that the app declares
    :param records: Dify's records, best first; the weakest are left out where not all fit
    :param history: a text for each earlier turn, oldest first; the oldest are left out where not all fit
    """
    passages = _first_that_fit(map(_passage, range(1, len(records) + 1), records), _room("context", form, template))
    turns = _first_that_fit(reversed(history), _room("history", form, template))[::-1]
    texts = {"context": SEPARATOR.join(passages), "history": SEPARATOR.join(turns)}
    texts["instructions"] = template.write_instructions(question=question, **texts)
    inputs = {name: "" for name in form}  # Dify writes the word None for one left out (FINDINGS b)
    in_query = {name: "" for name in texts}
    for name, text in texts.items():
        value = escape_braces(text)
        if name in form and len(value) <= (form[name] or len(value)):
            inputs[name] = value
        else:
            in_query[name] = text
    return Prompt(
        query=template.write_query(question=question, **in_query),
        inputs=inputs,
        context=texts["context"],
        passages=list(records[: len(passages)]),
        history_used=len(turns),
    )


def _room(name: str, form: Form, template: PromptTemplate) -> int:
    """Characters of passages or history that have a place in the prompt."""
    budget = {"context": CONTEXT_BUDGET, "history": HISTORY_BUDGET}[name]
    if name in form:
        return min(form[name] or budget, budget)
    return budget if name in template.query_reads else 0


def _first_that_fit(texts: Iterable[str], room: int) -> list[str]:
    """The first texts that together stay within `room` characters, as Dify counts them in a value, each whole."""
    kept: list[str] = []
    length = 0
    for text in texts:
        length += len(escape_braces(text)) + (len(SEPARATOR) if kept else 0)
        if length > room:
            break
        kept.append(text)
    return kept


def _passage(number: int, record: Json) -> str:
    return f"[{number}] {document_name(record)}\n{segment_text(record['segment'])}"
