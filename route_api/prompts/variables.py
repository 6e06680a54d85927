"""The input variables of a Dify app: which an app declares, which of them we fill, and how a value is escaped."""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

Json = dict[str, Any]

INSTRUCTIONS = "instructions"
CONTEXT = "context"
HISTORY = "history"

APP_VARIABLES = (INSTRUCTIONS, CONTEXT, HISTORY)
"""The variables that we fill if the app declares them as texts: what the model is to do, the passages, the earlier
turns."""

TEXT_KINDS = ("text-input", "paragraph")


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable that an app declares.

    :param kind: Dify's name of its type, such as `paragraph`, `select`, `number` or `file-list`
    :param max_length: in characters; None: no limit
    :param options: what a `select` may have
    :param default: what Dify's web page fills in; None or an empty text: nothing. Dify's API does not use the default
        of a chat app (tests/contract/dify-1.16.1/inputs/value-null.json)
    """

    kind: str
    is_required: bool = False
    max_length: int | None = None
    options: tuple[str, ...] = ()
    default: Any = None


Form = dict[str, Variable]
"""The variables that an app declares, by name."""

Limits = dict[str, int | None]
"""The variables that we fill, each with its `max_length` in characters; None if it has no limit."""

PLACEHOLDER = re.compile(r"\{\{([a-zA-Z_][a-zA-Z0-9_]{0,29}|#histories#|#query#|#context#)\}\}")
"""The text that Dify takes for a placeholder, in an app's prompt and in a value."""


def declared_variables(parameters: Json) -> Form:
    """Read the variables that an app declares.

    :param parameters: Dify's answer to GET /v1/parameters, or the app's `model_config` from the console
    """
    form: Form = {}
    for entry in parameters.get("user_input_form") or []:
        for kind, field in entry.items():
            limit = field.get("max_length")
            form[field["variable"]] = Variable(
                kind,
                is_required=bool(field.get("required")),
                max_length=limit if isinstance(limit, int) and limit > 0 else None,
                options=tuple(field.get("options") or ()),
                default=field.get("default"),
            )
    return form


def our_limits(form: Form) -> Limits:
    """The variables of an app that we fill. One of these names that is no text, such as a number, is the app's own."""
    ours = {name: form[name] for name in APP_VARIABLES if name in form}
    return {name: variable.max_length for name, variable in ours.items() if variable.kind in TEXT_KINDS}


def fingerprint(form: Form) -> str:
    """A hash of all by which Dify drops or refuses inputs. Labels, defaults and the order of variables do not matter.

    :returns: 64 hex digits
    """
    facts = [(name, v.kind, v.is_required, v.max_length, v.options) for name, v in sorted(form.items())]
    return sha256(repr(facts).encode()).hexdigest()


def escape_braces(text: str) -> str:
    """Write a value so that the model reads `text`.

    Dify removes one pair of braces from every placeholder within a value, so code that holds `{{name}}` would reach the
    model as `{name}` (tests/contract/dify-1.8.1/inputs/value-with-braces.json). We add one pair. The name in a
    placeholder holds no brace, so the added pair can neither make nor break another placeholder.
    """
    if "{{" not in text:
        return text
    return PLACEHOLDER.sub(r"{{{\1}}}", text)
