"""Checks the types of the fields of Dify's answers that our code reads. `shapes.py` lists these fields for each call.

A field that our code does not read may have any type. A list of 20 datasets takes about 30 microseconds to check;
marshmallow would take a hundred times as long.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import DifyUnreadable
from ..languages import Sentence

Json = dict[str, Any]
Fields = Mapping[str, "Kind"]

log = logging.getLogger(__name__)

MAX_DEPTH = 50
"""Levels of objects and lists in a value that is passed on as it is. orjson refuses to write more than 254."""

_NULL = type(None)
_NAMES = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number", bool: "a boolean"}

_ignored: set[tuple[str, str]] = set()
"""The fields that were ignored since the process started, so that each is logged once."""


class Misfit(Exception):
    """A value has another type than our code needs.

    :ivar path: the names and indexes that lead to the value, the innermost first
    """

    def __init__(self, expected: str, value: Any) -> None:
        super().__init__()
        self.path: list[str] = []
        self._problem = f"{_NAMES.get(type(value), 'null or missing')}, not {expected}"

    def __str__(self) -> str:
        path = "".join(reversed(self.path)).removeprefix(".")
        return f"{path or 'the answer'} is {self._problem}"


class Kind:
    """A form that a JSON value may have.

    :ivar types: the Python types of such values
    :ivar accepts: what is called with a value of one of these types: returns whether it has the form, or raises
        :class:`Misfit`; None: each value of these types has the form
    """

    types: tuple[type, ...]
    accepts: Callable[[Any], bool] | None

    def __init__(self, expected: str, *types: type, accepts: Callable[[Any], bool] | None = None) -> None:
        """
        :param expected: for the log, such as "a text"
        """
        self.expected = expected
        self.types = types
        self.accepts = accepts

    def check(self, value: Any) -> bool:
        """
        :returns: True
        :raises Misfit: the value has another form
        """
        if type(value) not in self.types or not (self.accepts is None or self.accepts(value)):
            raise Misfit(self.expected, value)
        return True


class ListOf(Kind):
    """A list of values of one form."""

    def __init__(self, kind: Kind) -> None:
        super().__init__("a list", list, accepts=self._accepts)
        self._kind = kind

    def _accepts(self, values: list[Any]) -> bool:
        check, index = self._kind.check, 0
        try:
            for each in values:
                check(each)
                index += 1
        except Misfit as misfit:
            misfit.path.append(f"[{index}]")
            raise
        return True


class MapOf(Kind):
    """An object with any names, whose values have one form."""

    def __init__(self, kind: Kind) -> None:
        super().__init__("an object", dict, accepts=self._accepts)
        self._kind = kind

    def _accepts(self, values: Json) -> bool:
        for name, each in values.items():
            try:
                self._kind.check(each)
            except Misfit as misfit:
                misfit.path.append(f".{name[:40]}")
                raise
        return True


class Shape(Kind):
    """An object, by the fields that our code reads."""

    def __init__(
        self,
        name: str,
        needed: Fields | None = None,
        *,
        nullable: Fields | None = None,
        optional: Fields | None = None,
        is_passed_on: bool = False,
    ) -> None:
        """
        :param name: what the object is, for the log
        :param needed: fields without which the object is of no use
        :param nullable: fields that may be missing or null, but that may have no other form
        :param optional: fields that our code can do without. A value of another form is deleted from the object.
        :param is_passed_on: whether our answers or rows contain the object with all its fields
        """
        super().__init__("an object", dict, accepts=self._accepts)
        self._name = name
        self._is_passed_on = is_passed_on
        self._fields = [
            *((field, kind.types, kind.accepts, kind, False) for field, kind in (needed or {}).items()),
            *((field, (*kind.types, _NULL), kind.accepts, kind, False) for field, kind in (nullable or {}).items()),
            *((field, (*kind.types, _NULL), kind.accepts, kind, True) for field, kind in (optional or {}).items()),
        ]

    def _accepts(self, value: Json) -> bool:
        get = value.get
        for field, types, accepts, kind, is_optional in self._fields:
            found = get(field)
            try:
                if type(found) in types and (accepts is None or found is None or accepts(found)):
                    continue
                raise Misfit(kind.expected, found)
            except Misfit as misfit:
                misfit.path.append(f".{field}")
                if not is_optional:
                    raise
                self._ignore(value, field, misfit)
        if self._is_passed_on and not is_shallow(value):
            raise Misfit(f"an object of at most {MAX_DEPTH} levels", value)
        return True

    def _ignore(self, value: Json, field: str, misfit: Misfit) -> None:
        del value[field]
        if (self._name, field) not in _ignored:
            _ignored.add((self._name, field))
            log.warning("a field of Dify's %s is ignored from now on, where it is like this: %s", self._name, misfit)


def is_shallow(value: Any, levels: int = MAX_DEPTH) -> bool:
    """Whether a value has at most so many levels of objects and lists."""
    if type(value) not in (dict, list):
        return True
    inner = value.values() if type(value) is dict else value
    return levels > 0 and all(is_shallow(each, levels - 1) for each in inner)


def fit(value: Any, kind: Kind, source: str, status: int | None = None) -> Any:
    """Check an answer of Dify.

    :param value: decoded JSON; None for an empty answer
    :param source: the request that Dify has answered, for the log
    :param status: the HTTP status of the answer
    :returns: the same value
    :raises DifyUnreadable: a field that our code needs has another form. The log names the field; the error does not,
        because callers do not know Dify's fields.
    """
    try:
        kind.check(value)
    except Misfit as misfit:
        raise unusable(misfit, source, status) from misfit
    return value


def unusable(misfit: Misfit, source: str, status: int | None) -> DifyUnreadable:
    """The error for an answer with this misfit, which is logged here. The parameters are those of :func:`fit`."""
    log.error("Dify's answer to %s cannot be used: %s", source, misfit)
    text = Sentence(
        "Dify's answer does not have the form that the gateway knows. The log of the gateway names the field."
    )
    return DifyUnreadable(text, dify_status=status)
