"""Fields and base classes that the schemas of all resources share."""

import re
from functools import partial
from typing import Any

from flask import current_app
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

MAX_PAGE_SIZE = 1000
ID_SCHEMA = {"format": "uuid", "example": "e0b33974-287c-42cf-bf85-9aa09fa9ae59"}
UUID_PATTERN = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.IGNORECASE)


class Parameters(Schema):
    """Parameters of a request. Unknown ones are ignored: RAGFlow's clients send more than we read."""

    class Meta:
        unknown = EXCLUDE


class Text(fields.String):
    """A string. NUL characters are refused, because no database stores them.

    :param max_length: in characters; None: any length
    :param blank: whether it may be empty or white space only
    :param trim: whether white space is removed from both ends
    """

    default_error_messages = {
        "required": "is required.",
        "null": "must not be null.",
        "invalid": "must be a string.",
        "invalid_utf8": "must be valid UTF-8.",
        "blank": "must not be empty.",
        "nul": "must not hold a NUL character.",
        "too_long": "is {length} characters long, the most is {max_length}.",
    }

    def __init__(
        self, *, max_length: int | None = None, blank: bool = False, trim: bool = False, **kwargs: Any
    ) -> None:
        limits = {} if blank else {"minLength": 1}
        if max_length is not None:
            limits["maxLength"] = max_length
        super().__init__(metadata={**limits, **kwargs.pop("metadata", {})}, **kwargs)
        self.max_length = max_length
        self.blank = blank
        self.trim = trim

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if "\0" in text:
            raise self.make_error("nul")
        if self.trim:
            text = text.strip()
        if not self.blank and not text.strip():
            raise self.make_error("blank")
        if self.max_length is not None and len(text) > self.max_length:
            raise self.make_error("too_long", length=len(text), max_length=self.max_length)
        return text


def maximum_by_setting(setting: str, maximum: int) -> int:
    """The smaller one of `maximum` and the value of a setting; `maximum` outside of an application."""
    return min(maximum, int(current_app.config[setting])) if current_app else maximum


class Id(fields.String):
    """A UUID, with or without dashes. It is loaded as Dify writes it: lower case, with dashes."""

    default_error_messages = {
        "required": "is required.",
        "null": "must not be null.",
        "invalid": "must be a UUID, such as e0b33974-287c-42cf-bf85-9aa09fa9ae59, with or without dashes.",
    }

    shown = ID_SCHEMA

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(metadata={**self.shown, **kwargs.pop("metadata", {})}, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str) or not UUID_PATTERN.fullmatch(value.strip()):
            raise self.make_error("invalid")
        digits = value.strip().lower().replace("-", "")
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class OptionalId(Id):
    """A UUID that may be left out, null or an empty string (API document: "首次对话此字段为空")."""

    shown = {"format": "uuid"}  # No example: examples have required parameters only, and this one is not.

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_none=True, load_default=None, **kwargs)

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> Any:
        return super().deserialize(None if value == "" else value, attr, data, **kwargs)


class Whole(fields.Integer):
    """A whole number from `minimum` to `maximum`. `"5"` is accepted as 5, because a query string has only text."""

    default_error_messages = {
        "required": "is required.",
        "null": "must not be null.",
        "invalid": "must be a whole number.",
        "too_large": "must be a whole number of reasonable size.",
    }

    def __init__(self, *, minimum: int, maximum: int, **kwargs: Any) -> None:
        allowed_range = validate.Range(minimum, maximum, error=f"must be a whole number from {minimum} to {maximum}.")
        super().__init__(validate=allowed_range, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, bool) or isinstance(value, float) and not value.is_integer():
            raise self.make_error("invalid")
        number: int = super()._deserialize(value, attr, data, **kwargs)
        return number


class Number(fields.Float):
    """A number from `minimum` to `maximum`."""

    def __init__(self, *, minimum: float, maximum: float, **kwargs: Any) -> None:
        wanted = f"must be a number from {minimum:g} to {maximum:g}."
        messages: dict[str, Any] = {"null": "must not be null.", "invalid": wanted, "special": wanted}
        allowed_range = validate.Range(minimum, maximum, error=wanted)
        super().__init__(validate=allowed_range, error_messages=messages, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        if isinstance(value, bool):
            raise self.make_error("invalid")
        number: float = super()._deserialize(value, attr, data, **kwargs)
        return number


class Ratio(Number):
    """A number from 0 to 1."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(minimum=0, maximum=1, **kwargs)


class Flag(fields.Boolean):
    """True or false, in the spellings of marshmallow: `true`, `"1"`, `"no"` and so on."""

    default_error_messages = {"null": "must not be null.", "invalid": "must be true or false."}


class Choice(Text):
    """One word out of a list."""

    def __init__(self, choices: list[str], **kwargs: Any) -> None:
        words = ", ".join(choices)
        super().__init__(validate=validate.OneOf(choices, error=f"must be one of: {words}."), **kwargs)


class Ids(fields.List):
    """A list of UUIDs. RAGFlow's clients also send a single UUID, or several in one string with commas.

    :param max_items: how many ids are allowed
    :param empty: whether an empty list is allowed
    """

    default_error_messages = {
        "required": "is required.",
        "null": "must not be null.",
        "invalid": "must be a list of UUIDs.",
        "empty": "must name at least one id.",
        "too_many": "must name {max_items} ids at the most.",
    }

    def __init__(self, *, max_items: int, empty: bool = False, **kwargs: Any) -> None:
        limits = {"maxItems": max_items} if empty else {"minItems": 1, "maxItems": max_items}
        super().__init__(Id(), metadata={**limits, **kwargs.pop("metadata", {})}, **kwargs)
        self.max_items = max_items
        self.empty = empty

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if isinstance(value, str):
            value = [part for part in value.split(",", 10 * self.max_items) if part.strip()]
        # Checked before the single ids: a list of a million wrong ids would give a million error messages.
        if isinstance(value, list) and len(value) > self.max_items:
            raise self.make_error("too_many", max_items=self.max_items)
        ids = list(dict.fromkeys(super()._deserialize(value, attr, data, **kwargs)))
        if not ids and not self.empty:
            raise self.make_error("empty")
        return ids


class PageSize(Whole):
    """Number of rows on one page. The setting MAX_PAGE_SIZE can lower `maximum`."""

    default_error_messages = {"too_many": "must be {maximum} at the most here."}

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


class Page(Parameters):
    """Parameters of a list: the page and a search word."""

    page = page_number()
    page_size = PageSize()
    keywords = Text(
        max_length=200,
        blank=True,
        trim=True,
        load_default="",
        metadata={"description": "what the name must contain; blanks around it are ignored"},
    )


def describe_problems(messages: Any, path: str = "") -> list[str]:
    """Turn marshmallow's messages into sentences that begin with the field's name, such as `kb_id is required.`"""
    if isinstance(messages, str):
        return [f"{path} {messages}" if path else messages]
    if isinstance(messages, list):
        return [sentence for message in messages for sentence in describe_problems(message, path)]
    sentences = []
    for key, inner in messages.items():
        inner_path = path if key == "_schema" else f"{path}[{key}]" if isinstance(key, int) else str(key)
        sentences += describe_problems(inner, inner_path)
    return sentences


__all__ = [
    "Choice",
    "Flag",
    "Id",
    "Ids",
    "Number",
    "OptionalId",
    "Page",
    "PageSize",
    "Parameters",
    "Question",
    "Ratio",
    "Text",
    "ValidationError",
    "Whole",
    "describe_problems",
    "page_number",
]
