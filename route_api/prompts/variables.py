"""The input variables of a Dify app: their names, which of them an app declares, and how a value is escaped."""

import re
from typing import Any

Json = dict[str, Any]

INSTRUCTIONS = "instructions"
CONTEXT = "context"
HISTORY = "history"

APP_VARIABLES = (INSTRUCTIONS, CONTEXT, HISTORY)
"""The variables that we fill if the app declares them: what the model is to do, the passages, the earlier turns."""

Form = dict[str, int | None]
"""The variables that an app declares, each with its `max_length` in characters; None if it has no limit."""

PLACEHOLDER = re.compile(r"\{\{([a-zA-Z_][a-zA-Z0-9_]{0,29}|#histories#|#query#|#context#)\}\}")
"""The text that Dify takes for a placeholder, in an app's prompt and in a value."""


def declared_variables(parameters: Json) -> Form:
    """Read the variables that an app declares.

    :param parameters: Dify's answer to GET /v1/parameters, or the app's `model_config` from the console
    """
    form: Form = {}
    for entry in parameters.get("user_input_form") or []:
        for field in entry.values():
            limit = field.get("max_length")
            form[field["variable"]] = limit if isinstance(limit, int) and limit > 0 else None
    return form


def escape_braces(text: str) -> str:
    """Write a value so that the model reads `text`.

    Dify removes one pair of braces from every placeholder within a value, so code that holds `{{name}}` would reach the
    model as `{name}` (tests/contract/dify-1.8.1/inputs/value-with-braces.json). We add one pair. The name in a
    placeholder holds no brace, so the added pair can neither make nor break another placeholder.
    """
    if "{{" not in text:
        return text
    return PLACEHOLDER.sub(r"{{{\1}}}", text)
