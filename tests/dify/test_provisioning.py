"""Setting up a workspace, call by call, as it was recorded to work with both versions of Dify."""

from typing import Any

import pytest
import responses

from route_api.dify import Dify, ready_models
from route_api.errors import ConsoleLoginRefused, ConsoleNotConfigured, DifyAuthFailed, DifyFailed, DifyRejected

from ..support.dify_client import dify_client
from ..support.recordings import DIFY, load, play, sent

APPS = "/console/api/apps"
MODELS = "/console/api/workspaces/current/models/model-types/llm"
DEFAULT = "/console/api/workspaces/current/default-model?model_type=llm"
OLLAMA = "langgenius/ollama/ollama"


def recorded(version: str, case: str) -> Any:
    return load(version, case)["response"]["body"]


@pytest.mark.parametrize(
    ("case", "is_set_up"), [("provisioning/setup-status", True), ("provisioning/empty-setup-status", False)]
)
def test_whether_a_dify_was_ever_set_up_is_known_without_a_login(
    dify: Dify, mock_dify: responses.RequestsMock, version: str, case: str, is_set_up: bool
) -> None:
    play(mock_dify, version, case)
    assert dify.provisioning.is_set_up() is is_set_up


@pytest.mark.parametrize("answer", [{"status": "ok"}, ["step"], "step"])
def test_a_server_that_is_no_dify_is_told_apart(dify: Dify, mock_dify: responses.RequestsMock, answer: object) -> None:
    mock_dify.get(f"{DIFY}/console/api/setup", json=answer)
    with pytest.raises(DifyFailed, match="not answer as Dify"):
        dify.provisioning.is_set_up()


def test_a_dataset_key_is_made_as_recorded(console_dify: Dify, mock_dify: responses.RequestsMock, version: str) -> None:
    play(mock_dify, version, "provisioning/dataset-api-key-create")
    token = recorded(version, "provisioning/dataset-api-key-create")["token"]
    assert console_dify.provisioning.create_dataset_key() == token
    assert sent(mock_dify) is None


def test_an_eleventh_dataset_key_is_a_failure_of_difys(
    console_dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "provisioning/dataset-api-key-limit")
    with pytest.raises(DifyRejected if version == "1.16.1" else DifyFailed):
        console_dify.provisioning.create_dataset_key()


@pytest.mark.parametrize("kind", ["dataset", "app"])
def test_keys_are_listed_oldest_first(
    console_dify: Dify, mock_dify: responses.RequestsMock, version: str, kind: str
) -> None:
    row = recorded(version, f"provisioning/{kind}-api-keys-list")["data"][0]
    rows = [{**row, "token": token, "created_at": at} for token, at in (("newer", 20), ("oldest", 5), ("old", 10))]
    path = f"{APPS}/app/api-keys" if kind == "app" else "/console/api/datasets/api-keys"
    mock_dify.get(DIFY + path, json={"data": rows})
    api = console_dify.provisioning
    assert (api.app_keys("app") if kind == "app" else api.dataset_keys()) == ["oldest", "old", "newer"]


def test_a_new_workspace_has_no_dataset_key(
    console_dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "provisioning/empty-dataset-keys")
    assert console_dify.provisioning.dataset_keys() == []


def test_an_app_is_looked_for_by_its_exact_name_on_all_pages_and_the_oldest_comes_first(
    console_dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    answer = recorded(version, "provisioning/app-list-name")
    row = answer["data"][0]
    first = [{**row, "id": "new", "created_at": 30}, {**row, "id": "other", "name": row["name"] + "二"}]
    second = [{**row, "id": "old", "created_at": 10}]
    query = load(version, "provisioning/app-list-name")["request"]["query"]
    for page, rows in ((1, first), (2, second)):
        mock_dify.get(
            f"{DIFY}{APPS}",
            match=[responses.matchers.query_param_matcher({**query, "page": page, "limit": 100})],
            json={**answer, "data": rows, "has_more": page == 1},
        )
    assert [app["id"] for app in console_dify.provisioning.chat_apps(row["name"])] == ["old", "new"]


def test_a_chat_app_is_made_as_recorded(console_dify: Dify, mock_dify: responses.RequestsMock, version: str) -> None:
    play(mock_dify, version, "provisioning/app-create")
    request = load(version, "provisioning/app-create")["request"]["body"]
    app_id = console_dify.provisioning.create_chat_app(request["name"], request["description"])
    assert app_id == recorded(version, "provisioning/app-create")["id"]
    assert sent(mock_dify) == request


def test_an_app_is_configured_as_recorded(console_dify: Dify, mock_dify: responses.RequestsMock, version: str) -> None:
    play(mock_dify, version, "provisioning/empty-model-config", path=f"{APPS}/app/model-config")
    body = load(version, "provisioning/empty-model-config")["request"]["body"]
    console_dify.provisioning.configure_app("app", body)
    assert sent(mock_dify) == body


def test_a_configuration_with_an_unknown_model_is_refused_in_difys_words(
    console_dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "provisioning/model-config-unknown-model", path=f"{APPS}/app/model-config")
    with pytest.raises(DifyRejected, match="model.name"):
        console_dify.provisioning.configure_app("app", {"model": {}})


def test_an_apps_service_api_is_switched_on_as_recorded(
    console_dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "provisioning/app-api-enable", path=f"{APPS}/app/api-enable")
    console_dify.provisioning.open_app("app")
    assert sent(mock_dify) == load(version, "provisioning/app-api-enable")["request"]["body"]


def test_an_app_key_is_made_as_recorded(console_dify: Dify, mock_dify: responses.RequestsMock, version: str) -> None:
    play(mock_dify, version, "provisioning/app-api-key-create", path=f"{APPS}/app/api-keys")
    token = recorded(version, "provisioning/app-api-key-create")["token"]
    assert console_dify.provisioning.create_app_key("app") == token


def test_an_app_has_what_its_preparation_needs(
    console_dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "provisioning/app-get-fresh", path=f"{APPS}/app")
    app = console_dify.provisioning.app("app")
    assert (app["enable_api"], app["model_config"]["pre_prompt"], app["model_config"]["user_input_form"]) == (
        True,
        None,
        [],
    )


def test_the_default_model_comes_first_among_those_that_are_ready(
    console_dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "models/console-list-llm", path=MODELS)
    default = recorded(version, "models/console-default-get-llm")
    last = ready_models(recorded(version, "models/console-list-llm"))[-1]
    default["data"]["model"] = last[1]
    mock_dify.get(DIFY + DEFAULT, json=default)
    models = console_dify.provisioning.models("llm")
    assert len(models) > 1
    assert models[0] == last == (OLLAMA, last[1])


def test_a_new_workspace_has_no_model(console_dify: Dify, mock_dify: responses.RequestsMock, version: str) -> None:
    play(mock_dify, version, "provisioning/empty-models-llm", path=MODELS)
    play(mock_dify, version, "provisioning/empty-default-model", path=DEFAULT)
    assert console_dify.provisioning.models("llm") == []


def test_a_model_that_is_not_active_is_not_ready(version: str) -> None:
    answer = recorded(version, "models/list-llm")
    names = [name for _, name in ready_models(answer)]
    answer["data"][0]["models"][0]["status"] = "no-configure"
    assert [name for _, name in ready_models(answer)] == names[1:]


def test_an_apps_kind_is_told_to_its_key(dify: Dify, mock_dify: responses.RequestsMock, version: str) -> None:
    play(mock_dify, version, "chat/info")
    assert dify.chat().info()["mode"] == "chat"


def test_a_login_that_was_refused_is_not_sent_again(
    dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    dify.transport.dify_version = version
    play(mock_dify, version, "auth/login-bad-password")
    for _ in range(3):
        with pytest.raises(ConsoleLoginRefused):
            dify.provisioning.dataset_keys()
    assert len(mock_dify.calls) == 1


def test_a_forgotten_login_is_never_sent(dify: Dify, mock_dify: responses.RequestsMock) -> None:
    dify.forget_login()
    with pytest.raises(ConsoleNotConfigured):
        dify.provisioning.dataset_keys()
    assert not mock_dify.calls


def test_a_key_that_was_copied_with_an_ellipsis_is_refused_by_dify_and_breaks_nothing(
    mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "chat/parameters-wrong-key")
    with pytest.raises(DifyAuthFailed, match="DIFY_APP_API_KEY"):
        dify_client(DIFY, app_api_key="app-…").chat().parameters()
    authorization = mock_dify.calls[-1].request.headers["Authorization"]
    assert authorization.encode("latin-1").decode() == "Bearer app-…"
