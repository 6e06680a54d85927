"""Reads the fields of a request. A wrong field is refused with the text of Dify 1.12.1, which is pydantic's."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from .errors import SandboxError
from .version import is_1_16

TRUE, FALSE = ("true", "1", "yes", "on", "t", "y"), ("false", "0", "no", "off", "f", "n")
"""The words that pydantic takes as booleans."""
REPR_HEAD, REPR_TAIL = 25, 24
"""Of a long value, pydantic shows this many characters of the beginning and of the end."""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 50 else f"{text[:REPR_HEAD]}...{text[-REPR_TAIL:]}"


class RequestFields:
    """The fields of a JSON body or of a query.

    Each method reads one field. It raises `SandboxError` (400 `invalid_param`) if the field has another type.

    :param model: the name of Dify's pydantic model; the error texts contain it
    :param fields: the decoded body or the query; anything but a mapping counts as one without fields
    """

    def __init__(self, model: str, fields: object) -> None:
        self.model = model
        self.fields: Mapping[str, Any] = fields if isinstance(fields, Mapping) else {}

    def refuse(self, field: str, text: str, kind: str, value: object) -> NoReturn:
        """Refuse the request with pydantic's text. An empty `field` means the request as a whole."""
        where = f"{field}\n" if field else ""
        raise SandboxError(
            400,
            "invalid_param",
            f"1 validation error for {self.model}\n{where}  {text} [type={kind}, input_value={_shown(value)},"
            f" input_type={type(value).__name__}]\n"
            f"    For further information visit https://errors.pydantic.dev/{'2.12' if is_1_16() else '2.11'}/v/{kind}",
        )

    def required(self, field: str) -> Any:
        """Return the value of a required field, of any type."""
        if field not in self.fields:
            self.refuse(field, "Field required", "missing", dict(self.fields))
        return self.fields[field]

    def text(self, field: str) -> str:
        """Return the value of a required string."""
        value = self.required(field)
        if not isinstance(value, str):
            self.refuse(field, "Input should be a valid string", "string_type", value)
        return value

    def optional_text(self, field: str) -> str | None:
        """Return a string, or None if the field is null or missing."""
        return None if self.fields.get(field) is None else self.text(field)

    def mapping(self, field: str) -> dict[str, Any]:
        """Return the value of a required object."""
        value = self.required(field)
        if not isinstance(value, dict):
            self.refuse(field, "Input should be a valid dictionary", "dict_type", value)
        return value

    def choice(self, field: str, choices: Sequence[str], kind: str = "literal_error") -> str:
        """Return the value of a required field that must be one of `choices`."""
        value = self.required(field)
        if value not in choices:
            quoted = [repr(choice) for choice in choices]
            names = " or ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))
            self.refuse(field, f"Input should be {names}", kind, value)
        return value

    def optional_choice(self, field: str, choices: Sequence[str]) -> str | None:
        """Return one of `choices`, or None if the field is null or missing."""
        return None if self.fields.get(field) is None else self.choice(field, choices)

    def number(self, field: str, default: int, low: int, high: int) -> int:
        """Return an integer from `low` to `high`. It may be a string, because a query contains strings only."""
        value = self.fields.get(field, default)
        try:
            number = int(value)
        except (TypeError, ValueError):
            text = "Input should be a valid integer, unable to parse string as an integer"
            self.refuse(field, text, "int_parsing", value)
        if number > high:
            self.refuse(field, f"Input should be less than or equal to {high}", "less_than_equal", value)
        if number < low:
            self.refuse(field, f"Input should be greater than or equal to {low}", "greater_than_equal", value)
        return number

    def boolean(self, field: str) -> bool | None:
        """Return a boolean, or None if the field is null or missing. Words are taken as pydantic takes them."""
        value = self.fields.get(field)
        if value is None or isinstance(value, bool):
            return value
        word = str(value).lower()
        if word not in TRUE + FALSE:
            text = "Input should be a valid boolean, unable to interpret input"
            self.refuse(field, text, "bool_parsing", value)
        return word in TRUE

    def decimal(self, field: str) -> float:
        """Return the value of a required number. It may be a string."""
        value = self.required(field)
        try:
            return float(value)
        except (TypeError, ValueError):
            text = "Input should be a valid number, unable to parse string as a number"
            self.refuse(field, text, "float_parsing", value)

    def texts(self, field: str) -> list[str]:
        """Return the value of a required list of strings."""
        return [RequestFields(self.model, {f"{field}.{i}": item}).text(f"{field}.{i}") for i, item in self._list(field)]

    def optional_mappings(self, field: str) -> list[dict[str, Any]]:
        """Return a list of objects, or [] if the field is null or missing."""
        if self.fields.get(field) is None:
            return []
        return [
            RequestFields(self.model, {f"{field}.{i}": item}).mapping(f"{field}.{i}") for i, item in self._list(field)
        ]

    def _list(self, field: str) -> Iterator[tuple[int, object]]:
        value = self.required(field)
        if not isinstance(value, list):
            self.refuse(field, "Input should be a valid list", "list_type", value)
        return enumerate(value)

    def optional_id(self, field: str) -> str | None:
        """Return a UUID in its usual form, or None if the field is "", null or missing
        (chat/conversation-empty-string)."""
        value = self.fields.get(field)
        if value is None or value == "":
            return None
        try:
            return str(uuid.UUID(value))
        except (AttributeError, TypeError, ValueError):
            self.refuse(field, f"Value error, {field} must be a valid UUID", "value_error", value)

    def identifier(self, field: str) -> str:
        """Return the value of a required UUID."""
        self.required(field)
        found = self.optional_id(field)
        if found is None:
            self.refuse(field, f"Value error, {field} must be a valid UUID", "value_error", "")
        return found
