"""Fields and base classes that every resource's schemas share."""

import re
from functools import partial
from typing import Any

from flask import current_app
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

MAX_PAGE_SIZE = 1000
ID_SCHEMA = {"format": "uuid", "example": "e0b33974-287c-42cf-bf85-9aa09fa9ae59"}
UUID_PATTERN = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.IGNORECASE)


class Parameters(Schema):
    """Input of a request. Keys that we do not know are ignored: RAGFlow's clients send more than we read."""

    class Meta:
        unknown = EXCLUDE


class Text(fields.String):
    """A string without NUL characters, which no database takes, of at most `longest` characters.

    :param blank: whether a string of nothing but white space will do
    :param trim: whether white space around it is cut off
    """

    default_error_messages = {
        "required": "is required.",
        "null": "must not be null.",
        "invalid": "must be a string.",
        "invalid_utf8": "must be valid UTF-8.",
        "blank": "must not be empty.",
        "nul": "must not hold a NUL character.",
        "too_long": "is {length} characters long, the most is {longest}.",
    }

    def __init__(self, *, longest: int | None = None, blank: bool = False, trim: bool = False, **kwargs: Any) -> None:
        limit = {} if longest is None else {"maxLength": longest}
        super().__init__(metadata={**limit, **kwargs.pop("metadata", {})}, **kwargs)
        self.longest = longest
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
        if self.longest is not None and len(text) > self.longest:
            raise self.make_error("too_long", length=len(text), longest=self.longest)
        return text


def within(setting: str, most: int) -> int:
    """The smaller of `most` and what the operator allows by a setting."""
    return min(most, int(current_app.config[setting])) if current_app else most


class Id(fields.String):
    """A UUID, with or without dashes; loaded in the form that Dify uses, lower case with dashes."""

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
    """A UUID that may be left out; null and the empty string mean the same (API document: "首次对话此字段为空")."""

    shown = {"format": "uuid"}  # No example: what may be left out is left out of examples.

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_none=True, load_default=None, **kwargs)

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> Any:
        return super().deserialize(None if value == "" else value, attr, data, **kwargs)


class Whole(fields.Integer):
    """A whole number between `least` and `most`; `"5"` and `5` alike, since a query string has only text."""

    default_error_messages = {
        "required": "is required.",
        "null": "must not be null.",
        "invalid": "must be a whole number.",
        "too_large": "must be a whole number of reasonable size.",
    }

    def __init__(self, *, least: int, most: int, **kwargs: Any) -> None:
        reach = validate.Range(least, most, error=f"must be a whole number from {least} to {most}.")
        super().__init__(validate=reach, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, bool) or isinstance(value, float) and not value.is_integer():
            raise self.make_error("invalid")
        number: int = super()._deserialize(value, attr, data, **kwargs)
        return number


class Number(fields.Float):
    """A number from `least` to `most`."""

    def __init__(self, *, least: float, most: float, **kwargs: Any) -> None:
        wanted = f"must be a number from {least:g} to {most:g}."
        messages: dict[str, Any] = {"null": "must not be null.", "invalid": wanted, "special": wanted}
        reach = validate.Range(least, most, error=wanted)
        super().__init__(validate=reach, error_messages=messages, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        if isinstance(value, bool):
            raise self.make_error("invalid")
        number: float = super()._deserialize(value, attr, data, **kwargs)
        return number


class Ratio(Number):
    """A number from 0 to 1."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(least=0, most=1, **kwargs)


class Flag(fields.Boolean):
    """True or false, in any of the usual spellings."""

    default_error_messages = {"null": "must not be null.", "invalid": "must be true or false."}


class Choice(Text):
    """One word out of a list."""

    def __init__(self, choices: list[str], **kwargs: Any) -> None:
        words = ", ".join(choices)
        super().__init__(validate=validate.OneOf(choices, error=f"must be one of: {words}."), **kwargs)


class Ids(fields.List):
    """A list of UUIDs; a single one, or several in one string with commas, will do too (RAGFlow's clients send both).

    :param most: how many at the most
    """

    default_error_messages = {
        "required": "is required.",
        "null": "must not be null.",
        "invalid": "must be a list of UUIDs.",
        "empty": "must name at least one id.",
        "too_many": "must name {most} ids at the most.",
    }

    def __init__(self, *, most: int, empty: bool = False, **kwargs: Any) -> None:
        super().__init__(Id(), **kwargs)
        self.most = most
        self.empty = empty

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if isinstance(value, str):
            value = [part for part in value.split(",", 10 * self.most) if part.strip()]
        # Before each is looked at: a million wrong ones would be a million sentences.
        if isinstance(value, list) and len(value) > self.most:
            raise self.make_error("too_many", most=self.most)
        ids = list(dict.fromkeys(super()._deserialize(value, attr, data, **kwargs)))
        if not ids and not self.empty:
            raise self.make_error("empty")
        return ids


class PageSize(Whole):
    """Rows of one page; the operator may allow less than `most` (MAX_PAGE_SIZE)."""

    default_error_messages = {"too_many": "must be {most} at the most here."}

    def __init__(self, *, most: int = MAX_PAGE_SIZE, load_default: int = 20, rows: str = "rows") -> None:
        described = {"description": f"{rows} per page", "default": load_default, "example": load_default}
        allowed = partial(within, "MAX_PAGE_SIZE", load_default)
        super().__init__(least=1, most=most, load_default=allowed, metadata=described)
        self.most = most

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        size = super()._deserialize(value, attr, data, **kwargs)
        if within("MAX_PAGE_SIZE", self.most) < size <= self.most:
            raise self.make_error("too_many", most=within("MAX_PAGE_SIZE", self.most))
        return size


class Question(Text):
    """What a model or a search is asked; the operator may allow less than `longest` (MAX_QUESTION_LENGTH)."""

    def __init__(self, *, longest: int, **kwargs: Any) -> None:
        metadata = {"example": "葫芦庙在什么地方？", **kwargs.pop("metadata", {})}
        super().__init__(longest=longest, required=True, metadata=metadata, **kwargs)
        self.most: int = longest

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        question = super()._deserialize(value, attr, data, **kwargs)
        if len(question) > (longest := within("MAX_QUESTION_LENGTH", self.most)):
            raise self.make_error("too_long", length=len(question), longest=longest)
        return question


def page_number() -> Whole:
    """The `page` parameter of a list; pages count from 1."""
    return Whole(least=1, most=1_000_000, load_default=1, metadata={"description": "page, from 1", "example": 1})


class Page(Parameters):
    """Paging and search of a list."""

    page = page_number()
    page_size = PageSize()
    keywords = Text(longest=200, blank=True, load_default="", metadata={"description": "what the name must contain"})


def describe_problems(messages: Any, path: str = "") -> list[str]:
    """marshmallow's messages as sentences that begin with the field's name: `kb_id is required.`"""
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
