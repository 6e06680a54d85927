"""Answers as schemas. The API document gives an example of each, "every key with its type", so the example is the
source: the schema is read off it, the OpenAPI document shows both, and tests hold our real answers against it.
"""

from dataclasses import dataclass
from typing import Any

from marshmallow import EXCLUDE, Schema, fields

EXAMPLE_SECONDS = 0.0123


class Answer(Schema):
    """An answer, which may have more keys than it promises: clients must not mind."""

    class Meta:
        unknown = EXCLUDE


@dataclass(frozen=True, slots=True)
class OrNull:
    """The example of a value that may be null."""

    example: Any


class AnyKeys(dict[str, Any]):
    """The example of an object whose keys are not always the same."""


def answer(name: str, data: Any, *, message: str = "success", **beside_data: Any) -> Schema:
    """The schema of a successful answer in the envelope.

    :param name: its name in the OpenAPI document
    :param data: an example of `data`
    :param beside_data: examples of keys beside `data`
    """
    envelope = {"code": 0, "data": data, "elapsed_s": EXAMPLE_SECONDS, "message": message, **beside_data}
    return schema_like(name, envelope)


def schema_like(name: str, example: dict[str, Any]) -> Schema:
    """A schema that asks for every key of the example with a value of its type; null stands for any type."""
    columns = {key: _field_like(f"{name}{key.title().replace('_', '')}", value) for key, value in example.items()}
    return Answer.from_dict(columns, name=name)()


def _field_like(name: str, example: Any) -> fields.Field[Any]:
    shown: Any = {"metadata": {"example": example}, "required": True}
    match example:
        case None:
            return fields.Raw(allow_none=True, **shown)
        case OrNull():
            field = _field_like(name, example.example)
            field.allow_none = True
            return field
        case bool():
            return fields.Boolean(**shown)
        case int():
            return fields.Integer(**shown)
        case float():
            return fields.Float(**shown)
        case str():
            return fields.String(**shown)
        case []:
            return fields.List(fields.Raw(allow_none=True), **shown)
        case list():
            return fields.List(_field_like(name, example[0]), required=True)
        case AnyKeys():
            return fields.Dict(**shown)
        case dict() if example:
            return fields.Nested(schema_like(name, example), required=True)
        case _:
            return fields.Dict(**shown)
