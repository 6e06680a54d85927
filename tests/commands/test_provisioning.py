"""What a run of `flask dify provision` makes in a workspace, and what it leaves alone."""

from pathlib import Path
from typing import Any

import pytest
import responses

from route_api import prompts
from route_api.commands.provisioner import APP_NAME, PRE_PROMPT, VARIABLES, Note, Provisioned, Provisioner
from route_api.dify import ChatApi
from route_api.errors import DifyFailed
from route_api.sandbox import models as sandbox_models

from ..support.dify_client import dify_client
from ..support.fake_dify import FakeDify
from ..support.fresh_dify import FreshDify
from ..support.recordings import DIFY, load


def run(dify: FreshDify, known: dict[str, str] | None = None) -> tuple[Provisioned, list[Note]]:
    notes: list[Note] = []
    return Provisioner(dify.client(known), known or {}, notes.append).run(), notes


def made(notes: list[Note]) -> str:
    return "\n".join(note.text for note in notes if note.state == "made")


def test_a_fresh_dify_gets_keys_and_an_app_that_answers(fresh: FreshDify) -> None:
    provisioned, notes = run(fresh)
    assert provisioned.is_complete
    [app] = fresh.apps()
    assert (app["name"], app["enable_api"], app["model_config"]["pre_prompt"]) == (APP_NAME, True, PRE_PROMPT)
    assert app["model_config"]["model"]["name"] == "sandbox-extractive"
    client = fresh.client(provisioned.settings)
    assert client.knowledge.list_datasets(1, 1)["total"] == 0
    assert list(prompts.declared_variables(client.chat().parameters())) == list(VARIABLES)
    inputs = {name: "" for name in VARIABLES} | {"context": "葫芦庙在阊门外十里街。"}
    assert client.chat().send({"query": "葫芦庙在哪里？", "user": "u", "inputs": inputs})["answer"]
    assert [note.state for note in notes] == ["made"] * 7


def test_the_apps_prompt_holds_every_variable_that_a_turn_fills() -> None:
    template = prompts.load_templates(Path(__file__).parents[2] / "prompts.toml")["default"]
    prompt = prompts.compose(template, dict.fromkeys(VARIABLES), question="问", records=[], history=["用户：早"])
    assert set(prompt.inputs) == set(VARIABLES) and prompt.query == "问"
    assert all(f"{{{{{name}}}}}" in PRE_PROMPT for name in VARIABLES)


def test_a_second_run_makes_nothing_and_gives_the_same_settings(fresh: FreshDify) -> None:
    first, _ = run(fresh)
    fresh.calls.clear()
    second, notes = run(fresh, first.settings)
    assert second == first
    assert fresh.changes() == []
    assert made(notes) == ""


def test_a_run_without_the_settings_of_the_first_finds_everything_again_but_our_own_keys(fresh: FreshDify) -> None:
    first, _ = run(fresh)
    fresh.calls.clear()
    second, _ = run(fresh)
    assert fresh.changes() == []
    of_dify = {name: value for name, value in first.settings.items() if name.startswith("DIFY_")}
    assert of_dify.items() <= second.settings.items()
    assert second.settings["API_KEYS"] != first.settings["API_KEYS"]


@pytest.mark.parametrize("step", range(4))
@pytest.mark.parametrize("is_done", [False, True])
def test_a_run_that_broke_off_anywhere_is_finished_by_the_next(
    fresh: FreshDify, monkeypatch: pytest.MonkeyPatch, step: int, is_done: bool
) -> None:
    name = ["create_dataset_key", "create_chat_app", "configure_app", "create_app_key"][step]
    client = fresh.client()
    call = getattr(client.provisioning, name)

    def break_off(*arguments: Any) -> None:
        if is_done:
            call(*arguments)
        raise DifyFailed("Dify failed.")

    monkeypatch.setattr(client.provisioning, name, break_off)
    with pytest.raises(DifyFailed):
        Provisioner(client, {}, lambda note: None).run()
    provisioned, _ = run(fresh)
    [app] = fresh.apps()
    assert list(prompts.declared_variables(app["model_config"])) == list(VARIABLES)
    again = fresh.client(provisioned.settings)
    assert again.chat().parameters()["user_input_form"]
    assert len(again.provisioning.dataset_keys()) == len(again.provisioning.app_keys(app["id"])) == 1
    assert len(fresh.changes()) == 4


def test_without_a_model_everything_else_is_made_and_a_later_run_finishes_the_app(
    fresh: FreshDify, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without_models:
        without_models.setattr(sandbox_models, "all_models", list)
        first, notes = run(fresh)
    assert not first.is_complete
    missing = [note.text for note in notes if note.state == "missing"]
    assert "language model" in missing[0] and "embedding model" in missing[1]
    assert all(first.settings.values()) and len(first.settings) == 5
    [app] = fresh.apps()
    assert app["model_config"]["user_input_form"] == []
    second, notes = run(fresh, first.settings)
    assert second.is_complete and second.settings == first.settings
    [app] = fresh.apps()
    assert list(prompts.declared_variables(app["model_config"])) == list(VARIABLES)
    assert "prompt" in made(notes)


def test_a_prompt_that_the_operator_has_changed_stays(fresh: FreshDify) -> None:
    first, _ = run(fresh)
    [app] = fresh.apps()
    api = fresh.client().provisioning
    config = {**app["model_config"], "pre_prompt": "Speak like a poet. {{context}}"}
    config["user_input_form"] = config["user_input_form"][1:2]
    api.configure_app(app["id"], config)
    fresh.calls.clear()
    second, notes = run(fresh, first.settings)
    assert second == first and fresh.changes() == []
    [note] = [note.text for note in notes if note.state == "note"]
    assert "no variable instructions, history" in note


@pytest.mark.parametrize("name", ["The institute's own", APP_NAME + " (old)"])
def test_an_app_of_the_operators_whose_key_is_in_the_settings_is_used_and_not_touched(
    fresh: FreshDify, name: str
) -> None:
    api = fresh.client().provisioning
    app_id = api.create_chat_app(name, "")
    key = api.create_app_key(app_id)
    fresh.calls.clear()
    provisioned, notes = run(fresh, {"DIFY_APP_API_KEY": key})
    assert provisioned.settings["DIFY_APP_API_KEY"] == key
    assert fresh.changes() == ["POST /console/api/datasets/api-keys"]
    assert any(name in note.text and note.state == "reused" for note in notes)
    assert any("declares no variable" in note.text for note in notes)


def test_an_app_of_another_name_is_not_taken_for_ours(fresh: FreshDify) -> None:
    api = fresh.client().provisioning
    api.create_chat_app(APP_NAME + " (old)", "")
    run(fresh)
    assert sorted(app["name"] for app in fresh.apps()) == [APP_NAME, APP_NAME + " (old)"]


def test_keys_that_dify_refuses_are_replaced_and_that_is_said(fresh: FreshDify) -> None:
    first, _ = run(fresh)
    wrong = {**first.settings, "DIFY_DATASET_API_KEY": "dataset-…", "DIFY_APP_API_KEY": "app-wrong"}
    second, notes = run(fresh, wrong)
    assert second == first
    assert len([note for note in notes if note.state == "note" and "replaced" in note.text]) == 2


def test_a_service_api_that_is_switched_off_is_switched_on(fresh: FreshDify) -> None:
    first, _ = run(fresh)
    [app] = fresh.apps()
    fresh.client()._console_transport.request(
        "POST", f"/console/api/apps/{app['id']}/api-enable", json={"enable_api": False}
    )
    second, notes = run(fresh, first.settings)
    assert second == first
    assert fresh.client(second.settings).chat().parameters()
    assert "is on now" in made(notes)


@pytest.mark.parametrize(("mode", "stays"), [("advanced-chat", True), ("workflow", False)])
def test_a_key_of_an_app_that_this_login_cannot_prepare_stays_if_it_takes_questions(
    fresh: FreshDify, monkeypatch: pytest.MonkeyPatch, mode: str, stays: bool
) -> None:
    monkeypatch.setattr(ChatApi, "info", lambda self: {"name": "Another", "mode": mode})
    provisioned, _ = run(fresh, {"DIFY_APP_API_KEY": "app-of-another-kind"})
    assert (provisioned.settings["DIFY_APP_API_KEY"] == "app-of-another-kind") is stays
    assert len(fresh.apps()) == (0 if stays else 1)


def test_our_own_settings_stay_as_they_are_and_open_is_told(fresh: FreshDify) -> None:
    known = {"AUTH": "open", "API_KEYS": "one,two", "SECRET_KEY": "s" * 16}
    provisioned, notes = run(fresh, known)
    assert known.items() <= provisioned.settings.items()
    assert any("everybody" in note.text for note in notes)


def test_the_keys_that_are_made_are_long_random_and_never_told(fresh: FreshDify) -> None:
    provisioned, notes = run(fresh)
    secrets = [provisioned.settings[name] for name in ("API_KEYS", "SECRET_KEY")]
    assert len(set(secrets)) == 2 and all(len(secret) >= 43 for secret in secrets)
    told = "\n".join(note.text for note in notes)
    assert not [value for name, value in provisioned.settings.items() if name != "AUTH" and value in told]


def test_either_version_is_set_up_from_nothing_by_the_calls_that_were_recorded(version: str) -> None:
    created = load(version, "provisioning/empty-app-create")["response"]["body"]
    app = f"/console/api/apps/{created['id']}"
    models = "/console/api/workspaces/current/models/model-types"
    with responses.RequestsMock() as mock:
        dify = FakeDify(mock, version)
        dify.play("auth/login")
        dify.play("provisioning/empty-models-llm-after", path=f"{models}/llm")
        dify.play("models/console-default-get-llm")
        dify.play("provisioning/empty-dataset-keys")
        dify.play("provisioning/empty-dataset-key-create")
        dify.answer("GET", "/console/api/apps", {"data": [], "has_more": False})
        dify.play("provisioning/empty-app-create")
        dify.answer("GET", app, {**dify.body("provisioning/app-get-fresh"), "id": created["id"], "name": APP_NAME})
        dify.play("provisioning/empty-model-config", path=f"{app}/model-config")
        dify.answer("GET", f"{app}/api-keys", {"data": []})
        dify.play("provisioning/empty-app-key-create", path=f"{app}/api-keys")
        dify.play("provisioning/empty-models-llm", path=f"{models}/text-embedding")
        dify.play("provisioning/empty-default-model")
        client = dify_client(DIFY, console_email="admin@example.com", console_password="Secret123")
        client.transport.dify_version = version
        provisioned = Provisioner(client, {}, lambda note: None).run()
        sent = next(call.request.body for call in mock.calls if call.request.path_url.endswith("/model-config"))
    assert b'"langgenius/ollama/ollama"' in sent and b'"qwen3:4b"' in sent
    tokens = ("<dataset-key>", "<app-key>")
    assert (provisioned.settings["DIFY_DATASET_API_KEY"], provisioned.settings["DIFY_APP_API_KEY"]) == tokens
