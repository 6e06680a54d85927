"""The input variables of a Dify app: which it declares, and how a value must be written to arrive unchanged."""

import re
from typing import Any

Json = dict[str, Any]

Form = dict[str, int | None]
"""The variables that an app declares, each with its `max_length` in characters, None for no limit."""

PLACEHOLDER = re.compile(r"\{\{([a-zA-Z_][a-zA-Z0-9_]{0,29}|#histories#|#query#|#context#)\}\}")
"""What Dify takes for a placeholder, in a prompt and, to disarm it, in a value as well."""


def declared_variables(parameters: Json) -> Form:
    """The variables of an app's form.

    :param parameters: Dify's answer to GET /v1/parameters (chat/parameters-with-variables)
    """
    form: Form = {}
    for entry in parameters.get("user_input_form") or []:
        for field in entry.values():
            limit = field.get("max_length")
            form[field["variable"]] = limit if isinstance(limit, int) and limit > 0 else None
    return form


def escape_braces(text: str) -> str:
    """A value from which Dify makes `text` again: it takes one pair of braces from every placeholder within a value, so
    code that holds `{{name}}` would reach the model as `{name}` (Dify: inputs/value-with-braces).

    A name holds no brace, so neither a placeholder's neighbours nor the added pair can make or break another one.
    """
    if "{{" not in text:
        return text
    return PLACEHOLDER.sub(r"{{{\1}}}", text)
