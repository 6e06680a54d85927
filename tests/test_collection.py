"""The Postman collection, read as it lies there: no route is missing, nothing is secret, each request is checked."""

import json
import re
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from werkzeug.exceptions import HTTPException

from .support.newman import COLLECTION, POSTMAN, PROJECT_DIR, requests_of, scripts

Json = dict[str, Any]

KB_ID = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"
GOES_WRONG = "What goes wrong (异常情况)"
KNOWN_ADDRESSES = {"http://127.0.0.1:8000", "https://route-api.example.com", "https://schema.getpostman.com"}


@pytest.fixture(scope="module")
def collection() -> Json:
    read: Json = json.loads(COLLECTION.read_text(encoding="utf-8"))
    return read


def test_no_route_and_no_verb_is_missing_from_it(app: Flask, collection: Json) -> None:
    adapter = app.url_map.bind("localhost")
    asked = set()
    for request in requests_of(collection):
        method, raw = request["request"]["method"], request["request"]["url"]["raw"]
        path = urlsplit(raw.replace("{{base_url}}", "http://localhost")).path
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
    assert len(folder["item"]) > 10
    for request in folder["item"]:
        assert re.search(r"have\.status\(4\d\d\)", scripts(request, "test")), request["name"]
        assert re.search(r'error: "[a-z_]+"', scripts(request, "test")), request["name"]


def test_every_wait_has_an_end(collection: Json) -> None:
    waiting = [request for request in requests_of(collection) if "setNextRequest" in scripts(request, "test")]
    assert len(waiting) >= 3
    assert all("tries < MOST_TRIES" in scripts(request, "test") for request in waiting)


def test_every_variable_that_a_request_uses_is_declared(collection: Json) -> None:
    declared = {variable["key"] for variable in collection["variable"]}
    for path in POSTMAN.glob("*.postman_environment.json"):
        given = {value["key"] for value in json.loads(path.read_text(encoding="utf-8"))["values"]}
        assert given >= {"base_url", "api_key"}, path.name
        declared |= given
    for request in requests_of(collection):
        used = set(re.findall(r"{{(\w+)}}", json.dumps(request["request"])))
        own = set(re.findall(r'pm\.variables\.set\("(\w+)"', scripts(request, "prerequest")))
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
