"""Question + passages -> what the model is given. Pure functions."""

import re
from typing import Any

from . import presenters

Json = dict[str, Any]

CONTEXT_BUDGET = 20_000
"""Characters of passages in one prompt. Dify neither cuts nor refuses a prompt that is too long (FINDINGS b)."""

INSTRUCTIONS = (
    "请根据下面的资料回答用户的问题。资料中没有答案时，请直接说明资料里没有，不要编造。"
    "Answer from the passages below; if they hold no answer, say so."
)

QUERY_WITH_CONTEXT = """{instructions}

<context>
{context}
</context>

问题：{question}"""
"""Used where the Dify app declares no variable `context`; the question comes last, where models look for it."""

THINKING = re.compile(r"\s*(?:<think>)?(.*?)</think>\s*(.*)", re.DOTALL)


def passages_within(records: list[Json], budget: int) -> tuple[list[Json], str]:
    """The best passages whose text together stays within `budget` characters, and that text.

    :param records: Dify's records, best first; the weakest are left out
    """
    kept: list[Json] = []
    texts: list[str] = []
    length = 0
    for record in records:
        text = _passage(len(kept) + 1, record)
        length += len(text) + (2 if texts else 0)
        if length > budget:
            break
        kept.append(record)
        texts.append(text)
    return kept, "\n\n".join(texts)


def _passage(number: int, record: Json) -> str:
    document = record["segment"].get("document") or {}
    return f"[{number}] {document.get('name') or ''}\n{presenters.segment_text(record['segment'])}"


def context_budget(form: dict[str, int | None]) -> int:
    """Characters of passages that the app takes.

    :param form: the variables that the app declares, each with its `max_length` or None
    """
    return min(form.get("context") or CONTEXT_BUDGET, CONTEXT_BUDGET)


def app_inputs(form: dict[str, int | None], context: str) -> dict[str, str]:
    """A value for every variable that the app declares: Dify writes the word None for one left out (FINDINGS b)."""
    known = {"context": context, "instructions": INSTRUCTIONS if context else ""}
    return {name: known.get(name, "") for name in form}


def app_query(form: dict[str, int | None], question: str, context: str) -> str:
    """The query for the app: the question, with the passages in it where the app has no variable for them."""
    if not context or "context" in form:
        return question
    return QUERY_WITH_CONTEXT.format(instructions=INSTRUCTIONS, context=context, question=question)


def declared_variables(parameters: Json) -> dict[str, int | None]:
    """The variables of an app's form by name, each with its `max_length` in characters, None for no limit.

    :param parameters: Dify's answer to GET /v1/parameters (chat/parameters-with-variables)
    """
    form: dict[str, int | None] = {}
    for entry in parameters.get("user_input_form") or []:
        for field in entry.values():
            limit = field.get("max_length")
            form[field["variable"]] = limit if isinstance(limit, int) and limit > 0 else None
    return form


def split_thinking(answer: str) -> tuple[str, str]:
    """What the model thought and what it said, split at `</think>` (API document, "conversation/completion").

    An answer that was stopped while the model was thinking is all thought.
    """
    match = THINKING.fullmatch(answer)
    if match:
        return match[1].strip(), match[2]
    if answer.lstrip().startswith("<think>"):
        return answer.lstrip().removeprefix("<think>").strip(), ""
    return "", answer
