"""Makes the start of an application cheaper, because the tests make thousands of them.

For each route werkzeug compiles two functions that build its URL, for `url_for`. They take most of the time of a start,
and hardly any test needs one. Here each of them is compiled at its first use.
"""

from collections.abc import Callable
from typing import Any

from werkzeug.routing import Rule

Builder = Callable[..., tuple[str, str]]

_compile_builder: Callable[[Rule, bool], Builder] = Rule._compile_builder


def _compile_at_first_use(rule: Rule, append_unknown: bool = True) -> Builder:
    compiled: list[Builder] = []

    def build(rule: Rule, **values: Any) -> tuple[str, str]:
        if not compiled:
            compiled.append(_compile_builder(rule, append_unknown))
        return compiled[0](rule, **values)

    return build


def install() -> None:
    """Do so in this process."""
    Rule._compile_builder = _compile_at_first_use  # type: ignore[method-assign]
