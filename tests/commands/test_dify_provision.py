"""A run of `flask dify provision` makes the missing keys and the app in a workspace, and changes nothing else."""

from pathlib import Path
from typing import Any

import pytest
import responses

from route_api.commands.dify_provision import APP_NAME, PRE_PROMPT, Provisioner, ProvisionResult, Step
from route_api.dify import ChatApi, KnowledgeApi
from route_api.dify.console_transport import ConsoleTransport
from route_api.errors import DifyFailed, DifyForbidden, DifyRejected
from route_api.prompts.builder import build_prompt
from route_api.prompts.templates import load_templates
from route_api.prompts.variables import APP_VARIABLES, declared_variables
from route_api.sandbox.model import available_models as sandbox_models

from ..support.dify_client import dify_client
from ..support.event_streams import last_event
from ..support.fake_dify import FakeDify
from ..support.fresh_dify import FreshDify
from ..support.recordings import DIFY, load


def run(dify: FreshDify, existing: dict[str, str] | None = None) -> tuple[ProvisionResult, list[Step]]:
    steps: list[Step] = []
    return Provisioner(dify.client(existing), existing or {}, steps.append).run(), steps


def made(steps: list[Step]) -> str:
    return "\n".join(step.text for step in steps if step.state == "made")


def test_a_fresh_dify_gets_keys_and_an_app_that_answers(fresh: FreshDify) -> None:
    provisioned, steps = run(fresh)
    assert provisioned.is_complete
    [app] = fresh.apps()
    assert (app["name"], app["enable_api"], app["model_config"]["pre_prompt"]) == (APP_NAME, True, PRE_PROMPT)
    assert app["model_config"]["model"]["name"] == "sandbox-extractive"
    client = fresh.client(provisioned.settings)
    assert client.knowledge.list_datasets(1, 1)["total"] == 0
    assert list(declared_variables(client.chat().parameters())) == list(APP_VARIABLES)
    inputs = {name: "" for name in APP_VARIABLES} | {"context": "葫芦庙在阊门外十里街。"}
    assert last_event(client.chat().stream({"query": "葫芦庙在哪里？", "user": "u", "inputs": inputs}))["task_id"]
    assert [step.state for step in steps] == ["made"] * 7


def test_the_apps_prompt_holds_every_variable_that_a_turn_fills() -> None:
    template = load_templates(Path(__file__).parents[2] / "prompts.toml")["default"]
    prompt = build_prompt(template, dict.fromkeys(APP_VARIABLES), question="问", records=[], history=["用户：早"])
    assert set(prompt.inputs) == set(APP_VARIABLES) and prompt.query == "问"
    assert all(f"{{{{{name}}}}}" in PRE_PROMPT for name in APP_VARIABLES)


def test_a_second_run_makes_nothing_and_gives_the_same_settings(fresh: FreshDify) -> None:
    first, _ = run(fresh)
    fresh.calls.clear()
    second, steps = run(fresh, first.settings)
    assert second == first
    assert fresh.changes() == []
    assert made(steps) == ""


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
        Provisioner(client, {}, lambda step: None).run()
    provisioned, _ = run(fresh)
    [app] = fresh.apps()
    assert list(declared_variables(app["model_config"])) == list(APP_VARIABLES)
    again = fresh.client(provisioned.settings)
    assert again.chat().parameters()["user_input_form"]
    assert len(again.provisioning.dataset_keys()) == len(again.provisioning.app_keys(app["id"])) == 1
    assert len(fresh.changes()) == 4


def test_without_a_model_everything_else_is_made_and_a_later_run_finishes_the_app(
    fresh: FreshDify, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without_models:
        without_models.setattr(sandbox_models, "all_models", list)
        first, steps = run(fresh)
    assert not first.is_complete
    missing = [step.text for step in steps if step.state == "missing"]
    assert "language model" in missing[0] and "embedding model" in missing[1]
    assert all(first.settings.values()) and len(first.settings) == 5
    [app] = fresh.apps()
    assert app["model_config"]["user_input_form"] == []
    second, steps = run(fresh, first.settings)
    assert second.is_complete and second.settings == first.settings
    [app] = fresh.apps()
    assert list(declared_variables(app["model_config"])) == list(APP_VARIABLES)
    assert "prompt" in made(steps)


def test_a_prompt_that_the_operator_has_changed_stays(fresh: FreshDify) -> None:
    first, _ = run(fresh)
    [app] = fresh.apps()
    api = fresh.client().provisioning
    config = {**app["model_config"], "pre_prompt": "Speak like a poet. {{context}}"}
    config["user_input_form"] = config["user_input_form"][1:2]
    api.configure_app(app["id"], config)
    fresh.calls.clear()
    second, steps = run(fresh, first.settings)
    assert second == first and fresh.changes() == []
    [note] = [step.text for step in steps if step.state == "note"]
    assert "no variable instructions, history" in note


@pytest.mark.parametrize("name", ["The institute's own", APP_NAME + " (old)"])
def test_an_app_of_the_operators_whose_key_is_in_the_settings_is_used_and_not_touched(
    fresh: FreshDify, name: str
) -> None:
    api = fresh.client().provisioning
    app_id = api.create_chat_app(name, "")
    key = api.create_app_key(app_id)
    fresh.calls.clear()
    provisioned, steps = run(fresh, {"DIFY_APP_API_KEY": key})
    assert provisioned.settings["DIFY_APP_API_KEY"] == key
    assert fresh.changes() == ["POST /console/api/datasets/api-keys"]
    assert any(name in step.text and step.state == "reused" for step in steps)
    assert any("declares no variable" in step.text for step in steps)


def test_an_app_of_another_name_is_not_taken_for_ours(fresh: FreshDify) -> None:
    api = fresh.client().provisioning
    api.create_chat_app(APP_NAME + " (old)", "")
    run(fresh)
    assert sorted(app["name"] for app in fresh.apps()) == [APP_NAME, APP_NAME + " (old)"]


def test_keys_that_dify_refuses_are_replaced_and_that_is_said(fresh: FreshDify) -> None:
    first, _ = run(fresh)
    wrong = {**first.settings, "DIFY_DATASET_API_KEY": "dataset-…", "DIFY_APP_API_KEY": "app-wrong"}
    second, steps = run(fresh, wrong)
    assert second == first
    assert len([step for step in steps if step.state == "note" and "replaced" in step.text]) == 2


def test_a_service_api_that_is_switched_off_is_switched_on(fresh: FreshDify) -> None:
    first, _ = run(fresh)
    fresh.switch_off_service_api()
    second, steps = run(fresh, first.settings)
    assert second == first
    assert fresh.client(second.settings).chat().parameters()
    assert "is on now" in made(steps)


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
    provisioned, steps = run(fresh, known)
    assert known.items() <= provisioned.settings.items()
    assert any("everybody" in step.text for step in steps)


def test_the_keys_that_are_made_are_long_random_and_never_told(fresh: FreshDify) -> None:
    provisioned, steps = run(fresh)
    secrets = [provisioned.settings[name] for name in ("API_KEYS", "SECRET_KEY")]
    assert len(set(secrets)) == 2 and all(len(secret) >= 43 for secret in secrets)
    told = "\n".join(step.text for step in steps)
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
        provisioned = Provisioner(client, {}, lambda step: None).run()
        sent = next(call.request.body for call in mock.calls if call.request.path_url.endswith("/model-config"))
    assert b'"langgenius/ollama/ollama"' in sent and b'"qwen3:4b"' in sent
    tokens = ("<dataset-key>", "<app-key>")
    assert (provisioned.settings["DIFY_DATASET_API_KEY"], provisioned.settings["DIFY_APP_API_KEY"]) == tokens


# Dify 1.17 to 1.20.0: read in Dify's code, not recorded. `masking` plays them.


def test_a_mask_is_never_written_and_the_keys_of_the_settings_stay(masking: FreshDify) -> None:
    first, _ = run(masking)
    masking.calls.clear()
    second, steps = run(masking, first.settings)
    assert second == first and masking.changes() == [] and made(steps) == ""
    assert not [value for value in first.settings.values() if "…" in value]
    assert any(APP_NAME in step.text and step.state == "reused" for step in steps)  # It was found by its masked key.


def test_a_masked_key_that_is_not_in_the_settings_is_unknown_so_another_is_made(masking: FreshDify) -> None:
    first, _ = run(masking)
    second, steps = run(masking, {"DIFY_DATASET_API_KEY": "datas…BnVq"})
    of_dify = ("DIFY_DATASET_API_KEY", "DIFY_APP_API_KEY")
    assert not [name for name in of_dify if second.settings[name] == first.settings[name]]
    client = masking.client(second.settings)
    assert client.knowledge.list_datasets(1, 1) and client.chat().info()["name"] == APP_NAME
    assert "a dataset key" in made(steps) and "a key of the app" in made(steps)


def test_a_workspace_with_ten_masked_keys_is_told_in_words(masking: FreshDify) -> None:
    for _ in range(10):
        masking.client().provisioning.create_dataset_key()
    with pytest.raises(DifyRejected, match="delete one in Dify"):
        run(masking)


def test_a_key_for_one_dataset_is_neither_taken_from_the_list_nor_kept(
    fresh: FreshDify, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = run(fresh)
    scoped = {"token": "dataset-" + "a" * 24, "created_at": 1, "dataset_id": "00000000-0000-4000-8000-000000000000"}
    monkeypatch.setattr(ConsoleTransport, "request", listing(scoped, ConsoleTransport.request))
    second, _ = run(fresh)
    assert second.settings["DIFY_DATASET_API_KEY"] == first.settings["DIFY_DATASET_API_KEY"]

    def refuse(*_: Any) -> None:
        raise DifyForbidden("Forbidden")

    with monkeypatch.context() as scope:
        scope.setattr(KnowledgeApi, "list_datasets", refuse)
        third, steps = run(fresh, {**first.settings, "DIFY_DATASET_API_KEY": scoped["token"]})
    assert third == first
    assert any("for one knowledge base and is replaced" in step.text for step in steps)


def listing(key: dict[str, Any], ask: Any) -> Any:
    """A console whose list of dataset keys has one more key."""

    def request(self: ConsoleTransport, method: str, path: str, **options: Any) -> Any:
        answer = ask(self, method, path, **options)
        return {"data": [key, *answer["data"]]} if method == "GET" and path.endswith("datasets/api-keys") else answer

    return request
