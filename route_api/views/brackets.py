"""Names of parameters with brackets, as jQuery, axios and PHP write lists and objects in a form or a query string.

`ids[]=a&ids[]=b` and `ids[0]=a&ids[1]=b` are the list `ids`; `history[0][role]=user` is an object in a list. Spring
writes the last one as `history[0].role`.
"""

import re
from typing import Any

Json = dict[str, Any]

BRACKETED = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\]|\.[^\[\].]+){1,5})").fullmatch
STEP = re.compile(r"\[([^\[\]]*)\]|\.([^\[\].]+)")


def unfold(given: Json) -> Json:
    """Put the values of names with brackets into lists and objects.

    A list whose names have numbers becomes an object with the numbers as names (`schemas.fields.as_list`). A name with
    other brackets stays as it is.

    :param given: parameters by name. They are not changed.
    """
    if not any("[" in name for name in given):
        return given
    plain = {name: value for name, value in given.items() if "[" not in name}
    for name, value in given.items():
        if "[" in name:
            _put(plain, name, value)
    return plain


def _put(given: Json, name: str, value: Any) -> None:
    parts = BRACKETED(name)
    steps = [bracketed or dotted for bracketed, dotted in STEP.findall(parts[2])] if parts else []
    if parts is None or "" in steps[:-1]:
        given[name] = value
        return
    if steps[-1] == "":
        steps.pop()
        value = value if isinstance(value, list) else [value]
    place, key = given, parts[1]
    for step in steps:
        inner = place.get(key)
        if not isinstance(inner, dict):  # A value that stands here without brackets becomes the first entry.
            inner = place[key] = {} if inner is None else {"0": inner}
        place, key = inner, step
    place[key] = [*_listed(place[key]), *_listed(value)] if key in place else value


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
