"""Our answers compared with the examples of the API document: every key with its type, on each version of Dify."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from route_api.openapi import document
from route_api.schemas.base import describe_problems

from .support.api_document import EXAMPLE_FILES, answer_schema, differences, example_of
from .support.fake_dify import FakeDify
from .support.scenes import EXAMPLES, SCENES

PATHS = {"datasets_create_by_file": "/datasets/e0b33974-287c-42cf-bf85-9aa09fa9ae59/document/create_by_file"}


@pytest.mark.parametrize(
    "ours",
    [{}, {"a": None}, {"a": {"b": "1"}}, {"a": {"b": True}}, {"a": {"b": 1}}, {"a": {"b": 1, "c": []}}],
    ids=repr,
)
def test_the_comparison_itself_finds_what_differs(ours: Any) -> None:
    assert differences({"a": {"b": 1, "c": [{"d": ""}]}}, ours)


def test_null_in_an_example_fits_null_and_the_listed_types_alone() -> None:
    example = {"important_kwd": None, "error": None}
    assert differences(example, {"important_kwd": ["姑苏"], "error": None}) == []
    assert differences(example, {"important_kwd": "姑苏", "error": None})
    assert differences(example, {"important_kwd": None, "error": "broken"})


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
