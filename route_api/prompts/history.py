"""Earlier turns as text for the model. Each turn is one text, so that a turn is left out as a whole or not at all."""

from collections.abc import Iterable, Sequence

from .thinking import split_thinking

ROLE_NAMES = {"user": "用户", "assistant": "助手", "system": "系统"}


def history_from_turns(turns: Iterable[tuple[str, str]]) -> list[str]:
    """Write stored turns as texts, in the same order.

    :param turns: the question and the answer of each; the thinking in an answer is left out
    """
    return [_turn_text([("user", query), ("assistant", response)]) for query, response in turns]


def history_from_list(entries: Iterable[dict[str, str]]) -> list[str]:
    """Write the history that a caller gave as texts, one for each turn. Every entry of the user begins a turn.

    :param entries: each with `role` (user, assistant, system) and `content`, oldest first
    """
    turns: list[list[tuple[str, str]]] = []
    for entry in entries:
        if not turns or entry["role"] == "user":
            turns.append([])
        turns[-1].append((entry["role"], entry["content"]))
    return [text for text in map(_turn_text, turns) if text]


def _turn_text(messages: Sequence[tuple[str, str]]) -> str:
    """Write one turn, a line for each message. An answer that holds nothing but thinking gets no line."""
    texts = [(role, _without_thinking(text) if role == "assistant" else text) for role, text in messages]
    return "\n".join(f"{ROLE_NAMES[role]}：{text}" for role, text in texts if text)


def _without_thinking(answer: str) -> str:
    """Remove all thinking from an answer: models are not given their earlier thinking again."""
    return split_thinking(answer)[1].strip()
