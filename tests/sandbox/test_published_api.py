"""The sandbox against the OpenAPI document that Dify publishes of its service API: its paths, and its answers' forms.

No server was recorded on these routes, so the examples of the document stand for the answers.
"""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from route_api.sandbox.version import VERSIONS

from ..support.sandbox_chat import Sandbox, Template
from ..support.sandbox_knowledge import Knowledge

DOCUMENT = json.loads(
    (Path(__file__).parents[1] / "contract" / "openapi" / "dify_service_api_2026-07-22.json").read_text()
)
_PIPELINES = "the sandbox's datasets have no pipelines"
LEFT_OUT = {
    "/datasets/pipeline/file-upload": _PIPELINES,
    "/datasets/{}/pipeline/datasource-plugins": _PIPELINES,
    "/datasets/{}/pipeline/datasource/nodes/{}/run": _PIPELINES,
    "/datasets/{}/pipeline/run": _PIPELINES,
}
ONLY_SINCE_1_16 = (
    ("GET", "/end-users/00000000-0000-4000-8000-000000000000"),
    ("GET", "/workflow/1/events"),
    ("GET", "/form/human_input/1"),
    ("POST", "/datasets/00000000-0000-4000-8000-000000000000/documents/download-zip"),
)


def operations() -> dict[tuple[str, str], dict[str, Any]]:
    """The operations of the document by method and path, with `{}` for each parameter."""
    return {
        (method.upper(), re.sub(r"\{\w+\}", "{}", path)): operation
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
        if method in ("get", "post", "put", "patch", "delete")
    }


def example(method: str, path: str, status: str) -> Any:
    """The first JSON example of an answer."""
    content = operations()[method, path]["responses"][status]["content"]["application/json"]
    return next(iter(content["examples"].values()))["value"]


def keys(value: Any) -> Any:
    """The names of a JSON value, without what it says."""
    if isinstance(value, dict):
        return {name: keys(item) for name, item in value.items()}
    return [keys(item) for item in value[:1]] if isinstance(value, list) else None


@pytest.fixture(scope="module")
def sandbox(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A sandbox of 1.16.1."""
    return template.copy_to(tmp_path_factory.mktemp("published") / "data", "1.16.1")


def test_every_published_path_is_answered_or_has_a_reason(sandbox: Sandbox) -> None:
    ours = {
        (method, re.sub(r"<[^>]+>", "{}", rule.rule.removeprefix("/v1")))
        for rule in sandbox.flask.url_map.iter_rules()
        for method in rule.methods or ()
    }
    missing = {path for method, path in operations() if (method, path) not in ours}
    assert len(operations()) > 75
    assert missing == set(LEFT_OUT)


@pytest.mark.parametrize("version", VERSIONS)
def test_routes_of_1_16_are_unknown_paths_in_1_12(version: str, template: Template, tmp_path: Path) -> None:
    sandbox = template.copy_to(tmp_path / "data", version)
    answers = [sandbox.anonymous().open(f"/v1{path}", method=method) for method, path in ONLY_SINCE_1_16]
    expected = (404, "text/html") if version == "1.12.1" else (401, "application/json")
    assert [(answer.status_code, answer.mimetype) for answer in answers] == [expected] * len(answers)


def test_answers_of_an_app_have_the_published_form(sandbox: Sandbox) -> None:
    key = sandbox.make_app()[1]
    upload = {"file": (io.BytesIO(b"x"), "a.png", "image/png"), "user": "alice"}
    file = sandbox.service("POST", "/files/upload", key, data=upload)
    assert (file.status_code, keys(file.json)) == (201, keys(example("POST", "/files/upload", "201")))
    user = sandbox.service("GET", f"/end-users/{file.json['created_by']}", key)
    assert keys(user.json) == keys(example("GET", "/end-users/{}", "200"))
    assert (user.json["session_id"], user.json["is_anonymous"]) == ("alice", False)

    turn = sandbox.ask(key=key)
    rated = {"rating": "like", "content": "好", "user": "alice"}
    assert sandbox.service("POST", f"/messages/{turn['message_id']}/feedbacks", key, json=rated).status_code == 200
    feedbacks = sandbox.service("GET", "/app/feedbacks", key)
    assert keys(feedbacks.json) == keys(example("GET", "/app/feedbacks", "200"))

    annotation = sandbox.service("POST", "/apps/annotations", key, json={"question": "q", "answer": "a"})
    assert (annotation.status_code, keys(annotation.json)) == (201, keys(example("POST", "/apps/annotations", "201")))
    listed = sandbox.service("GET", "/apps/annotations", key)
    assert keys(listed.json) == keys(example("GET", "/apps/annotations", "200"))
    switch = {"score_threshold": 0.9, "embedding_provider_name": "p", "embedding_model_name": "m"}
    job = sandbox.service("POST", "/apps/annotation-reply/disable", key, json=switch)
    assert keys(job.json) == keys(example("POST", "/apps/annotation-reply/{}", "200"))
    state = sandbox.service("GET", f"/apps/annotation-reply/disable/status/{job.json['job_id']}", key)
    assert keys(state.json) == keys(example("GET", "/apps/annotation-reply/{}/status/{}", "200"))
    logs = sandbox.service("GET", "/workflows/logs", key)
    assert keys(logs.json) == {**keys(example("GET", "/workflows/logs", "200")), "data": []}


def test_answers_of_a_dataset_have_the_published_form(sandbox: Sandbox) -> None:
    knowledge = Knowledge(sandbox)
    dataset_id = knowledge.create_dataset()
    tag = knowledge.service("POST", "/datasets/tags", json={"name": "t"})
    assert (tag.status_code, keys(tag.json)) == (200, keys(example("POST", "/datasets/tags", "200")))
    assert keys(knowledge.service("GET", "/datasets/tags").json) == keys(example("GET", "/datasets/tags", "200"))
    bound = {"tag_ids": [tag.json["id"]], "target_id": dataset_id}
    assert knowledge.service("POST", "/datasets/tags/binding", json=bound).status_code == 204
    tags = knowledge.service("GET", f"/datasets/{dataset_id}/tags")
    assert keys(tags.json) == keys(example("GET", "/datasets/{}/tags", "200"))
    document_id = knowledge.upload(dataset_id, "a.txt", "葫芦庙")
    segment_id = knowledge.segments(dataset_id, document_id)[0]["id"]
    children = f"/datasets/{dataset_id}/documents/{document_id}/segments/{segment_id}/child_chunks"
    child = knowledge.service("POST", children, json={"content": "x"})
    path = "/datasets/{}/documents/{}/segments/{}/child_chunks/{}"
    assert (child.status_code, keys(child.json)) == (200, keys(example("PATCH", path, "200")))
    knowledge.stop()


@pytest.mark.parametrize(
    ("method", "path", "status", "name", "code"),
    [
        ("POST", "/workflows/run", "400", "not_workflow_app", "not_workflow_app"),
        ("POST", "/completion-messages", "400", "app_unavailable", "app_unavailable"),
        ("POST", "/text-to-audio", "400", "invalid_param", "invalid_param"),
    ],
)
def test_refusals_have_the_published_text(
    sandbox: Sandbox, method: str, path: str, status: str, name: str, code: str
) -> None:
    answer = sandbox.service(method, path, json={"inputs": {}, "user": "alice", "text": "x"})
    published = operations()[method, path]["responses"][status]["content"]["application/json"]["examples"][name]
    assert (answer.status_code, answer.json["code"], answer.json) == (int(status), code, published["value"])
