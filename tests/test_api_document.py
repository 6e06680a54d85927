"""Our answers compared with the examples of the API document: every key with its type, on each version of Dify."""

import json
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from marshmallow import Schema

from route_api.openapi import document
from route_api.schemas.answers import OrNull
from route_api.schemas.base import describe_problems

from .support.fake_dify import FakeDify
from .support.scenes import EXAMPLES, SCENES

EXAMPLE_FILES = Path(__file__).parent / "examples"
PATHS = {"datasets_create_by_file": "/datasets/e0b33974-287c-42cf-bf85-9aa09fa9ae59/document/create_by_file"}


def example_of(name: str) -> Any:
    return json.loads((EXAMPLE_FILES / f"{name}.json").read_text(encoding="utf-8"))


def differences(example: Any, ours: Any, path: str = "answer") -> list[str]:
    """The keys that our answer lacks, or has with another type. Null in the example stands for any value."""
    if isinstance(example, OrNull):
        return [] if ours is None else differences(example.example, ours, path)
    if example is None:
        return []
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


@pytest.mark.parametrize(
    "ours",
    [{}, {"a": None}, {"a": {"b": "1"}}, {"a": {"b": True}}, {"a": {"b": 1}}, {"a": {"b": 1, "c": []}}],
    ids=repr,
)
def test_the_comparison_itself_finds_what_differs(ours: Any) -> None:
    assert differences({"a": {"b": 1, "c": [{"d": ""}]}}, ours)


def test_every_example_of_the_document_is_played() -> None:
    assert {path.stem for path in EXAMPLE_FILES.glob("*.json")} == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_answer_has_every_key_of_the_example_with_its_type(
    name: str, dify: FakeDify, console_client: FlaskClient
) -> None:
    answer = EXAMPLES[name](dify, console_client)
    assert answer.status_code == 200, answer.text
    assert differences(example_of(name), answer.json) == []


@pytest.mark.parametrize("name", SCENES)
def test_an_answer_is_what_the_openapi_document_promises(
    name: str, dify: FakeDify, console_client: FlaskClient
) -> None:
    answer = SCENES[name](dify, console_client)
    schema = answer_schema(console_client.application, answer.request.path, answer.request.method)
    if schema is not None:
        assert describe_problems(schema.validate(answer.json)) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_openapi_document_promises_every_key_of_the_example(name: str, app: Flask) -> None:
    path = PATHS.get(name) or "/" + name.replace("_", "/", 1)
    schema = answer_schema(app, path)
    if schema is not None:
        assert differences(example_of(name), document.example_of(schema)) == []


def answer_schema(app: Flask, path: str, method: str | None = None) -> Schema | None:
    """The schema of a route's answer; None if the answer is a file."""
    adapter = app.url_map.bind("localhost")
    path = path.removeprefix("/v1")
    endpoint, _ = adapter.match(path, method=method or next(iter(adapter.allowed_methods(path))))
    described = app.view_functions[endpoint]._apidoc["response"]["responses"][200]  # type: ignore[attr-defined]
    schemas = [form["schema"] for form in described if isinstance(form.get("schema"), type)]
    return schemas[0]() if schemas else None
