from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
import responses

from route_api.dify import Dify
from route_api.errors import DifyAuthFailed, DifyNotFound, NotSupported

from ..support.dify_client import dify_client
from ..support.recordings import DIFY, body_of, load, play, sent

BASE = "/console/api/datasets/ds"
APPS = "/console/api/apps"
RULES = "/console/api/workspaces/current/model-providers/langgenius/ollama/ollama/models/parameter-rules"


CALLS: list[tuple[str, str, tuple[Any, ...], str, str]] = [
    (
        "list_documents",
        "documents/console-list-fetch-true",
        ("ds", 1, 3),
        "GET",
        f"{BASE}/documents?page=1&limit=3&fetch=true",
    ),
    (
        "indexing_status",
        "documents/console-dataset-indexing-status",
        ("ds",),
        "GET",
        f"{BASE}/indexing-status",
    ),
    (
        "upload_limits",
        "documents/console-upload-limits",
        (),
        "GET",
        "/console/api/files/upload",
    ),
    (
        "switch_segments",
        "segments/console-disable-two",
        ("ds", "doc", "disable", ["s1", "s2"]),
        "PATCH",
        f"{BASE}/documents/doc/segment/disable?segment_id=s1&segment_id=s2",
    ),
    (
        "set_default_model",
        "models/console-default-post",
        ("llm", "langgenius/ollama/ollama", "mistral:latest"),
        "POST",
        "/console/api/workspaces/current/default-model",
    ),
]


@pytest.mark.parametrize("call, case, arguments, method, path", CALLS)
def test_a_call_sends_what_was_recorded_to_work(
    console_dify: Dify,
    mock_dify: responses.RequestsMock,
    version: str,
    call: str,
    case: str,
    arguments: tuple[Any, ...],
    method: str,
    path: str,
) -> None:
    play(mock_dify, version, case, path=path)
    result = getattr(console_dify.console, call)(*arguments)
    assert result == (orjson.loads(body_of(load(version, case))) if method == "GET" else None)
    request = mock_dify.calls[-1].request
    assert (request.method, request.url) == (method, DIFY + path)
    recorded_body = load(version, case)["request"]["body"]
    assert sent(mock_dify) == recorded_body
    signed = "Authorization" if version == "1.8.1" else "X-CSRF-Token"
    assert signed in request.headers


def test_an_expired_session_is_refreshed_and_the_call_sent_again(
    console_dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    path = "/console/api/files/upload"
    play(mock_dify, version, "auth/expired-token", path=path)
    play(mock_dify, version, "auth/refresh")
    play(mock_dify, version, "documents/console-upload-limits", path=path)
    assert console_dify.console.upload_limits()["file_size_limit"]


def test_a_call_that_is_refused_twice_is_not_sent_a_third_time(
    console_dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    path = "/console/api/files/upload"
    play(mock_dify, version, "auth/expired-token", path=path)
    play(mock_dify, version, "auth/refresh")
    play(mock_dify, version, "auth/expired-token", path=path)
    with pytest.raises(DifyAuthFailed, match="DIFY_CONSOLE_EMAIL"):
        console_dify.console.upload_limits()


def test_an_unknown_document_is_not_found(console_dify: Dify, mock_dify: responses.RequestsMock, version: str) -> None:
    play(
        mock_dify,
        version,
        "segments/console-unknown-document",
        path=f"{BASE}/documents/doc/segment/enable?segment_id=s",
    )
    with pytest.raises(DifyNotFound):
        console_dify.console.switch_segments("ds", "doc", "enable", ["s"])


def test_120_segments_are_switched_in_three_calls(
    console_dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    ids = [f"s{number}" for number in range(120)]
    path = f"{BASE}/documents/doc/segment/enable"
    for _ in range(3):
        play(mock_dify, version, "segments/console-enable-two", path=path)
    console_dify.console.switch_segments("ds", "doc", "enable", ids)
    batches = [parse_qs(urlsplit(call.request.url).query)["segment_id"] for call in list(mock_dify.calls)[-3:]]
    assert batches == [ids[:50], ids[50:100], ids[100:]]


def play_apps(mock: responses.RequestsMock, version: str, page: int, *, has_more: bool) -> list[str]:
    """A page of the list of apps, as recorded but with ids of its own; the ids."""
    recorded = load(version, "provisioning/app-list")["response"]["body"]
    ids = [f"{page}-{number}" for number in range(len(recorded["data"]))]
    apps = [{**app, "id": each} for app, each in zip(recorded["data"], ids)]
    mock.get(f"{DIFY}{APPS}?page={page}&limit=100&mode=chat", json={**recorded, "data": apps, "has_more": has_more})
    return ids


def play_keys(mock: responses.RequestsMock, version: str, app_id: str, *tokens: str) -> None:
    """The keys of an app, as recorded but for the tokens."""
    [recorded] = load(version, "provisioning/app-api-keys-list")["response"]["body"]["data"]
    mock.get(f"{DIFY}{APPS}/{app_id}/api-keys", json={"data": [{**recorded, "token": token} for token in tokens]})


@pytest.mark.parametrize("model_name, key", [(None, "app-secret"), ("small", "app-small")])
def test_an_app_is_found_by_its_whole_key_and_no_further_one_is_asked(
    console_dify: Dify, mock_dify: responses.RequestsMock, version: str, model_name: str | None, key: str
) -> None:
    first_page = play_apps(mock_dify, version, 1, has_more=True)
    play_keys(mock_dify, version, first_page[0], key + "1", key[:-1], key.upper())
    play_keys(mock_dify, version, first_page[1])
    second_page = play_apps(mock_dify, version, 2, has_more=True)
    play_keys(mock_dify, version, second_page[0], "another", key)
    assert console_dify.find_app(model_name) == second_page[0]


def test_a_key_of_no_app_is_refused_with_the_setting_to_check(
    console_dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    for app_id in play_apps(mock_dify, version, 1, has_more=False):
        play_keys(mock_dify, version, app_id, "another")
    with pytest.raises(NotSupported, match="the key in DIFY_APPS") as refused:
        console_dify.find_app("small")
    assert "app-small" not in refused.value.message


def test_the_published_configuration_is_that_of_the_app(
    console_dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "provisioning/app-get-with-variables", path=f"{APPS}/app")
    recorded = load(version, "provisioning/app-get-with-variables")["response"]["body"]
    assert console_dify.console.app_model_config("app") == recorded["model_config"]


def test_parameter_rules_are_those_of_the_model(console_dify: Dify, mock_dify: responses.RequestsMock) -> None:
    rules = [{"name": "num_predict", "use_template": "max_tokens", "type": "int", "min": 1, "max": 32768}]
    mock_dify.get(f"{DIFY}{RULES}?model=qwen3:4b", json={"data": rules})
    assert console_dify.console.parameter_rules("langgenius/ollama/ollama", "qwen3:4b") == rules


def test_the_models_with_an_app_of_their_own_are_named(dify: Dify) -> None:
    assert dify.models_with_app == ("small",)


def test_an_app_is_found_by_a_masked_key_if_its_name_is_the_keys(
    console_dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    """Dify 1.17 and later mask keys. This was read in Dify's code, not recorded."""
    recorded = load(version, "provisioning/app-list")["response"]["body"]
    apps = [{**recorded["data"][0], "id": each, "name": each} for each in ("first", "second", "third")]
    mock_dify.get(f"{DIFY}{APPS}?page=1&limit=100&mode=chat", json={**recorded, "data": apps, "has_more": False})
    for app_id, token in (("first", "app-s…mall"), ("second", "app-s...mall"), ("third", "app-s…mall2")):
        play_keys(mock_dify, version, app_id, token)
    mock_dify.get(f"{DIFY}/v1/info", json={"name": "second", "mode": "chat"})
    assert console_dify.find_app("small") == "second"


def test_masked_keys_of_two_apps_of_one_name_are_not_guessed_at(
    console_dify: Dify, mock_dify: responses.RequestsMock, version: str
) -> None:
    for app_id in play_apps(mock_dify, version, 1, has_more=False):
        play_keys(mock_dify, version, app_id, "app-s…mall")
    names = [app["name"] for app in load(version, "provisioning/app-list")["response"]["body"]["data"]]
    mock_dify.get(
        f"{DIFY}/v1/info", json={"name": "another" if len(set(names)) == len(names) else names[0], "mode": "chat"}
    )
    with pytest.raises(NotSupported, match="DIFY_APP_IDS"):
        console_dify.find_app("small")


def test_an_app_whose_id_is_set_is_not_looked_for() -> None:
    dify = dify_client(DIFY, apps={"small": "app-small"}, app_ids={"default": "one", "small": "two"})
    assert (dify.find_app(), dify.find_app("small")) == ("one", "two")
