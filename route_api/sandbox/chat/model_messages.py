"""Makes the messages for the model: the prompt with its variables, the earlier turns, the question."""

import re
from collections.abc import Sequence
from typing import Any

from ..apps.app_config import Config
from ..model.extractive_model import Message

_VARIABLE = re.compile(r"\{\{([a-zA-Z_][a-zA-Z0-9_]{0,29}|#histories#|#query#|#context#)\}\}")
_DATASET_PROMPT = (
    "Use the following context as your learned knowledge, inside <context></context> XML tags.\n\n"
    "<context>\n{context}\n</context>\n\n"
    "When answer to user:\n"
    "- If you don't know, just say that you don't know.\n"
    "- If you are not sure, ask for clarification.\n"
    "Avoid mentioning that you obtained the information from the context.\n"
    "And answer according to the language of the user's question.\n"
)
"""The beginning is recorded in debugger/override-dataset-unknown. With an empty context the block is empty."""


def fill_prompt(template: str, inputs: dict[str, Any]) -> str:
    """Replace each `{{name}}` in the template with the input of this name.

    The value None becomes the word None (inputs/turn-3-values-left-out). An undeclared `{{name}}`, and a `{{name}}`
    within a value, becomes `{name}` (inputs/placeholder-undeclared, value-with-braces).
    """

    def value_of(match: re.Match[str]) -> str:
        value = str(inputs[match[1]]) if match[1] in inputs else match[0]
        return _VARIABLE.sub(r"{\1}", value)

    return _VARIABLE.sub(value_of, template)


def build_messages(
    config: Config, inputs: dict[str, Any], context: str | None, history: Sequence[tuple[str, str]], query: str
) -> list[Message]:
    """Make the messages for the model.

    :param context: the passages of the app's datasets; None if the app has no dataset
    :param history: question and answer of the earlier turns, oldest first
    :param query: if it is "", the prompt is the question, as in a completion app
    """
    system = "" if context is None else _DATASET_PROMPT.format(context=context)
    if config["pre_prompt"]:
        system += fill_prompt(config["pre_prompt"], inputs) + "\n"
    if not query:
        return [{"role": "user", "content": system}]
    messages = [{"role": "system", "content": system}] if system else []
    for question, answer in history:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return [*messages, {"role": "user", "content": query}]
