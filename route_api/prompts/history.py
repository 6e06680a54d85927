"""Earlier turns as text for a model: one text per turn, so that a budget can leave out whole ones."""

import re
from collections.abc import Iterable, Sequence

from .thinking import split_thinking

ROLE_NAMES = {"user": "用户", "assistant": "助手", "system": "系统"}

_FURTHER_THINKING = re.compile(r"<think>.*?(?:</think>|$)", re.DOTALL | re.IGNORECASE)


def history_from_turns(turns: Iterable[tuple[str, str]]) -> list[str]:
    """Turns as texts, in their order.

    :param turns: question and answer of each; what the answer has of thinking is left out
    """
    return [_lines([("user", query), ("assistant", response)]) for query, response in turns]


def history_from_list(entries: Iterable[dict[str, str]]) -> list[str]:
    """The history that a caller gave, exactly, as the texts of its turns; a turn begins with what the user says.

    :param entries: each with `role` (user, assistant, system) and `content`, oldest first
    """
    turns: list[list[tuple[str, str]]] = []
    for entry in entries:
        if not turns or entry["role"] == "user":
            turns.append([])
        turns[-1].append((entry["role"], entry["content"]))
    return [text for text in map(_lines, turns) if text]


def _lines(said: Sequence[tuple[str, str]]) -> str:
    """One turn: who said what. An assistant that only thought, or was stopped at it, said nothing."""
    texts = [(role, _without_thinking(text) if role == "assistant" else text) for role, text in said]
    return "\n".join(f"{ROLE_NAMES[role]}：{text}" for role, text in texts if text)


def _without_thinking(answer: str) -> str:
    """What an answer says to its reader. Thinking never goes back to a model."""
    return _FURTHER_THINKING.sub("", split_thinking(answer)[1]).strip()
