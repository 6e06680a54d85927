"""The parameter `inputs`: the caller's values for the variables of a Dify app, checked as Dify checks them.

What Dify accepts was recorded (tests/contract, inputs/ and chat/advanced-chat-required-*). The options of a select, and
the types number, checkbox and json_object, were read in Dify's code.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from marshmallow import ValidationError, validate

from ..errors import NotSupported, ValidationFailed
from ..languages import Sentence, joined, shown
from ..prompts.variables import TEXT_KINDS, Form, Variable, our_limits
from ..schemas.base import describe_problems
from ..schemas.fields import AnyNumber, Flag, Given, JsonObject, Text

Json = dict[str, Any]

EXTERNAL_DATA = "external_data_tool"
"""The kind of a variable that Dify itself fills, from another server."""

MAX_NAMED = 5
"""How many problems, or names of variables, an error tells."""


def input_values(form: Form, given: Json) -> Json:
    """The values that Dify gets for the variables of an app, before ours are filled in.

    A variable that is not given gets its default, as on Dify's web page. A text without a default is sent empty,
    because Dify writes the word None for a missing one (tests/contract/README.md, 28). Any other variable without a
    value is left out: an empty text is none of the options of a select.

    :param form: the variables that the app declares
    :param given: the parameter `inputs`
    :raises ValidationFailed: a value does not fit the form, a name is not declared, or a required value is missing
    :raises NotSupported: the app requires a value that nobody can give
    """
    ours = our_limits(form)
    given = {name: value for name, value in given.items() if value not in (None, "")}
    problems = [problem for name in given if (problem := _problem_of_name(name, form, ours))]
    values: Json = {}
    for name, variable in form.items():
        if name in ours:
            values[name] = _default(variable) or ""
            continue
        if not can_be_given(variable):
            if variable.is_required and variable.kind != EXTERNAL_DATA:
                raise NotSupported(
                    Sentence(
                        "The Dify app requires the variable '{name}' of the kind {kind}, which this API cannot"
                        " give. The operator should make it optional in Dify.",
                        name=shown(name),
                        kind=shown(variable.kind),
                    )
                )
            continue
        try:
            value = _field(variable).deserialize(given.get(name), f"inputs.{shown(name)}")
        except ValidationError as error:
            problems += describe_problems(error.messages, f"inputs.{shown(name)}")
            continue
        value = _default(variable) if value is None else value
        if value is not None:
            values[name] = value
        elif variable.is_required:
            problems.append(Sentence("inputs.{name} is required by the Dify app.", name=shown(name)))
        elif variable.kind in TEXT_KINDS:
            values[name] = ""
    if problems:
        raise ValidationFailed(joined(problems[:MAX_NAMED]))
    return values


def callers_must_give(form: Form) -> list[str]:
    """The variables of an app without which :func:`input_values` refuses a turn, although callers can give them."""
    ours = our_limits(form)
    return [
        name
        for name, variable in form.items()
        if variable.is_required and name not in ours and can_be_given(variable) and _default(variable) is None
    ]


def nobody_can_give(form: Form) -> list[str]:
    """The variables because of which no turn of this API can use the app."""
    required = [name for name, variable in form.items() if variable.is_required and variable.kind != EXTERNAL_DATA]
    return [name for name in required if not can_be_given(form[name])]


def can_be_given(variable: Variable) -> bool:
    """Whether callers can give a value for this variable. They cannot for a file, for what Dify fills by itself, and
    for types of later versions of Dify."""
    return variable.kind in FIELDS


def _problem_of_name(name: str, form: Form, ours: dict[str, int | None]) -> Sentence | None:
    """What is wrong with a name in `inputs`; None if nothing is."""
    if name in ours:
        return Sentence("inputs.{name} is filled by the gateway; leave it out.", name=name)
    if name not in form:
        names = [shown(each) for each in form if each not in ours and can_be_given(form[each])]
        declared = ", ".join(names[:MAX_NAMED]) or Sentence("none that callers give")
        return Sentence(
            "inputs.{name} is no variable of the Dify app; it declares: {declared}. (The gateway learns within"
            " five minutes what changes in Dify.)",
            name=shown(name),
            declared=declared,
        )
    kind = form[name].kind
    if kind == EXTERNAL_DATA:
        return Sentence("inputs.{name} is filled by Dify itself; leave it out.", name=shown(name))
    if kind in ("file", "file-list"):
        return Sentence(
            "inputs.{name} is a file in the Dify app, and this API passes no files to an app; leave it out.",
            name=shown(name),
        )
    if not can_be_given(form[name]):
        return Sentence(
            "inputs.{name} is of the kind {kind}, which this API does not support; leave it out.",
            name=shown(name),
            kind=shown(kind),
        )
    return None


def _default(variable: Variable) -> Any:
    """The default of a variable; None if it has none, or one that Dify would refuse."""
    if variable.default in (None, "") or not can_be_given(variable):
        return None
    try:
        return _field(variable).deserialize(variable.default)
    except ValidationError:
        return None


def _field(variable: Variable) -> Given:
    return _cached_field(variable.kind, variable.max_length, variable.options)


@lru_cache(1024)  # A field takes as long to make as some twenty values to check.
def _cached_field(kind: str, max_length: int | None, options: tuple[str, ...]) -> Given:
    field: Given = FIELDS[kind](max_length, options)
    return field


def _select(_: int | None, options: tuple[str, ...]) -> Given:
    if not options:
        return Text(blank=True, load_default=None)
    one_of = validate.OneOf(
        options, error=Sentence("must be one of: {options}.", options=", ".join(map(shown, options)))
    )
    return Text(blank=True, load_default=None, validate=one_of)


FIELDS: dict[str, Callable[[int | None, tuple[str, ...]], Given]] = {
    **dict.fromkeys(TEXT_KINDS, lambda max_length, _: Text(max_length=max_length, blank=True, load_default=None)),
    "select": _select,
    "number": lambda *_: AnyNumber(load_default=None),
    "checkbox": lambda *_: Flag(load_default=None),
    "json_object": lambda *_: JsonObject(load_default=None),
}
"""For each kind of variable that callers can give: makes the field that checks a value."""
