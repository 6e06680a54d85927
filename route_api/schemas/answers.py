"""Schemas of answers, made from examples.

The API document shows an example of each answer with all its keys. The schema is derived from that example. The OpenAPI
document shows both, and tests compare our real answers with them.
"""

from dataclasses import dataclass
from typing import Any

from marshmallow import EXCLUDE, Schema, fields

EXAMPLE_SECONDS = 0.0123


class Answer(Schema):
    """Base class of answers. An answer may have more keys than its schema."""

    class Meta:
        unknown = EXCLUDE


class Enveloped(Answer):
    """Base class of answers in the envelope."""

    warnings = fields.List(
        fields.String(), metadata={"description": "only if there is one: what the gateway did not use of the request"}
    )


@dataclass(frozen=True, slots=True)
class OrNull:
    """An example of a value that may be null.

    :param is_shown: whether the OpenAPI document shows this value; otherwise it shows null
    """

    example: Any
    is_shown: bool = True


@dataclass(frozen=True, slots=True)
class Empty:
    """An empty list as an example.

    :param entry: an example of an entry that the list may have
    """

    entry: Any


class AnyKeys(dict[str, Any]):
    """An example of an object whose keys vary."""


def answer(name: str, data: Any, *, message: str = "success", **beside_data: Any) -> Schema:
    """The schema of a successful answer in the envelope.

    :param name: the schema's name in the OpenAPI document
    :param data: an example of `data`
    :param beside_data: examples of further keys that stand beside `data`
    """
    envelope = {"code": 0, "data": data, "elapsed_s": EXAMPLE_SECONDS, "message": message, **beside_data}
    return schema_like(name, envelope, base=Enveloped)


def schema_like(name: str, example: dict[str, Any], *, base: type[Schema] = Answer) -> Schema:
    """A schema that requires every key of the example with a value of the same type."""
    columns = {key: _field_like(f"{name}{key.title().replace('_', '')}", value) for key, value in example.items()}
    return base.from_dict(columns, name=name)()


def _field_like(name: str, example: Any) -> fields.Field[Any]:
    options: Any = {"metadata": {"example": example}, "required": True}
    match example:
        case OrNull():
            field = _field_like(name, example.example)
            field.allow_none = True
            if not example.is_shown:
                field.metadata = {**field.metadata, "example": None}
            return field
        case bool():
            return fields.Boolean(**options)
        case int():
            return fields.Integer(**options)
        case float():
            return fields.Float(**options)
        case str():
            return fields.String(**options)
        case Empty():
            return fields.List(_field_like(name, example.entry), required=True, metadata={"example": []})
        case list():
            return fields.List(_field_like(name, example[0]), required=True)
        case AnyKeys():
            return fields.Dict(**options)
        case dict() if example:
            return fields.Nested(schema_like(name, example), required=True)
        case {}:
            return fields.Dict(**options)
    raise TypeError(f"{name} needs an example from which its type can be told, not {example!r}.")
