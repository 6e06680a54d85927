"""The OpenAPI document: it is valid and complete, its examples fit their schemas, and it reveals nothing internal."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from config import Config
from route_api.chat.stream_events import example_events
from route_api.openapi import document as openapi_document
from route_api.schemas import completion
from route_api.server.request_reading import LONGEST_REQUEST_LINE

from ..support.fake_dify import FakeDify
from ..support.gateway_client import MakeApp
from ..support.settings import SECRETS
from ..support.talk import stream, without_variables

Json = dict[str, Any]

VERBS = ("get", "post", "put", "patch", "delete")
ADDRESS = re.compile(r"https?://|\b\d{1,3}(\.\d{1,3}){3}\b|localhost|[\w.]+@[\w.]+\.\w+")
NAMED_EVENTS = ["sources", "thinking", "delta", "replacement", "end", "error"]
NO_ROUTE = {
    "method_not_allowed",
    "bad_request",
    "expectation_failed",
    "not_implemented",
}
"""Errors of requests that reach no route, so that no route can document them."""


@pytest.fixture
def document(app: Flask) -> Json:
    document: Json = app.test_client().get("/v1/openapi.json").json
    return document


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    """Every operation, with a name for error messages."""
    for path, methods in document["paths"].items():
        for verb in methods.keys() & set(VERBS):
            yield f"{verb.upper()} {path}", methods[verb]


def contents(document: Json) -> Iterator[tuple[str, str, Json]]:
    """Every body and every answer: operation, media type, content."""
    for name, operation in operations(document):
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            yield f"{name} takes", media_type, content
        for status, response in operation["responses"].items():
            for media_type, content in response.get("content", {}).items():
                yield f"{name} answers {status}", media_type, content


def examples(document: Json, content: Json) -> list[Any]:
    named = content.get("examples", {}).values()
    shared = [document["components"]["examples"][each["$ref"].rsplit("/", 1)[1]] for each in named if "$ref" in each]
    return [each["value"] for each in [*shared, *named] if "value" in each] + (
        [content["example"]] if "example" in content else []
    )


def problems(document: Json, schema: Json, example: Any) -> list[str]:
    whole = {**schema, "components": document["components"]}
    validator = Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(example)]


def test_it_is_valid_openapi(document: Json) -> None:
    assert document["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_every_route_and_verb_is_in_it_and_nothing_else(app: Flask, document: Json) -> None:
    served = {
        f"{verb} {rule.rule}".replace("<", "{").replace(">", "}")
        for rule in app.url_map.iter_rules()
        for verb in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert {name for name, _ in operations(document)} == served


def test_every_body_and_every_answer_but_files_has_an_example_that_fits_its_schema(document: Json) -> None:
    wrong = []
    for name, media_type, content in contents(document):
        if content["schema"].get("format") == "binary" or media_type in ("text/html", "text/plain"):
            continue
        shown = examples(document, content)
        wrong += [f"{name} {media_type} has no example"] if not shown else []
        wrong += [f"{name}: {line}" for example in shown for line in problems(document, content["schema"], example)]
    assert wrong == []


def test_an_example_that_does_not_fit_would_be_found(document: Json) -> None:
    content = document["paths"]["/kb/list"]["get"]["responses"]["200"]["content"]["application/json"]
    broken = {**content["example"], "data": {"kbs": [{"id": 1}]}}
    assert len(problems(document, content["schema"], broken)) > 10


def test_every_example_of_a_body_is_accepted_by_the_schema_that_checks_it(app: Flask) -> None:
    for view in app.view_functions.values():
        for given in getattr(view, "_apidoc", {}).get("arguments", {}).get("parameters", []):
            if given["in"] != "files":
                assert given["schema"].validate(openapi_document.example_of(given["schema"])) == {}


def test_every_parameter_says_where_it_is_and_what_it_takes(document: Json) -> None:
    for name, operation in operations(document):
        path = name.split()[1]
        in_path = {p["name"] for p in document["paths"][path].get("parameters", []) if p["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path)), name
        assert all(
            parameter["in"] in ("query", "header") and parameter["schema"]
            for parameter in operation.get("parameters", [])
        )
    for name in ("kb_id", "conversation_id", "temperature", "history", "stream_mode"):
        body = document["paths"]["/conversation/completion_db"]["post"]["requestBody"]["content"]["application/json"]
        assert name in body["schema"]["properties"]


def test_what_a_get_takes_in_its_query_a_post_takes_in_its_body(document: Json) -> None:
    listing = document["paths"]["/document/list"]
    in_query = {parameter["name"] for parameter in listing["get"]["parameters"]}
    (content,) = listing["post"]["requestBody"]["content"].values()
    assert content["schema"]["properties"].keys() == in_query


def test_every_answer_that_fails_has_the_names_of_its_errors_with_the_status_that_they_have(document: Json) -> None:
    kinds = {(kind.code, str(kind.status)) for kind in openapi_document.known_errors()}
    for name, operation in operations(document):
        failures = {
            status: response for status, response in operation["responses"].items() if not status.startswith("2")
        }
        assert "500" in failures, name
        for status, response in failures.items():
            codes = response["content"]["application/json"]["examples"]
            assert codes and all((code, status) in kinds for code in codes), f"{name} {status}"
            assert all(f"`{code}`" in response["description"] for code in codes)


def test_every_error_is_an_example_of_the_document_and_every_route_error_belongs_to_a_route(document: Json) -> None:
    shown = document["components"]["examples"]
    known = {kind.code for kind in openapi_document.known_errors()}
    assert shown.keys() == known
    assert all(example["value"]["error"] == code for code, example in shown.items())
    named = {
        code
        for _, operation in operations(document)
        for status, response in operation["responses"].items()
        if not status.startswith("2")
        for code in response["content"]["application/json"]["examples"]
    }
    assert named >= known - NO_ROUTE


def test_a_bearer_is_asked_for_everywhere_but_on_public_routes(document: Json) -> None:
    assert document["components"]["securitySchemes"]["bearerAuth"]["scheme"] == "bearer"
    assert document["security"] == [{"bearerAuth": []}]
    public = {name for name, operation in operations(document) if operation.get("security") == []}
    assert public >= {"GET /healthz", "GET /openapi.json", "GET /docs", "GET /docs/{name}"}
    assert not [
        name for name in public if re.search(r"/(kb|document|chunk|datasets|conversation|chat|message|llm)/", name)
    ]


def test_a_turn_is_documented_as_an_answer_in_one_piece_and_as_events(document: Json) -> None:
    for path in ("/conversation/completion", "/conversation/completion_db", "/chat/chat"):
        content = document["paths"][path]["post"]["responses"]["200"]["content"]
        assert content.keys() == {"application/json", "text/event-stream"}
        shown = content["text/event-stream"]["examples"]
        events = [shown[f"data_{number}"]["value"] for number in range(1, 5)]
        whole = content["application/json"]["example"]
        assert "".join(event["data"]["answer"] for event in events[:-2]) == whole["data"]["answer"]
        assert events[-2] == {**whole, "message": ""}
        assert events[-1] == {"code": 0, "message": "", "data": True}
        assert [name for name in shown if not name.startswith("data_")] == NAMED_EVENTS
        assert shown["end"]["value"]["data"] == {**whole["data"], "answer": whole["data"]["content"]}


def test_the_events_of_a_real_stream_have_the_keys_of_the_example(app: Flask, any_dify: FakeDify) -> None:
    without_variables(any_dify)
    any_dify.play("chat/streaming-first-turn")
    real = stream(app.test_client())
    shown = example_events(openapi_document.example_of(completion.CompletionAnswer))
    documented = [shown[f"data_{number}"]["value"] for number in range(1, 5)]
    for ours, example in ((real[0], documented[0]), (real[-2], documented[-2]), (real[-1], documented[-1])):
        assert ours.keys() == example.keys()
        assert ours["data"] is True or ours["data"].keys() == example["data"].keys()


def test_uploads_are_forms_with_files_and_downloads_are_binary(document: Json) -> None:
    paths = document["paths"]
    for path in ("/document/upload", "/datasets/{kb_id}/document/create_by_file"):
        (media_type,) = paths[path]["post"]["requestBody"]["content"]
        assert media_type == "multipart/form-data"
    form = paths["/document/upload"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["file"]["items"]["format"] == "binary"
    assert {"kb_id", "on_duplicate", "separator"} <= form["properties"].keys()
    answers = paths["/document/download"]["get"]["responses"]["200"]["content"]
    assert list(answers) == ["application/octet-stream", "*/*"]
    assert all(answer["schema"]["format"] == "binary" for answer in answers.values())


def test_it_tells_no_key_and_no_address(make_app: MakeApp) -> None:
    settings = {"SECRET_KEY": "a secret to sign tokens with", "API_KEYS": ["a-service-key-of-somebody"]}
    text = make_app(AUTH="required", **settings).test_client().get("/openapi.json").text
    for secret in (*SECRETS, settings["SECRET_KEY"], *settings["API_KEYS"]):
        assert secret not in text
    assert str(Config().DOWNLOAD_ROOT) not in text
    assert not ADDRESS.search(text), ADDRESS.search(text)


def test_every_operation_has_a_name_of_its_own_a_summary_and_a_tag_that_is_explained(document: Json) -> None:
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    assert all(operation["summary"] for _, operation in operations(document))
    explained = {tag["name"] for tag in document["tags"] if tag["description"]}
    assert {tag for _, operation in operations(document) for tag in operation["tags"]} == explained


def test_the_endpoints_that_create_something_take_an_idempotency_key(document: Json) -> None:
    raw = "POST /datasets/{kb_id}/document/create"
    turns = {"POST /conversation/completion", "POST /conversation/completion_db", "POST /chat/chat"}
    assert {
        name
        for name, operation in operations(document)
        if "Idempotency-Key" in [parameter["name"] for parameter in operation.get("parameters", [])]
    } == {*turns, "POST /document/upload", "POST /kb/create", f"{raw}_by_file", f"{raw}-by-file"}


def longest(schema: Json) -> int:
    """The bytes that the longest value of a parameter takes in a query. A character takes 12 at the most."""
    if "anyOf" in schema:
        return max(map(longest, schema["anyOf"]))
    if "items" in schema:
        return int(schema["maxItems"]) * (longest(schema["items"]) + len("%2C"))
    return 12 * int(schema.get("maxLength", 5))


def test_every_documented_query_fits_into_the_first_line_of_a_request(document: Json) -> None:
    lengths = {}
    for name, operation in operations(document):
        shown = [each for each in operation.get("parameters", []) if each.get("in") == "query"]
        lengths[name] = len(name) + sum(len(f"&{each['name']}=") + longest(each["schema"]) for each in shown)
    assert max(lengths.values()) < LONGEST_REQUEST_LINE - 1000, lengths
    assert max(lengths.values()) > 48_000, "the question of a search alone may be so long"


# ------------------------------------------------------------------ what generators of clients need


def schemas_in(value: Any, path: str) -> Iterator[tuple[str, Json]]:
    """Every schema of a property or of a list's entry, with its place."""
    if isinstance(value, dict):
        for name, inner in value.get("properties", {}).items():
            yield f"{path}.{name}", inner
        if "items" in value:
            yield f"{path}[]", value["items"]
        for name, inner in value.items():
            if name not in ("example", "examples"):
                yield from schemas_in(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from schemas_in(inner, f"{path}[{index}]")


def test_every_property_has_a_type(document: Json) -> None:
    found = dict(schemas_in(document, ""))
    assert len(found) > 900
    assert [place for place, schema in found.items() if not schema.keys() & {"type", "anyOf", "$ref"}] == []


def test_operations_are_named_after_resource_and_action_and_a_second_method_after_the_first(document: Json) -> None:
    for path, methods in document["paths"].items():
        ids = {verb: methods[verb]["operationId"] for verb in methods.keys() & set(VERBS)}
        main = ids.pop("post") if "post" in ids else ids.popitem()[1]
        assert re.fullmatch("[a-z]+(_[a-z]+)*", main) and not main.endswith(("_post", "_patch")), path
        assert ids == {verb: f"{main}_{verb}" for verb in ids}, path
    assert document["paths"]["/kb/list"]["post"]["operationId"] == "kb_list"
    assert document["paths"]["/conversation/completion_db"]["post"]["operationId"] == "completion_db"


def parameters_of(document: Json) -> Iterator[tuple[str, Json, bool]]:
    """Every parameter in a query or a body: its place, its schema, and whether it is required."""
    for name, operation in operations(document):
        for given in operation.get("parameters", []):
            yield f"{name} {given['name']}", given["schema"], given.get("required", False)
        for content in operation.get("requestBody", {}).get("content", {}).values():
            schema = content["schema"]
            if "$ref" in schema:
                schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
            for field, inner in schema["properties"].items():
                yield f"{name} {field}", inner, field in schema.get("required", [])


def test_a_body_is_json_or_a_form_with_files_but_never_either(document: Json) -> None:
    for name, operation in operations(document):
        media_types = list(operation.get("requestBody", {}).get("content", {}))
        assert media_types in ([], ["application/json"], ["multipart/form-data"]), name


def test_a_parameter_is_nullable_only_where_null_is_a_value(document: Json) -> None:
    nullable = {place for place, schema, _ in parameters_of(document) if "null" in schema.get("type", "")}
    assert nullable == {"POST /message/feedback score"}
    assert not [place for place, schema, _ in parameters_of(document) if None in (schema.get("enum") or [])]


def test_a_text_that_is_refused_empty_has_a_minimum_length_and_no_other(document: Json) -> None:
    texts = [
        (place, schema, required)
        for place, schema, required in parameters_of(document)
        if schema.get("type") == "string"
        and not schema.keys() & {"format", "pattern"}
        and "Idempotency-Key" not in place
    ]
    assert len(texts) > 50
    assert [place for place, schema, required in texts if required is not (schema.get("minLength", 0) > 0)] == []


def test_a_default_is_in_the_description_of_a_request_and_makes_nothing_required(document: Json) -> None:
    """openapi-typescript takes a property with a default for a required one in all other places."""
    components = dict(schemas_in(document["components"]["schemas"], ""))
    assert [place for place, schema in components.items() if "default" in schema] == []
    defaults = [(place, required) for place, schema, required in parameters_of(document) if "default" in schema]
    assert len(defaults) > 50 and not any(required for _, required in defaults)
    assert not [place for place, schema, _ in parameters_of(document) if schema.get("default", 0) is None]


def test_the_answers_of_the_server_itself_are_described_everywhere(document: Json) -> None:
    for name, operation in operations(document):
        assert "`path_too_long`" in operation["responses"]["414"]["description"], name
        assert "`headers_too_large`" in operation["responses"]["431"]["description"], name
    asset = document["paths"]["/docs/{name}"]["get"]
    assert "`route_not_found`" in asset["responses"]["404"]["description"]


def test_an_event_of_a_stream_has_a_schema(document: Json) -> None:
    for path in ("/conversation/completion", "/conversation/submit_form", "/chat/chat"):
        content = document["paths"][path]["post"]["responses"]["200"]["content"]["text/event-stream"]
        names = {each["$ref"].rsplit("/", 1)[1] for each in content["schema"]["anyOf"]}
        assert names >= {"SourcesEvent", "ThinkingEvent", "DeltaEvent", "StreamTexts", "StreamPiece", "Failure"}, path
