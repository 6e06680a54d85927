"""The endpoints of the JavaScript client: each one of the API is a method, with its own name, method and path."""

import re

from flask import Flask

from .support.client_types import CLIENT, camel, operations_of_client

ENDPOINTS = re.findall(r'^    (\w+): "([A-Z]+) ([^"]+)",$', (CLIENT / "route-api.js").read_text("utf-8"), re.MULTILINE)


def test_every_endpoint_is_a_method_named_after_its_operation(app: Flask) -> None:
    document = app.test_client().get("/openapi.json").json
    operations = {camel(name): path for name, (_, path) in operations_of_client(document).items()}
    assert {name: f"/{path}" for name, _, path in ENDPOINTS} == operations


def test_the_types_name_nothing_that_only_the_types_of_browsers_have() -> None:
    """A project for Node often has no `DOM` in its `lib`; tsc then refuses such names, or takes them for `any`."""
    types = re.sub(r"/\*.*?\*/", "", (CLIENT / "route-api.d.ts").read_text("utf-8"), flags=re.DOTALL)
    assert set(re.findall(r"\b(?:FileList|\w+Init|XMLHttp\w+|HTML\w+|Document|Window)\b", types)) == set()


def test_every_endpoint_is_called_as_the_document_says(app: Flask) -> None:
    paths = app.test_client().get("/openapi.json").json["paths"]
    for name, method, path in ENDPOINTS:
        operation = paths[f"/{path}"].get("post" if method == "FORM" else method.lower())
        assert operation is not None, f"{name} has no {method}"
        body = operation.get("requestBody", {}).get("content", {})
        wanted = {"FORM": ["multipart/form-data"], "POST": ["application/json"]}.get(method, [])
        assert list(body) == wanted, name
