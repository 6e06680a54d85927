"""The forms of Dify's answers: every recorded answer has its form, and one that has not is refused with its field."""

import re
from typing import Any

import pytest

from route_api.dify import decoder, shapes
from route_api.dify.decoder import Kind, Misfit, Shape, fit
from route_api.dify.events import parse_event
from route_api.errors import DifyUnreadable

from ..support.recordings import VERSIONS, body_of, cases, load

ID = r"[0-9a-f-]{36}"
APP = rf"/console/api/apps/{ID}"
WORKSPACE = "/console/api/workspaces/current"
CALLS: list[tuple[str, str, Kind]] = [
    ("GET", "/v1/datasets", shapes.DATASETS),
    ("POST", "/v1/datasets", shapes.DATASET),
    ("GET", f"/v1/datasets/{ID}", shapes.DATASET),
    ("PATCH", f"/v1/datasets/{ID}", shapes.DATASET),
    ("POST", f"/v1/datasets/{ID}/retrieve", shapes.RECORDS),
    ("POST", f"/v1/datasets/{ID}/document/create-by-file", shapes.CREATED_DOCUMENT),
    ("GET", f"/v1/datasets/{ID}/documents", shapes.DOCUMENTS),
    ("GET", f"/v1/datasets/{ID}/documents/{ID}", shapes.DOCUMENT),
    ("GET", f"/v1/datasets/{ID}/documents/[0-9]+/indexing-status", shapes.INDEXING_STATUS),
    ("GET", f"/v1/datasets/{ID}/documents/{ID}/(upload-file|download)", shapes.FILE),
    ("GET", f"/v1/datasets/{ID}/documents/{ID}/segments", shapes.SEGMENTS),
    ("GET", "/v1/workspaces/current/models/model-types/[a-z-]+", shapes.MODELS),
    ("GET", "/v1/parameters", shapes.PARAMETERS),
    ("GET", "/v1/info", shapes.APP_INFO),
    ("GET", f"/v1/messages/{ID}/suggested", shapes.SUGGESTED),
    ("GET", f"/console/api/datasets/{ID}/documents", shapes.CONSOLE_DOCUMENTS),
    ("GET", f"/console/api/datasets/{ID}/documents/{ID}/download", shapes.FILE),
    ("GET", f"/console/api/datasets/{ID}/indexing-status", shapes.DATASET_INDEXING_STATUS),
    ("GET", "/console/api/files/upload", shapes.UPLOAD_LIMITS),
    ("GET", "/console/api/apps", shapes.APPS),
    ("POST", "/console/api/apps", shapes.NEW_APP),
    ("GET", APP, shapes.APP),
    ("GET", f"{APP}/api-keys", shapes.KEYS),
    ("POST", f"{APP}/api-keys", shapes.NEW_KEY),
    ("GET", "/console/api/datasets/api-keys", shapes.KEYS),
    ("POST", "/console/api/datasets/api-keys", shapes.NEW_KEY),
    ("GET", f"{WORKSPACE}/models/model-types/[a-z-]+", shapes.MODELS),
    ("GET", f"{WORKSPACE}/default-model", shapes.DEFAULT_MODEL),
]
FILE_PATHS = [path for _, path, shape in CALLS if shape is shapes.FILE]
NOT_OURS = ("documents/get-one-metadata-only", "metadata/document-after-enable")
"""These were recorded with the query metadata=only, which we never send."""


@pytest.fixture(autouse=True)
def nothing_ignored_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "_ignored", set())


@pytest.mark.parametrize("version", VERSIONS)
def test_every_recorded_answer_has_the_form_of_its_call(version: str) -> None:
    seen = set()
    for name in cases(version):
        recorded = load(version, name)
        request, response = recorded["request"], recorded["response"]
        for method, path, shape in CALLS:
            fits = request["method"] == method and re.fullmatch(path, request["path"])
            is_json = response["status"] in (200, 201) and isinstance(response["body"], (dict, list))
            if fits and is_json and name not in NOT_OURS:
                shape.check(response["body"])
                seen.add((method, path))
    # Each version has another of the two ways to a file.
    assert {path for _, path, _ in CALLS} - {path for _, path in seen} <= {path for path in FILE_PATHS}
    assert decoder._ignored == set()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_recorded_event_has_its_form(version: str) -> None:
    names = set()
    for name in cases(version):
        recorded = load(version, name)
        if "event-stream" in recorded["response"]["headers"].get("Content-Type", ""):
            for block in body_of(recorded).split(b"\n\n"):
                if event := parse_event(block):
                    names.add(event["event"])
    assert {"message", "message_end", "error", "ping"} <= names
    assert decoder._ignored == set()


ANSWER = {"answer": "好", "message_id": "m", "metadata": {"usage": {"total_tokens": 1}}}
WRONG: list[tuple[Shape, Any, str]] = [
    (shapes.APP_INFO, None, "the answer is null or missing, not an object"),
    (shapes.APP_INFO, [], "the answer is a list, not an object"),
    (shapes.EVENTS["message"], {**ANSWER, "answer": None}, "answer is null or missing, not a text"),
    (shapes.EVENTS["message"], {**ANSWER, "answer": 1}, "answer is a number, not a text"),
    (shapes.EVENTS["message"], {**ANSWER, "message_id": "x" * 37}, "message_id is a text, not an id of at most 36"),
    (shapes.EVENTS["message"], {**ANSWER, "conversation_id": "a/b"}, "conversation_id is a text, not an id"),
    (shapes.EVENTS["message"], {**ANSWER, "task_id": 7}, "task_id is a number, not an id"),
    (shapes.EVENTS["message_end"], {**ANSWER, "metadata": []}, "metadata is a list, not an object"),
    (shapes.DATASETS, {"data": []}, "total is null or missing, not a whole number"),
    (shapes.DATASETS, {"data": [], "total": "3"}, "total is a text, not a whole number"),
    (shapes.DATASETS, {"data": [], "total": True}, "total is a boolean, not a whole number"),
    (
        shapes.DATASETS,
        {"data": [{"id": "a", "name": "a"}, {"id": 1}], "total": 2},
        "data[1].id is a number, not a text",
    ),
    (shapes.RECORDS, {"records": [{"score": 1}]}, "records[0].segment is null or missing, not an object"),
    (shapes.APPS, {"data": [], "has_more": None}, "has_more is null or missing, not a boolean"),
    (shapes.FILE, {"url": "http://["}, "url is a text, not an address"),
    (shapes.PARAMETERS, {"user_input_form": [{"paragraph": {}}]}, "user_input_form[0].paragraph.variable is null"),
]


@pytest.mark.parametrize(("shape", "answer", "problem"), WRONG, ids=[problem for _, _, problem in WRONG])
def test_a_field_of_another_form_is_named_in_the_log_and_not_to_the_caller(
    shape: Shape, answer: Any, problem: str, log: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DifyUnreadable) as caught:
        fit(answer, shape, "GET /v1/x", 200)
    assert f"Dify's answer to GET /v1/x cannot be used: {problem}" in log.text
    assert (caught.value.status, caught.value.code) == (502, "dify_failed")
    assert problem not in caught.value.message


def test_an_optional_field_of_another_form_counts_as_missing_and_is_logged_once(log: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        row = {"id": "a", "name": "a", "description": ["x"], "word_count": None, "unknown": object}
        shapes.DATASET.check(row)
        assert row == {"id": "a", "name": "a", "word_count": None, "unknown": object}
    (message,) = {id(record): record.getMessage() for record in log.records}.values()
    assert "description is a list, not a text" in message


def test_what_is_passed_on_is_not_too_deep_to_be_written() -> None:
    deep: Any = "x"
    for _ in range(60):
        deep = [deep]
    with pytest.raises(Misfit, match="at most 50 levels"):
        shapes.INDEXING_STATUS.check({"data": [{"deep": deep}]})
