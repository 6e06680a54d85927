"""Builds the prompt of a turn: which text the Dify app gets in a variable, and which in the query."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..dify.records import document_name, segment_text
from .templates import PromptTemplate
from .variables import CONTEXT, HISTORY, INSTRUCTIONS, Limits, escape_braces

Json = dict[str, Any]

BUDGETS = {CONTEXT: 20_000, HISTORY: 20_000}
"""Characters of passages and of earlier turns in one prompt.

Dify neither cuts nor refuses a prompt that is too long for the model (tests/contract/FINDINGS.md, b).
"""

SEPARATOR = "\n\n"
"""Stands between two passages and between two turns."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The parts of a request to a Dify app.

    :param query: the text that Dify gives to the model as the user's message
    :param inputs: a value for every variable that we fill; empty if there is nothing to say in it
    :param context: the text of the passages, as the model reads it
    :param passages: the records of Dify whose text is in the prompt, best first
    :param history_used: the number of earlier turns in the prompt
    """

    query: str
    inputs: dict[str, str]
    context: str
    passages: list[Json]
    history_used: int


def build_prompt(
    template: PromptTemplate, limits: Limits, *, question: str, records: Sequence[Json], history: Sequence[str]
) -> Prompt:
    """Build the prompt of a turn.

    A text goes into the variable of its name if the app declares that variable, and into the query if not.

    :param limits: the variables of the app that we fill
    :param records: Dify's records, best first; if not all of them fit, the weakest are left out
    :param history: a text for each earlier turn, oldest first; if not all of them fit, the oldest are left out
    """
    numbered = map(_passage_text, range(1, len(records) + 1), records)
    passages = _texts_that_fit(numbered, _limit(CONTEXT, limits, template))
    turns = _texts_that_fit(reversed(history), _limit(HISTORY, limits, template))[::-1]
    texts = {CONTEXT: SEPARATOR.join(passages), HISTORY: SEPARATOR.join(turns)}
    texts[INSTRUCTIONS] = template.render_instructions(question=question, **texts)
    inputs = {name: "" for name in limits}
    in_query = {name: "" for name in texts}
    for name, text in texts.items():
        value = escape_braces(text)
        if name in limits and len(value) <= (limits[name] or len(value)):
            inputs[name] = value
        else:
            in_query[name] = text
    return Prompt(
        query=template.render_query(question=question, **in_query),
        inputs=inputs,
        context=texts[CONTEXT],
        passages=list(records[: len(passages)]),
        history_used=len(turns),
    )


def _limit(name: str, limits: Limits, template: PromptTemplate) -> int:
    """Return how many characters of passages or of history the prompt may have; 0 if it has no place for them."""
    if name in limits:
        return min(limits[name] or BUDGETS[name], BUDGETS[name])
    return BUDGETS[name] if name in template.used_in_query else 0


def _texts_that_fit(texts: Iterable[str], limit: int) -> list[str]:
    """Take texts from the beginning, each whole, while their joined length, as Dify counts it, is within the limit."""
    kept: list[str] = []
    length = 0
    for text in texts:
        length += len(escape_braces(text)) + (len(SEPARATOR) if kept else 0)
        if length > limit:
            break
        kept.append(text)
    return kept


def _passage_text(number: int, record: Json) -> str:
    return f"[{number}] {document_name(record)}\n{segment_text(record['segment'])}"
