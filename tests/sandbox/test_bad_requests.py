"""Bodies that no Dify client sends: the sandbox answers them with a 4xx, never with a 500."""

from typing import Any

import pytest

from ..support.sandbox_chat import MODEL, Sandbox

NOT_OBJECTS = [[], [1], "text", 5, True, None]
CONSOLE_PATHS = ["/apps", "/apps/{app}/model-config", "/apps/{app}/chat-messages", "/apps/{app}/api-enable"]


@pytest.mark.parametrize("path", [*CONSOLE_PATHS, "/workspaces/current/default-model", "/login", "/setup"])
def test_a_body_that_is_no_object_is_refused_by_the_console(sandbox: Sandbox, path: str) -> None:
    app_id = sandbox.console("GET", "/apps").json["data"][0]["id"]
    answers = [sandbox.console("POST", path.format(app=app_id), json=body) for body in NOT_OBJECTS]
    assert all(400 <= answer.status_code < 500 for answer in answers), answers


def test_a_body_that_is_no_object_is_refused_by_the_service(sandbox: Sandbox) -> None:
    answers = [sandbox.service("POST", "/chat-messages", json=body) for body in NOT_OBJECTS]
    assert [answer.status_code for answer in answers] == [400] * 5 + [415]


@pytest.mark.parametrize(
    "change",
    [
        {"pre_prompt": 5},
        {"dataset_configs": "x"},
        {"user_input_form": [1]},
        {"user_input_form": [{"paragraph": {"variable": "1x"}}]},
        {"user_input_form": [{"paragraph": 5}]},
        {"suggested_questions_after_answer": []},
        {"model": []},
        {"model": MODEL | {"completion_params": []}},
        {"model": {"provider": MODEL["provider"], "completion_params": {}}},
    ],
    ids=repr,
)
def test_a_configuration_of_the_wrong_types_is_refused(sandbox: Sandbox, change: dict[str, Any]) -> None:
    app_id, _ = sandbox.make_app()
    answer = sandbox.console("POST", f"/apps/{app_id}/model-config", json={"model": MODEL, **change})
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_param")


@pytest.mark.parametrize("entry", [None, 5, {"datasets": None}, {"datasets": [None]}, {"datasets": [{"dataset": 5}]}])
def test_datasets_of_an_unknown_shape_are_no_datasets(sandbox: Sandbox, entry: Any) -> None:
    app_id, _ = sandbox.make_app()
    override = {"model": MODEL, "dataset_configs": {"datasets": entry, "top_k": "many"}}
    assert sandbox.debug(app_id, model_config=override)["metadata"]["retriever_resources"] == []


@pytest.mark.parametrize("settings", [5, [None], [{"model_type": "llm", "provider": 5, "model": []}]])
def test_default_models_of_the_wrong_types_are_refused(sandbox: Sandbox, settings: Any) -> None:
    answer = sandbox.console("POST", "/workspaces/current/default-model", json={"model_settings": settings})
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_param")
