"""Our answers compared with the examples of the API document: every key with its type, on each version of Dify."""

import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator

from route_api.openapi import document

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


def words_of(answer: dict[str, Any]) -> dict[str, Any]:
    """What an answer says of its success, without the path in the message of `document/get`."""
    words = {key: answer[key] for key in ("code", "message", "info", "status_code") if key in answer}
    if isinstance(answer.get("data"), dict) and (path := answer["data"].get("file_path")):
        words["message"] = words["message"].replace(path, "…")
    return words


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_answer_has_the_code_and_the_words_of_the_example(
    name: str, app: Flask, dify: FakeDify, console_client: FlaskClient
) -> None:
    example, ours = example_of(name), EXAMPLES[name](dify, console_client).json
    words = words_of(example)
    assert {key: words_of(ours)[key] for key in words} == words
    schema = answer_schema(app, PATHS.get(name) or "/" + name.replace("_", "/", 1))
    if schema is not None:
        promised = document.example_of(schema)
        assert {key: promised[key] for key in words} == words


@pytest.mark.parametrize("name", SCENES)
def test_an_answer_is_what_the_openapi_document_promises(
    name: str, dify: FakeDify, console_client: FlaskClient
) -> None:
    answer = SCENES[name](dify, console_client)
    shown = console_client.get("/openapi.json").json
    method, path = answer.request.method.lower(), answer.request.path.removeprefix("/v1")
    (template,) = [each for each in shown["paths"] if re.fullmatch(re.sub(r"{\w+}", "[^/]+", each), path)]
    content = shown["paths"][template][method]["responses"]["200"]["content"].get("application/json")
    if content is not None:
        schema = {**content["schema"], "components": shown["components"]}
        assert [error.message for error in Draft202012Validator(schema).iter_errors(answer.json)] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_openapi_document_promises_every_key_of_the_example(name: str, app: Flask) -> None:
    path = PATHS.get(name) or "/" + name.replace("_", "/", 1)
    schema = answer_schema(app, path)
    if schema is not None:
        assert differences(example_of(name), document.example_of(schema)) == []
