"""`/llm` and `/user`: the models of the workspace."""

import json

import pytest
from flask.testing import FlaskClient

from ..support.fake_dify import FakeDify
from ..support.scenes import play_login

CHOICE = {"model": "qwen3:4b", "model_type": "llm", "provider": "langgenius/ollama/ollama"}


@pytest.mark.parametrize("model_type", ["llm", "text-embedding", "rerank"])
def test_the_models_of_a_type_are_listed(client: FlaskClient, dify: FakeDify, model_type: str) -> None:
    dify.play(f"models/list-{model_type}")
    providers = client.get("/llm/my_llms", query_string={"model_type": model_type}).json["data"]
    theirs = dify.body(f"models/list-{model_type}")["data"]
    assert [p["provider"] for p in providers] == [p["provider"] for p in theirs]
    assert [p["models"] for p in providers] == [p["models"] for p in theirs]


def test_icons_come_without_difys_host_in_both_sizes(client: FlaskClient, dify: FakeDify) -> None:
    dify.play("models/list-llm")
    provider, *_ = client.get("/llm/my_llms").json["data"]
    for size in ("icon_large", "icon_small"):
        assert provider[size].keys() == {"en_US", "zh_Hans"}
        assert all(address.startswith("/console/api/workspaces/") for address in provider[size].values())
    assert "http" not in json.dumps(provider)


def test_the_default_model_is_set_by_the_console(console_client: FlaskClient, dify: FakeDify) -> None:
    play_login(dify)
    dify.play("models/console-default-post")
    answer = console_client.post("/v1/user/set_tenant_info", json=CHOICE)
    assert (answer.status_code, answer.json["message"]) == (200, "Set default model successful!")
    assert dify.sent() == {"model_settings": [CHOICE]}


def test_without_a_console_login_the_operator_is_told_what_to_set(client: FlaskClient, any_dify: FakeDify) -> None:
    answer = client.post("/user/set_tenant_info", json=CHOICE)
    assert (answer.status_code, answer.json["error"]) == (503, "console_not_configured")
    assert "DIFY_CONSOLE_EMAIL" in answer.json["message"] and any_dify.calls == []


def test_a_refused_login_is_told_and_not_tried_again(console_client: FlaskClient, dify: FakeDify) -> None:
    dify.mock.get("http://dify.test/v1/", json={}, headers={"X-Version": dify.version})
    dify.play("auth/login-bad-password")
    for _ in range(3):
        answer = console_client.post("/user/set_tenant_info", json=CHOICE)
        assert (answer.status_code, answer.json["error"]) == (503, "console_login_refused")
    assert dify.calls.count("POST /console/api/login") == 1


def test_a_model_that_dify_does_not_have_is_refused(console_client: FlaskClient, dify: FakeDify) -> None:
    play_login(dify)
    dify.play("models/console-default-post-unknown-model")
    answer = console_client.post("/user/set_tenant_info", json={**CHOICE, "model": "no-such-model"})
    assert (answer.status_code, answer.json["error"]) == (400, "dify_rejected")
    assert "no-such-model" in answer.json["message"]
