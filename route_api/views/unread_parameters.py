"""Parameters that nothing reads are told to the caller, so that a wrong name is never dropped in silence.

The setting UNKNOWN_PARAMETERS says how: in the answer's `warnings`, as a refusal, or not at all.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from flask import current_app

from ..languages import Sentence, shown
from ..schemas.base import CACHE_BUSTER, Parameters
from ..schemas.unused import report

Json = dict[str, Any]

MAX_NAMED = 10
"""How many names one answer tells; the rest are counted."""

COMPARED_CHARACTERS = 50
"""How much of a name is compared with the known ones. The time of the comparison grows with the square of it."""


def report_unknown(given: Json, schema: Parameters) -> None:
    """Tell the caller which parameters the endpoint does not have. One that is null is not given, so it is not told.

    :param schema: the endpoint's parameters
    :raises ValidationFailed: there is one, and UNKNOWN_PARAMETERS is `refuse`
    """
    if given.keys() <= schema.known_names or current_app.config["UNKNOWN_PARAMETERS"] == "ignore":
        return
    unknown = [name for name in given if name not in schema.known_names and given[name] is not None]
    if unknown:
        more = (
            [Sentence("{count} more parameters are unknown here.", count=len(unknown) - MAX_NAMED)]
            if len(unknown) > MAX_NAMED
            else []
        )
        report([_unknown(name, schema.known_names) for name in unknown[:MAX_NAMED]] + more)


def report_unused_values(given: Json, schema: Parameters) -> None:
    """Tell the caller if a parameter came under two of its names with two values, of which only one is used.

    :raises ValidationFailed: this is so, and UNKNOWN_PARAMETERS is `refuse`
    """
    if schema.other_names.keys().isdisjoint(given):
        return
    unused = []
    for other, name in schema.other_names.items():
        if other in given and not schema.is_nothing(name, given.get(name)) and differ(given[other], given[name]):
            unused.append(
                Sentence(
                    "{other}: it is another name of {name}, which was given too, so its value was not used.",
                    other=other,
                    name=name,
                )
            )
    report(unused)


def differ(one: Any, other: Any) -> bool:
    """Whether two values of a parameter differ. A query string has `"1"` where JSON has 1."""
    return str(one) != str(other)


def _unknown(name: str, known_names: Iterable[str]) -> Sentence:
    by_letters = {_letters(known): known for known in sorted(known_names) if known != CACHE_BUSTER}
    close = get_close_matches(_letters(name[:COMPARED_CHARACTERS]), by_letters, n=1, cutoff=0.65)
    if not close:
        return Sentence("{name}: this endpoint has no such parameter, so it was not used.", name=shown(name))
    return Sentence(
        "{name}: this endpoint has no such parameter, so it was not used; did you mean {known_name}?",
        name=shown(name),
        known_name=by_letters[close[0]],
    )


def _letters(name: str) -> str:
    """A name without what differs between kb_id, kbId and KB-ID."""
    return "".join(char for char in name.lower() if char.isalnum())
