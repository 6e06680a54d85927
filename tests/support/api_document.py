"""Comparison of our answers with the examples and the schemas of the API document."""

import json
import re
from pathlib import Path
from typing import Any

from flask import Flask
from marshmallow import Schema

from route_api.schemas.answers import Empty, OrNull

from .json_nulls import NullOr, differs_from_null

EXAMPLE_FILES = Path(__file__).parents[1] / "examples"


def example_of(name: str) -> Any:
    return json.loads((EXAMPLE_FILES / f"{name}.json").read_text(encoding="utf-8"))


NULL_OR: NullOr = {
    "doc_metadata": (list, "datasets/create_by_file passes on what Dify says, and Dify 1.16.1 says an empty list"),
    "important_kwd": (list, "RAGFlow's UI reads a list; the example shows a chunk without keywords"),
    "process_begin_at": (str, "the example shows a document whose processing Dify was not asked about"),
    "pages": (list, "the example shows one null in the list of page ranges; we send one empty range, as a list"),
}


def differences(example: Any, ours: Any, path: str = "answer") -> list[str]:
    """Where our JSON lacks a key of the example, or has another type. For null in the example see `NULL_OR`."""
    if isinstance(example, OrNull):
        return [] if ours is None else differences(example.example, ours, path)
    if isinstance(example, Empty):
        return [] if ours == [] else differences([example.entry], ours, path)
    if example is None:
        name = re.sub(r"\[\d+\]$", "", path).rpartition(".")[2]
        return [f"{path} is {ours!r}, the example has null"] if differs_from_null(name, None, ours, NULL_OR) else []
    if isinstance(example, dict):
        if not isinstance(ours, dict):
            return [f"{path} is no object: {ours!r}"]
        missing = [f"{path}.{key} is missing" for key in example if key not in ours]
        return missing + [
            line for key in example if key in ours for line in differences(example[key], ours[key], f"{path}.{key}")
        ]
    if isinstance(example, list):
        if not isinstance(ours, list) or example and not ours:
            return [f"{path} is no list like the example's: {ours!r}"]
        return [
            line for i, entry in enumerate(ours) if example for line in differences(example[0], entry, f"{path}[{i}]")
        ]
    alike = {bool: bool, int: (int, float), float: (int, float), str: str}[type(example)]
    if not isinstance(ours, alike) or isinstance(ours, bool) is not isinstance(example, bool):
        return [f"{path} is {ours!r}, the example has {example!r}"]
    return []


def answer_schema(app: Flask, path: str, method: str | None = None) -> Schema | None:
    """The schema of the answer of a route; None where the answer is a file."""
    adapter = app.url_map.bind("localhost")
    path = path.removeprefix("/v1")
    endpoint, _ = adapter.match(path, method=method or next(iter(adapter.allowed_methods(path))))
    described = app.view_functions[endpoint]._apidoc["response"]["responses"][200]  # type: ignore[attr-defined]
    schemas = [form["schema"] for form in described if isinstance(form.get("schema"), type)]
    return schemas[0]() if schemas else None
