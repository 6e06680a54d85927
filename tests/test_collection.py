"""The Postman collection, read as it lies there: no route is missing, nothing is secret, each request is checked."""

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from jsonschema import Draft202012Validator
from werkzeug.exceptions import HTTPException

from .support.collection_examples import content_type
from .support.newman import COLLECTION, POSTMAN, PROJECT_DIR, QUESTIONS, requests_of, scripts

Json = dict[str, Any]

KB_ID = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"
GOES_WRONG = "What goes wrong (异常情况)"
KNOWN_ADDRESSES = {"http://127.0.0.1:8000", "https://route-api.example.com", "https://schema.getpostman.com"}


@pytest.fixture(scope="module")
def collection() -> Json:
    read: Json = json.loads(COLLECTION.read_text(encoding="utf-8"))
    return read


@pytest.fixture
def openapi(app: Flask) -> Json:
    read: Json = app.test_client().get("/v1/openapi.json").json
    return read


def documented_path(openapi: Json, request: Json) -> str | None:
    """The path of the OpenAPI document that a request of the collection asks, or None if there is none."""
    asked = re.sub(r"^{{(base|root)_url}}", "", request["request"]["url"]["raw"]).partition("?")[0]
    return next((path for path in openapi["paths"] if re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), asked)), None)


def documented_names(openapi: Json, path: str) -> set[str]:
    """The parameters of a path by any verb: of the query, of the headers, and the fields of the body."""
    names = set()
    for operation in openapi["paths"][path].values():
        if not isinstance(operation, dict):
            continue  # the parameters of the path, which each request has
        names |= {given["name"] for given in operation.get("parameters", [])}
        for content in operation.get("requestBody", {}).get("content", {}).values():
            names |= set(schema_names(openapi, content["schema"]))
    return names


def schema_names(openapi: Json, schema: Json, outer: str = "") -> Iterator[str]:
    """The names of all fields of a schema, those of inner objects as `history.role`."""
    if "$ref" in schema:
        schema = openapi["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for name, inner in schema.get("properties", {}).items():
        yield outer + name
        yield from schema_names(openapi, inner, f"{outer}{name}.")
    for inner in [
        *schema.get("anyOf", []),
        *schema.get("allOf", []),
        *([schema["items"]] if "items" in schema else []),
    ]:
        yield from schema_names(openapi, inner, outer)


def used_names(request: Json) -> set[str]:
    """The parameters that a request of the collection sends."""
    sent = request["request"]
    names = set(parse_qs(urlsplit(sent["url"]["raw"]).query, keep_blank_values=True))
    names |= {header["key"] for header in sent["header"]}
    names |= {part["key"] for part in sent.get("body", {}).get("formdata", [])}
    try:
        body = json.loads(re.sub(r"(?<!\"){{\w+}}", "[]", sent.get("body", {}).get("raw", "{}")))
    except json.JSONDecodeError:
        return names  # what goes wrong on purpose
    return names | set(value_names(body))


def value_names(value: Any, outer: str = "") -> Iterator[str]:
    """The names of all fields of a value, those of inner objects as `history.role`."""
    for inner in value if isinstance(value, list) else []:
        yield from value_names(inner, outer)
    for name, inner in value.items() if isinstance(value, dict) else []:
        yield outer + name
        yield from value_names(inner, f"{outer}{name}.")


def test_no_documented_parameter_is_missing_from_it(openapi: Json, collection: Json) -> None:
    missing = {path: documented_names(openapi, path) for path in openapi["paths"]}
    assert missing["/chat/chat"] >= {"history.role", "Idempotency-Key", "kb_ids", "inputs"}
    for request in requests_of(collection):
        if path := documented_path(openapi, request):
            missing[path] -= used_names(request)
    assert {path: names for path, names in missing.items() if names} == {}


def test_paths_without_v1_and_a_zip_of_several_documents_are_asked(collection: Json) -> None:
    asked = [request["request"]["url"]["raw"] for request in requests_of(collection)]
    assert any(raw.startswith("{{root_url}}/") for raw in asked)
    assert any(raw.count("document_id=") > 1 and "/document/download?" in raw for raw in asked)


def test_every_request_has_a_description_and_a_saved_answer_that_fits_the_openapi_document(
    openapi: Json, collection: Json
) -> None:
    compared = 0
    for request in requests_of(collection):
        assert len(request["request"]["description"]) > 20, request["name"]
        (saved,) = request["response"]
        path = documented_path(openapi, request)
        operation = openapi["paths"].get(path, {}).get(request["request"]["method"].lower(), {"responses": {}})
        if content_type(saved) != "application/json" or saved["body"].endswith("…"):
            continue  # a text, a file, a stream, or the beginning of a long text
        answer = operation["responses"].get(str(saved["code"]), {}).get("content", {}).get("application/json")
        if answer is None:
            assert saved["code"] in (404, 405), request["name"]  # no route
            answer = {"schema": {"$ref": "#/components/schemas/Failure"}}
        validator = Draft202012Validator({**answer["schema"], "components": openapi["components"]})
        wrong = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(json.loads(saved["body"]))]
        assert wrong == [], request["name"]
        compared += 1
    assert compared > 130


def test_each_folder_makes_the_variables_that_it_uses(collection: Json) -> None:
    """A folder that used another one's kb or conversation could not run alone."""
    declared = {variable["key"] for variable in collection["variable"] if not variable["value"]}
    for folder in collection["item"]:
        made: set[str] = set()
        for request in requests_of(folder):
            made |= set(re.findall(r'Variables\.set\("(\w+)"', scripts(request, "prerequest")))
            used = set(re.findall(r"{{(\w+)}}", json.dumps(request["request"]))) & declared
            assert used <= made, request["name"]
            made |= set(re.findall(r'Variables\.set\("(\w+)"', scripts(request, "test")))


def test_it_has_only_what_other_programs_import(collection: Json) -> None:
    """Bruno's importer translates these calls. It gives a file no other name, and renames `postman` in scripts."""
    known = {
        *("pm.test", "pm.expect", "pm.environment.get", "pm.collectionVariables.get", "pm.collectionVariables.set"),
        *("pm.variables.get", "pm.variables.set", "pm.variables.replaceIn", "pm.request.headers.has"),
        *("pm.request.headers.upsert", "pm.request.url.getPath", "pm.response.code", "pm.response.headers"),
        *("pm.response.headers.get", "pm.response.json", "pm.response.text", "pm.response.to.have.status"),
        *("pm.execution.setNextRequest", "pm.execution.skipRequest"),
        *("pm.info.requestName", "pm.info.iteration", "pm.info.iterationCount"),
    }
    for item in (collection, *requests_of(collection)):
        text = scripts(item, "prerequest") + scripts(item, "test")
        assert set(re.findall(r"\bpm(?:\.\w+)+", text)) <= known
        assert "postman" not in text and "await " not in text
    assert '"fileName"' not in json.dumps(collection)


def test_the_data_file_has_twenty_questions_whose_passages_the_text_has(collection: Json) -> None:
    questions = json.loads(QUESTIONS.read_text(encoding="utf-8"))
    text = (PROJECT_DIR / "docs" / "examples" / "hulumiao.txt").read_text(encoding="utf-8")
    assert len({row["question"] for row in questions}) == 20
    assert [row for row in questions if row["passage"] not in text] == []
    printed = subprocess.run(
        ["make", "--dry-run", "--old-file=newman", "postman-questions"],
        cwd=PROJECT_DIR,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "--iteration-data postman/questions.json" in printed
    assert re.search(r'--folder "([^"]+)"', printed)[1] == collection["item"][-1]["name"]  # type: ignore[index]


def test_no_route_and_no_verb_is_missing_from_it(app: Flask, collection: Json) -> None:
    adapter = app.url_map.bind("localhost")
    asked = set()
    for request in requests_of(collection):
        method, raw = request["request"]["method"], request["request"]["url"]["raw"]
        path = urlsplit(re.sub(r"{{(base|root)_url}}", "http://localhost", raw)).path
        try:
            rule, _ = adapter.match(re.sub(r"{{\w+}}", KB_ID, path), method=method, return_rule=True)
        except HTTPException:
            continue  # what goes wrong on purpose
        asked.add((method, rule.rule))
    served = {(verb, rule.rule) for rule in app.url_map.iter_rules() for verb in rule.methods - {"HEAD", "OPTIONS"}}
    assert served - asked == set()


def test_every_request_has_assertions_of_its_own_and_a_name_of_its_own(collection: Json) -> None:
    requests = list(requests_of(collection))
    assert [request["name"] for request in requests if "pm.test(" not in scripts(request, "test")] == []
    assert [name for name, count in Counter(request["name"] for request in requests).items() if count > 1] == []
    assert "in the envelope" in scripts(collection, "test")


def test_what_goes_wrong_is_refused_with_a_status_and_a_name(collection: Json) -> None:
    (folder,) = [folder for folder in collection["item"] if folder["name"].endswith(GOES_WRONG)]
    refused = [request for request in folder["item"] if "expected_error" in scripts(request, "prerequest")]
    assert len(refused) > 15
    for request in refused:
        assert re.search(r'"expected_error", "[a-z_]+"', scripts(request, "prerequest")), request["name"]
        assert re.search(r'"expected_status", 4\d\d', scripts(request, "prerequest")), request["name"]


def test_every_wait_has_an_end(collection: Json) -> None:
    waiting = [request for request in requests_of(collection) if "setNextRequest" in scripts(request, "test")]
    assert len(waiting) >= 3
    assert all("tries < MOST_TRIES" in scripts(request, "test") for request in waiting)


def test_every_variable_that_a_request_uses_is_declared(collection: Json) -> None:
    declared = {variable["key"] for variable in collection["variable"]}
    for path in POSTMAN.glob("*.postman_environment.json"):
        given = {value["key"] for value in json.loads(path.read_text(encoding="utf-8"))["values"]}
        assert given >= {"base_url", "api_key", "error_http_status"}, path.name
        declared |= given
    for request in requests_of(collection):
        used = set(re.findall(r"{{(\w+)}}", json.dumps(request["request"])))
        set_before = scripts(collection, "prerequest") + scripts(request, "prerequest")
        own = set(re.findall(r'pm\.variables\.set\("(\w+)"', set_before))
        assert used - own <= declared, request["name"]


def test_it_holds_no_secret_and_no_address_of_ours(collection: Json) -> None:
    for path in POSTMAN.glob("*.postman_*.json"):
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"https?://[^/\s\"`]+", text)) <= KNOWN_ADDRESSES, path.name
        assert not re.search(r"(dataset|app)-[A-Za-z0-9]{16,}|eyJ[A-Za-z0-9_-]{10,}", text), path.name
        for variable in json.loads(text).get("values", []):
            assert variable["type"] != "secret" or variable["value"] == "", path.name


def test_its_files_are_in_the_repository(collection: Json) -> None:
    parts = [
        part
        for request in requests_of(collection)
        for part in request["request"].get("body", {}).get("formdata", [])
        if part["type"] == "file"
    ]
    assert parts and all((PROJECT_DIR / part["src"]).is_file() for part in parts)


def test_newman_is_pinned_and_its_lock_file_names_no_registry() -> None:
    package = json.loads((POSTMAN / "package.json").read_text(encoding="utf-8"))
    assert re.fullmatch(r"\d+\.\d+\.\d+", package["dependencies"]["newman"])
    lock = json.loads((POSTMAN / "package-lock.json").read_text(encoding="utf-8"))
    packages = [entry for name, entry in lock["packages"].items() if name]
    assert all("integrity" in entry and "resolved" not in entry for entry in packages)


@pytest.mark.parametrize(
    "arguments, environment", [([], "sandbox"), (["BASE_URL=https://route-api.example.com/v1"], "server")]
)
def test_make_postman_changes_the_workspace_of_the_sandbox_only(arguments: list[str], environment: str) -> None:
    """With the environment of the sandbox, the collection sets the default model of the whole Dify workspace."""
    command = ["make", "--dry-run", "--old-file=newman", *arguments, "postman"]
    variables = {name: value for name, value in os.environ.items() if name != "BASE_URL"}
    printed = subprocess.run(command, cwd=PROJECT_DIR, env=variables, capture_output=True, text=True, check=True).stdout
    assert f"postman/{environment}.postman_environment.json" in printed
    (may_change,) = [
        variable["value"]
        for variable in json.loads((POSTMAN / f"{environment}.postman_environment.json").read_text())["values"]
        if variable["key"] == "may_change_workspace"
    ]
    assert may_change == ("yes" if environment == "sandbox" else "no")
