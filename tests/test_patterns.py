"""No regular expression of the code takes more than linear time, whatever text it meets.

All texts come from outside: from Dify, from a model, from a document, from a caller. 100,000 blanks in an error of Dify
once held a worker for 16 seconds.
"""

import ast
import importlib
import pkgutil
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import route_api

RE_FUNCTIONS = {"search", "match", "fullmatch", "split", "findall", "finditer", "sub", "subn", "compile"}
PIECES = [
    *" \n\t\r\"'<>[](){}|\\/.,;:!?-_+*=@#$%&~^`a1A",
    *"你。，；：！？、（）【】「」《》…“”　",
    *(
        "\r\n",
        "\n\n",
        "\n  ",
        "a ",
        "a.",
        "a.b ",
        "a@",
        "a-b@",
        "1.",
        "1. ",
        "1.1.1",
        "[1]",
        "{{a",
        "[[a",
        "[[a:",
        "<a ",
        "</",
    ),
    *(
        "<think>",
        "</think>",
        "<context>",
        "</context>",
        "<|",
        "http://",
        "http://a",
        "://",
        "用户：",
        "用户",
        "问题",
        "\\u",
        "\\x",
    ),
    *(
        "You have requested this URI",
        'relation "embedding_vector_index',
        "a\n  b",
        "INSERT ",
        "sk-",
        "host=",
        "请",
        "什么",
        "answer",
    ),
]
SIZES = ((200, 2_000), (2_000, 20_000))
"""Characters of two texts that are compared. The small ones come first, so that a bad pattern fails soon."""

MEASURABLE_S = 0.01
"""A quadratic pattern takes longer for the longer texts, so a shorter time needs no comparison."""

ALLOWED_GROWTH = 30
"""A text that is 10 times as long takes a linear pattern about 10 times as long, and a quadratic one 100 times."""

HAS_FLAGS_AT = {"compile": 1, "search": 2, "match": 2, "fullmatch": 2, "findall": 2, "finditer": 2}
"""The place of the flags among the arguments of the functions of `re`. The others have the flags by name, if at all."""


def patterns() -> Iterator[tuple[str, tuple[str, re.Pattern[Any]]]]:
    """Every regular expression in the code: its place, how it is used, and itself."""
    for info in pkgutil.walk_packages(route_api.__path__, "route_api."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        path = Path(str(module.__file__))
        source = path.read_text()
        if "re." not in source:
            continue
        tree = ast.parse(source)
        uses = uses_of_patterns(tree)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(function := node.func, ast.Attribute):
                continue
            if not (isinstance(function.value, ast.Name) and function.value.id == "re"):
                continue
            if function.attr not in RE_FUNCTIONS:
                continue
            arguments = [node.args[0], *node.args[HAS_FLAGS_AT.get(function.attr, 9) :]]
            values = [value_of(part, dict(vars(module))) for part in arguments]
            yield f"{path.stem}:{node.lineno}", (uses.get(id(node), function.attr), re.compile(*values))


def uses_of_patterns(tree: ast.Module) -> dict[int, str]:
    """The only method that is called on the value of each expression, and on the name that is assigned to it."""
    uses, of_names = {}, {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            uses[id(node.value)] = node.attr
            if isinstance(node.value, ast.Name):
                of_names.setdefault(node.value.id, set()).add(node.attr)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            methods = of_names.get(node.targets[0].id, set())
            if len(methods) == 1:
                uses[id(node.value)] = methods.pop()
    return uses


def value_of(expression: ast.expr, names: dict[str, Any]) -> Any:
    """The value of an expression; a name that only a function knows stands for the text `x`."""
    while True:
        try:
            return eval(compile(ast.Expression(expression), "pattern", "eval"), names)
        except NameError as error:
            names[error.name] = "x"


PATTERNS = dict(patterns())


def seconds(use: str, pattern: re.Pattern[Any], text: str | bytes) -> float:
    """The CPU time of a pattern that is used in this way, or, if the use is not known, in each way."""
    begun = time.thread_time()
    if use not in ("fullmatch", "match"):
        for _ in pattern.finditer(text):
            pass
    pattern.match(text)
    pattern.fullmatch(text)
    return time.thread_time() - begun


def test_there_are_patterns_to_measure() -> None:
    assert len(PATTERNS) > 35 and any(place.startswith("error_answers") for place in PATTERNS)


@pytest.mark.parametrize("place", PATTERNS)
def test_a_pattern_takes_linear_time(place: str) -> None:
    use, pattern = PATTERNS[place]
    for short, long in SIZES:
        for piece in PIECES:
            for start, end in (("", ""), ("a<think>", "\0")):
                texts: list[Any] = [start + (piece * size)[:size] + end for size in (short, long)]
                if isinstance(pattern.pattern, bytes):
                    texts = [text.encode() for text in texts]
                # The second look leaves out what else may have run in between, such as the garbage collector.
                if seconds(use, pattern, texts[1]) < MEASURABLE_S:
                    continue
                if (taken := min(seconds(use, pattern, texts[1]) for _ in range(3))) < MEASURABLE_S:
                    continue
                growth = taken / max(seconds(use, pattern, texts[0]) for _ in range(3))
                assert growth < ALLOWED_GROWTH, f"{pattern.pattern!r} with {piece!r}: {growth:.0f} times as long"
