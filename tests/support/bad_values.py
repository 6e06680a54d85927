"""The parameters that the application declares, and for each kind of field the values that it must reject."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from flask import Flask
from marshmallow import Schema, fields

from route_api.schemas import completion
from route_api.schemas import fields as own_fields
from route_api.schemas import user
from route_api.schemas.document import DocumentFiles

KB_ID = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"
HUGE = "9" * 5000


class Parameter(NamedTuple):
    """One parameter of one endpoint."""

    path: str
    method: str
    schema: type[Schema]
    name: str

    @property
    def field(self) -> fields.Field[Any]:
        return values_in(self.schema)[self.name]

    @property
    def is_form(self) -> bool:
        return self.path.endswith("/upload")


def describe(application: Flask) -> list[Parameter]:
    """Every parameter of every endpoint, as the application itself declares them."""
    found = []
    for rule in application.url_map.iter_rules():
        declared = getattr(application.view_functions[rule.endpoint], "_apidoc", {}).get("arguments", {})
        for argument in declared.get("parameters", []):
            path = rule.rule
            for name in ("kb_id", "doc_id"):
                path = path.replace(f"<{name}>", KB_ID)
            path = path.replace("<action>", "disable")
            for method in sorted(rule.methods & {"GET", "POST", "PATCH", "DELETE"}):
                found += [Parameter(path, method, argument["schema"], name) for name in values_in(argument["schema"])]
    return found


def values_in(schema: type[Schema]) -> dict[str, fields.Field[Any]]:
    """The fields of a schema without files, which have their own tests."""
    return {
        name: field for name, field in schema._declared_fields.items() if name not in DocumentFiles._declared_fields
    }


def good_value(field: fields.Field[Any]) -> Any:
    match field:
        case own_fields.Ids():
            return [KB_ID]
        case own_fields.Id():
            return KB_ID
        case own_fields.Whole():
            return 1
        case own_fields.Choice():
            return field.validate.choices[0]  # type: ignore[union-attr]
        case own_fields.JsonObject():
            return '{"city": "x"}'
        case user.Password():
            return "good enough"
        case own_fields.Text():
            return "good"
        case own_fields.JsonObject():
            return '{"good": "better"}'
    raise AssertionError(f"say what a good {type(field).__name__} is")


def bad_values(field: fields.Field[Any]) -> Iterator[Any]:
    """JSON values that a field of this kind must reject. A new kind of field must be added here.

    What means "not given" is rejected where the parameter is required.
    """
    if isinstance(field, own_fields.NoEffect):
        return
    assert isinstance(field, own_fields.Given)
    if field.required:
        yield from [value for value in (None, "", " \t ", "undefined", "null", "None") if field.is_nothing(value)]
    if not isinstance(field, own_fields.JsonObject):
        yield {"a": 1}
    match field:
        case own_fields.Ids():
            yield from (5, ["nope"], [5], [KB_ID, KB_ID[:-1]], "nope,nope", {"0": "nope"}, '["nope"]', "[")
            yield from ([f"{number:032x}" for number in range(field.max_items + 1)],)
            if not field.empty:
                yield from ([], " , ", [None], "[]", ["", "undefined"])
        case own_fields.Id():
            yield from (5, True, ["x"], "nope", KB_ID + "0", KB_ID[:-1], KB_ID.replace("e", "g"), KB_ID + "\0")
            yield from ("../../etc/passwd", HUGE, f"{KB_ID[:8]}{KB_ID[9:]}")
        case own_fields.Choice():
            yield from (5, ["x"], "nonsense", "x\0", {"0": field.validate.choices[0]})  # type: ignore[union-attr]
        case own_fields.Text():
            yield from (True, ["x"], "a\0b", "\0", 1e30, {"0": "x"})
            if isinstance(field, user.Username):
                yield from ("two words", "a/b", "<b>", "a\nb", "a\u202eb", "'; --")
            if isinstance(field, user.Password) and field.chosen:
                yield "x" * (user.PASSWORD_LENGTH[0] - 1)
            if field.max_length is not None:
                yield "x" * (field.max_length + 1)
        case own_fields.Whole():
            reach: Any = field.validate
            yield from (True, 1.5, "x", [1], "1e3", HUGE, -(10**18), 10**18, "\0", reach.min - 1, reach.max + 1)
            yield from ("1_0", "1,0", "1.5", "--1", "½", "²", "٣")
        case own_fields.Number():
            reach = field.validate
            yield from (True, "x", [0.5], reach.min - 0.01, reach.max + 0.01, "nan", "inf", "-inf", HUGE, 1e308)
            yield from ("0,5", "0_0", ".", "1e", "0x1")
        case completion.History():
            yield from (True, 1.5, "x", -2, 1001, [5], ["hi"], [{"role": "user"}], [{"role": "god", "content": "x"}])
            yield from ([{"role": "user", "content": "a\0b"}], [{"role": "user", "content": "x" * 100_001}])
        case own_fields.JsonObject():
            yield from (5, True, "x", ["x"], "[1]", "{", "5", {"a\0": 1}, {"a": ["b\0"]}, '{"a": "\\u0000"}')
            deep: dict[str, Any] = {}
            for _ in range(own_fields.MAX_LEVELS):
                deep = {"a": deep}
            yield deep
            if field.max_length is not None:
                yield {"a": "x" * field.max_length}
        case own_fields.Flag():
            yield from ("perhaps", 5, [True], "\0", "2", 0.5)
        case _:
            raise AssertionError(f"say what a bad {type(field).__name__} is")


def in_text(value: Any) -> bool:
    """Whether a value can be sent in a query string or form."""
    return isinstance(value, str) or isinstance(value, int | float) and not isinstance(value, bool)


def rest_of(parameter: Parameter) -> dict[str, Any]:
    """Valid values for the other required parameters."""
    others = values_in(parameter.schema).items()
    return {name: good_value(field) for name, field in others if field.required and name != parameter.name}


def short(value: Any) -> str:
    return ascii(value)[:24]
