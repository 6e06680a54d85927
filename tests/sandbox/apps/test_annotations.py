"""The sandbox's annotations: fixed answers that an app gives instead of its model's."""

import pytest

from ...support.sandbox_chat import PROVIDER, Sandbox, events_of

EMBEDDING = "sandbox-bm25"
QUESTION, ANSWER = "葫芦庙在哪里？", "在仁清巷内。"


@pytest.fixture
def key(sandbox: Sandbox) -> str:
    """The key of an app with one annotation."""
    key = sandbox.make_app()[1]
    answer = sandbox.service("POST", "/apps/annotations", key, json={"question": QUESTION, "answer": ANSWER})
    assert answer.status_code == 201, answer.text
    return key


def switch(sandbox: Sandbox, key: str, action: str, threshold: float = 0.9, model: str = EMBEDDING) -> dict[str, str]:
    """Begin or end answering with annotations, and return the state of the job."""
    body = {"score_threshold": threshold, "embedding_provider_name": PROVIDER, "embedding_model_name": model}
    job = sandbox.service("POST", f"/apps/annotation-reply/{action}", key, json=body)
    assert (job.status_code, job.json["job_status"]) == (200, "waiting"), job.text
    return sandbox.service("GET", f"/apps/annotation-reply/{action}/status/{job.json['job_id']}", key).json


def test_a_matching_question_gets_the_annotation_s_answer_while_it_is_enabled(sandbox: Sandbox, key: str) -> None:
    assert ANSWER not in sandbox.ask("葫芦庙在哪里", key)["answer"]
    assert switch(sandbox, key, "enable")["job_status"] == "completed"
    turn = sandbox.ask("葫芦庙在哪里", key)
    (annotation,) = sandbox.service("GET", "/apps/annotations", key).json["data"]
    assert turn["answer"] == ANSWER
    assert turn["metadata"]["annotation_reply"]["id"] == annotation["id"]
    assert turn["metadata"]["usage"]["total_tokens"] == 0
    assert annotation["hit_count"] == 1
    assert sandbox.ask("甄士隐是谁", key)["metadata"]["annotation_reply"] is None
    assert switch(sandbox, key, "disable")["job_status"] == "completed"
    assert sandbox.ask("葫芦庙在哪里", key)["metadata"]["annotation_reply"] is None


def test_a_stream_has_the_annotation_s_answer_and_names_it_at_the_end(sandbox: Sandbox, key: str) -> None:
    switch(sandbox, key, "enable")
    body = {"inputs": {}, "query": QUESTION, "user": "alice", "response_mode": "streaming"}
    events = events_of(sandbox.service("POST", "/chat-messages", key, json=body).text)
    assert "".join(event.get("answer", "") for event in events) == ANSWER
    assert events[-1]["metadata"]["annotation_reply"]["account"]["name"] == "sandbox"


def test_the_threshold_decides_what_matches(sandbox: Sandbox, key: str) -> None:
    switch(sandbox, key, "enable", 0.3)
    assert sandbox.ask("请问葫芦庙到底在哪里呢", key)["answer"] == ANSWER
    switch(sandbox, key, "enable", 0.99)
    assert sandbox.ask("请问葫芦庙到底在哪里呢", key)["answer"] != ANSWER


def test_the_app_tells_that_it_answers_with_annotations(sandbox: Sandbox, key: str) -> None:
    def told() -> dict[str, object]:
        return sandbox.service("GET", "/parameters", key).json["annotation_reply"]

    assert told() == {"enabled": False}
    switch(sandbox, key, "enable", 0.8)
    assert told() | {"id": ""} == {
        "id": "",
        "enabled": True,
        "score_threshold": 0.8,
        "embedding_model": {"embedding_provider_name": PROVIDER, "embedding_model_name": EMBEDDING},
    }


def test_an_unknown_embedding_model_is_an_error_of_the_job(sandbox: Sandbox, key: str) -> None:
    state = switch(sandbox, key, "enable", model="nope")
    assert (state["job_status"], state["error_msg"]) == ("error", "Model nope credentials is not initialized.")
    assert sandbox.ask(QUESTION, key)["answer"] != ANSWER


def test_an_annotation_is_changed_found_and_deleted_by_its_own_app_alone(sandbox: Sandbox, key: str) -> None:
    (annotation,) = sandbox.service("GET", "/apps/annotations", key).json["data"]
    path, changed = f"/apps/annotations/{annotation['id']}", {"question": "新问题", "answer": "新回答"}
    for method in ("PUT", "DELETE"):
        refused = sandbox.service(method, path, json=changed)
        assert (refused.status_code, refused.json["message"]) == (404, "Annotation not found")
    assert sandbox.service("PUT", path, key, json=changed).json == {**annotation, **changed}
    for keyword, total in (("回答", 1), ("葫芦庙", 0)):
        answer = sandbox.service("GET", "/apps/annotations", key, query_string={"keyword": keyword})
        assert answer.json["total"] == total
    assert sandbox.service("DELETE", path, key).status_code == 204
    assert sandbox.service("GET", "/apps/annotations", key).json["data"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("POST", "", {"question": "q"}, 400, "Field required"),
        ("POST", "", {"question": 1, "answer": "a"}, 400, "Input should be a valid string"),
        ("POST", "-reply/enable", {"score_threshold": "x"}, 400, "Input should be a valid number"),
        ("POST", "-reply/enable", {"score_threshold": 1}, 400, "Field required"),
        ("GET", "-reply/enable/status/00000000-0000-4000-8000-000000000000", None, 400, "The job does not exist."),
    ],
)
def test_bad_input_is_refused_in_words(
    sandbox: Sandbox, method: str, path: str, body: dict[str, object] | None, status: int, message: str
) -> None:
    base = "/apps/annotation" if path.startswith("-") else "/apps/annotations"
    answer = sandbox.service(method, base + path, **({"json": body} if body else {}))
    assert (answer.status_code, answer.json["code"]) == (status, "invalid_param")
    assert message in answer.json["message"]
