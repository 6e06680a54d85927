"""Fields that the schemas of all resources share.

One rule holds for all parameters, whether they come in the query string, in a form or in JSON. `openapi/document.py`
tells it to callers. So the fields take what each of the three can carry: a number may be a text, a list may be a text,
and null or an empty text is "not given".
"""

import re
import sys
from functools import partial
from typing import Any

import orjson
from flask import current_app
from marshmallow import fields, missing, validate

from ..languages import Sentence
from ..monitoring import tracing
from ..openapi.document import ID_PATTERN

MAX_PAGE_SIZE = 1000
ID_SCHEMA = {"pattern": ID_PATTERN, "example": "e0b33974-287c-42cf-bf85-9aa09fa9ae59"}
UUID_PATTERN = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.IGNORECASE)

NOTHING_WORDS = frozenset({"null", "undefined", "None"})
"""What JavaScript and Python write for a missing value where a program puts it into a text, such as
`?conversation_id=${id}`."""

EXACT_FLOAT = 2**53
"""From this size on, a JSON number with a fraction or of more than 64 bits has lost its last digits."""

MAX_LEVELS = 20
"""Levels of objects and lists that a parameter may have."""

FULL_WIDTH = {ord("！") + offset: ord("!") + offset for offset in range(94)}
WHOLE_TEXT = re.compile(r"[+-]?\d{1,30}(\.0*)?", re.ASCII).fullmatch
NUMBER_TEXT = re.compile(r"[+-]?(\d{1,30}\.?\d{0,30}|\.\d{1,30})([eE][+-]?\d{1,3})?", re.ASCII).fullmatch
LIST_COMMAS = re.compile("[,，]")


class Given(fields.Field[Any]):
    """Base class of all fields. It tells which values mean that the parameter is not given.

    For an optional parameter they have the effect of leaving it out; a required one "is required".
    """

    takes_lists = False

    default_error_messages = {
        "required": Sentence("is required."),
        "null": Sentence("must not be null."),
        "list": Sentence("must be one value, not a list."),
        "validator_failed": Sentence("is not valid."),
        "invalid": Sentence("is not valid."),
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_none", False)  # marshmallow's default is true if the value for "not given" is None.
        super().__init__(*args, **kwargs)
        self.null_is_value = self.required and self.allow_none

    def is_nothing(self, value: Any) -> bool:
        """Whether this value means that the parameter is not given: null, blanks, and the words `null`, `undefined` and
        `None`, which are a value of no field but :class:`Text`."""
        if value is None:
            return not self.null_is_value
        if not isinstance(value, str):
            return False
        text = value.strip()
        return not text or text in NOTHING_WORDS and not (self.null_is_value and text == "null")

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> Any:
        if value is not missing and self.is_nothing(value):
            if isinstance(value, str) and value.strip():
                tracing.current().warn(
                    Sentence("{attr}: the text '{value}' counts as not given.", attr=attr, value=value.strip())
                )
            value = missing
        if value is missing and not self.required:  # As marshmallow does it, but without its calls.
            return self.load_default() if callable(self.load_default) else self.load_default
        if self.null_is_value and isinstance(value, str) and value.strip() == "null":
            value = None
        elif isinstance(value, list) and not self.takes_lists:
            raise self.make_error("list")
        return super().deserialize(value, attr, data, **kwargs)


class NoEffect(Given, fields.Raw):
    """A switch that RAGFlow's UI sends with every request of a kind, and that has no effect here.

    It is never loaded. It is declared, so that the reason is in its description and not in each answer.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(metadata={"type": "boolean", "description": f"has no effect: {reason}"})

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> Any:
        return missing


class Text(Given, fields.String):
    """A string. NUL characters are refused, because no database stores them.

    A JSON number is taken as its text: a form and a query string cannot tell `10086` from `"10086"`.

    :param max_length: in characters; None: any length
    :param blank: whether it may be white space only
    :param trim: whether white space is removed from both ends
    :param keeps_empty: whether an empty text is a value, and not the same as leaving the parameter out
    """

    default_error_messages = {
        "invalid": Sentence("must be a string."),
        "invalid_utf8": Sentence("must be valid UTF-8."),
        "nul": Sentence("must not hold a NUL character."),
        "too_long": Sentence("is {length} characters long, the most is {max_length}."),
        "too_big": Sentence("must be sent as a string: a number of this size loses its last digits."),
    }

    def __init__(
        self,
        *,
        max_length: int | None = None,
        blank: bool = False,
        trim: bool = False,
        keeps_empty: bool = False,
        **kwargs: Any,
    ) -> None:
        limits = {"minLength": 1} if kwargs.get("required") else {}
        if max_length is not None:
            limits["maxLength"] = max_length
        super().__init__(metadata={**limits, **kwargs.pop("metadata", {})}, **kwargs)
        self.max_length = max_length
        self.blank = blank
        self.trim = trim
        self.keeps_empty = keeps_empty

    def is_nothing(self, value: Any) -> bool:
        """Any word is a text, so only null and an empty text are nothing; blanks too, if a text must not be blank."""
        if value is None:
            return True
        return isinstance(value, str) and not self.keeps_empty and not (value if self.blank else value.strip())

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = self._in_words(value)
        text = super()._deserialize(value, attr, data, **kwargs)
        if "\0" in text:
            raise self.make_error("nul")
        if self.trim:
            text = text.strip()
        if self.max_length is not None and len(text) > self.max_length:
            raise self.make_error("too_long", length=len(text), max_length=self.max_length)
        return text

    def _in_words(self, number: int | float) -> str:
        if isinstance(number, float):
            if abs(number) >= EXACT_FLOAT:
                raise self.make_error("too_big")
            if number.is_integer():  # JSON does not tell 10086.0 from 10086.
                return str(int(number))
        return str(number)


def maximum_by_setting(setting: str, maximum: int) -> int:
    """The smaller one of `maximum` and the value of a setting; `maximum` outside of an application."""
    return min(maximum, int(current_app.config[setting])) if current_app else maximum


class UserIdText(Text):
    """The id of a user. The words `null`, `undefined` and `None` are refused: if a web page sends them before it knows
    its user, the conversations of all these users would become those of one."""

    def __init__(self, *, max_length: int) -> None:
        super().__init__(max_length=max_length, trim=True, required=True, metadata={"example": "alice"})

    def is_nothing(self, value: Any) -> bool:
        return super().is_nothing(value) or isinstance(value, str) and value.strip() in NOTHING_WORDS


class Id(Given, fields.String):
    """A UUID, with or without dashes. It is loaded as Dify writes it: lower case, with dashes.

    RAGFlow's UI sends some ids as a list with one entry. An empty list is "not given".
    """

    default_error_messages = {
        "invalid_utf8": Sentence("must be valid UTF-8."),
        "invalid": Sentence("must be a UUID, such as e0b33974-287c-42cf-bf85-9aa09fa9ae59, with or without dashes."),
    }

    takes_lists = True
    shown = ID_SCHEMA

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(metadata={**self.shown, **kwargs.pop("metadata", {})}, **kwargs)

    def is_nothing(self, value: Any) -> bool:
        return super().is_nothing(value) or as_list(value) == []

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> Any:
        entries = None if value is missing else as_list(value)
        if isinstance(entries, list) and entries:
            if any(entry != entries[0] for entry in entries):
                raise self.make_error("list")
            value = entries[0]
        return super().deserialize(value, attr, data, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str) or not UUID_PATTERN.fullmatch(value.strip()):
            raise self.make_error("invalid")
        digits = value.strip().lower().replace("-", "")
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class OptionalId(Id):
    """A UUID that may be left out (API document: "首次对话此字段为空")."""

    shown = {"pattern": ID_PATTERN}  # No example: examples have required parameters only, and this one is not.

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(load_default=None, **kwargs)


def as_list(value: Any) -> Any:
    """A list in one of its other forms as a list; any other value unchanged.

    The forms are JSON in a text, as `["a"]`, and an object with numbers as names, as `{"0": "a", "2": "b"}`. PHP writes
    the second for an array with gaps, and names with brackets become one (`views/brackets.py`).
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    if isinstance(value, dict) and value and all(name.isascii() and name.isdecimal() for name in value):
        return [value[name] for name in sorted(value, key=lambda name: (len(name), name))]
    return value


def ascii_digits(text: str) -> str:
    """A text without blanks around it, and with ASCII characters for the full-width ones of Chinese keyboards."""
    return (text if text.isascii() else text.translate(FULL_WIDTH)).strip()


class Whole(Given, fields.Integer):
    """A whole number from `minimum` to `maximum`. `"5"` and `5.0` are accepted as 5."""

    default_error_messages = {
        "invalid": Sentence("must be a whole number."),
        "too_large": Sentence("must be a whole number of reasonable size."),
    }

    def __init__(self, *, minimum: int, maximum: int, **kwargs: Any) -> None:
        allowed_range = validate.Range(
            minimum,
            maximum,
            error=Sentence("must be a whole number from {minimum} to {maximum}.", minimum=minimum, maximum=maximum),
        )
        super().__init__(validate=allowed_range, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, str):
            value = ascii_digits(value)
            if not WHOLE_TEXT(value):
                raise self.make_error("invalid")
            value = value.partition(".")[0]
        elif isinstance(value, bool) or isinstance(value, float) and not value.is_integer():
            raise self.make_error("invalid")
        number: int = super()._deserialize(value, attr, data, **kwargs)
        return number


class Number(Given, fields.Float):
    """A number from `minimum` to `maximum`."""

    def __init__(self, *, minimum: float, maximum: float, **kwargs: Any) -> None:
        wanted = Sentence("must be a number.")
        if maximum < sys.float_info.max:
            wanted = Sentence("must be a number from {minimum:g} to {maximum:g}.", minimum=minimum, maximum=maximum)
        messages: dict[str, Any] = {"invalid": wanted, "special": wanted, "too_large": wanted}
        allowed_range = validate.Range(minimum, maximum, error=wanted)
        super().__init__(validate=allowed_range, error_messages=messages, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        if isinstance(value, str):
            value = ascii_digits(value)
            if not NUMBER_TEXT(value):
                raise self.make_error("invalid")
        elif isinstance(value, bool):
            raise self.make_error("invalid")
        number: float = super()._deserialize(value, attr, data, **kwargs)
        return number


class AnyNumber(Number):
    """A number of any size. A whole one is loaded as an integer."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(minimum=-sys.float_info.max, maximum=sys.float_info.max, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        number = super()._deserialize(value, attr, data, **kwargs)
        return int(number) if number.is_integer() and abs(number) < EXACT_FLOAT else number


class Ratio(Number):
    """A number from 0 to 1."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(minimum=0, maximum=1, **kwargs)


class Flag(Given, fields.Boolean):
    """True or false, in the spellings of marshmallow, in small or capital letters: `true`, `on`, `"1"`, `No`."""

    truthy = {*(word.lower() for word in fields.Boolean.truthy if isinstance(word, str)), "1.0", True}
    falsy = {*(word.lower() for word in fields.Boolean.falsy if isinstance(word, str)), "0.0", False}

    default_error_messages = {"invalid": Sentence("must be true or false.")}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, str):
            value = ascii_digits(value).lower()
        return super()._deserialize(value, attr, data, **kwargs)


class Choice(Text):
    """One word out of a list."""

    def __init__(self, choices: list[str], **kwargs: Any) -> None:
        wrong = Sentence("must be one of: {options}.", options=", ".join(choices))
        super().__init__(trim=True, validate=validate.OneOf(choices, error=wrong), **kwargs)

    def is_nothing(self, value: Any) -> bool:
        return Given.is_nothing(self, value)


class JsonObject(Given, fields.Field[Any]):
    """An object, or its JSON in a text, as a form and a query string carry it.

    :param max_length: of the JSON text, in characters; None: any length
    """

    default_error_messages = {
        "invalid": Sentence("must be an object, or its JSON as a text."),
        "nul": Sentence("must not hold a NUL character."),
        "too_deep": Sentence("must not have more than {levels} levels."),
        "too_long": Sentence("must have {max_length:,} characters at the most, as JSON."),
    }

    def __init__(self, *, max_length: int | None = None, **kwargs: Any) -> None:
        described = {"type": "object", "additionalProperties": True}
        super().__init__(metadata={**described, **kwargs.pop("metadata", {})}, **kwargs)
        self.max_length = max_length

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, Any]:
        if isinstance(value, str):
            try:
                value = orjson.loads(value)
            except orjson.JSONDecodeError as error:
                raise self.make_error("invalid") from error
        if not isinstance(value, dict):
            raise self.make_error("invalid")
        if not self._is_acceptable(value, MAX_LEVELS):
            raise self.make_error("too_deep", levels=MAX_LEVELS)
        if self.max_length is not None and len(orjson.dumps(value).decode()) > self.max_length:
            raise self.make_error("too_long", max_length=self.max_length)
        return value

    def _is_acceptable(self, value: Any, levels: int) -> bool:
        """Whether a value has at most so many levels.

        :raises ValidationError: it holds a NUL character
        """
        if isinstance(value, str) and "\0" in value:
            raise self.make_error("nul")
        if not isinstance(value, (dict, list)):
            return True
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        return levels > 0 and all(self._is_acceptable(each, levels - 1) for each in inner)


class Ids(Given, fields.List):
    """A list of UUIDs, in a form of a list (:func:`as_list`); or a single UUID; or several in one text with commas.

    Entries that are null or empty are left out.

    :param max_items: how many ids are allowed
    :param empty: whether an empty list is allowed
    """

    takes_lists = True

    default_error_messages = {
        "invalid": Sentence("must be a list of UUIDs."),
        "empty": Sentence("must name at least one id."),
        "too_many": Sentence("must name {max_items} ids at the most."),
    }

    def __init__(self, *, max_items: int, empty: bool = False, **kwargs: Any) -> None:
        limits = {"maxItems": max_items} if empty else {"minItems": 1, "maxItems": max_items}
        super().__init__(Id(), metadata={**limits, **kwargs.pop("metadata", {})}, **kwargs)
        self.max_items = max_items
        self.empty = empty

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        value = as_list(value)
        if isinstance(value, dict):
            raise self.make_error("invalid")
        if not isinstance(value, list):
            value = [value]
        entries: list[Any] = []
        for entry in value:
            entries += LIST_COMMAS.split(entry, 10 * self.max_items) if isinstance(entry, str) else [entry]
            # Checked before the single ids: a list of a million wrong ids would give a million error messages.
            if len(entries) > 11 * self.max_items:
                raise self.make_error("too_many", max_items=self.max_items)
        entries = [entry for entry in entries if not Given.is_nothing(self.inner, entry)]  # type: ignore[arg-type]
        if len(entries) > self.max_items:
            raise self.make_error("too_many", max_items=self.max_items)
        ids = list(dict.fromkeys(super()._deserialize(entries, attr, data, **kwargs)))
        if not ids and not self.empty:
            raise self.make_error("empty")
        return ids


class PageSize(Whole):
    """Number of rows on one page. The setting MAX_PAGE_SIZE can lower `maximum`."""

    default_error_messages = {"too_many": Sentence("must be {maximum} at the most here.")}

    def __init__(self, *, maximum: int = MAX_PAGE_SIZE, load_default: int = 20, rows: str = "rows") -> None:
        described = {"description": f"{rows} per page", "default": load_default, "example": load_default}
        default = partial(maximum_by_setting, "MAX_PAGE_SIZE", load_default)
        super().__init__(minimum=1, maximum=maximum, load_default=default, metadata=described)
        self.maximum = maximum

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        size = super()._deserialize(value, attr, data, **kwargs)
        if (maximum := maximum_by_setting("MAX_PAGE_SIZE", self.maximum)) < size <= self.maximum:
            raise self.make_error("too_many", maximum=maximum)
        return size


class Question(Text):
    """The question for a model or a search. The setting MAX_QUESTION_LENGTH can lower `max_length`."""

    def __init__(self, *, max_length: int, **kwargs: Any) -> None:
        metadata = {"example": "葫芦庙在什么地方？", **kwargs.pop("metadata", {})}
        super().__init__(max_length=max_length, required=True, metadata=metadata, **kwargs)
        self.maximum: int = max_length

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        question = super()._deserialize(value, attr, data, **kwargs)
        if len(question) > (maximum := maximum_by_setting("MAX_QUESTION_LENGTH", self.maximum)):
            raise self.make_error("too_long", length=len(question), max_length=maximum)
        return question


def page_number() -> Whole:
    """The parameter `page` of a list. The first page is 1."""
    return Whole(minimum=1, maximum=1_000_000, load_default=1, metadata={"description": "page, from 1", "example": 1})
