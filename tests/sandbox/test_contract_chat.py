"""The chat and console half of the sandbox against the recordings of Dify 1.12.1 and 1.16.1.

Every recorded case of these areas is either replayed (status, keys, JSON types; of an error its code and
text, of a stream its events and their keys) or named in `UNCLAIMED` with the reason.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from route_api.sandbox.access.json_web_token import issue_token
from route_api.sandbox.version import VERSIONS

from ..support.json_nulls import NullOr, differs_from_null
from ..support.sandbox_chat import Sandbox, Template, events_of, stop_after_first_event
from ..support.sandbox_chat_scenes import ALL_CASES, CONTRACT, Scene, arrange, fitted, recorded

_ADVANCED = "the sandbox has no advanced-chat apps"
_YAML = "no import and export of apps: it would need a YAML library for what the gateway never calls"
_PLUGINS = "the sandbox's models are built in: no plugins to install, no credentials to set"
_NO_RERANK = "the sandbox has no rerank model"
_EMPTY = "a Dify without models; the sandbox has its models from the start"
UNCLAIMED = {
    "chat/blocking-advanced-chat": _ADVANCED,
    "chat/streaming-advanced-chat": _ADVANCED,
    "debugger/advanced-chat-app": _ADVANCED,
    "models/console-default-get-rerank": _NO_RERANK,
    "models/console-default-post-rerank": _NO_RERANK,
    "models/list-rerank": _NO_RERANK,
    "provisioning/app-export": _YAML,
    "provisioning/app-get-imported": _YAML,
    "provisioning/app-import": _YAML,
    "provisioning/app-import-broken": _YAML,
    "provisioning/app-import-confirm": _YAML,
    "provisioning/app-import-missing": _YAML,
    "provisioning/app-import-newer-version": _YAML,
    "provisioning/app-import-over": _YAML,
    "provisioning/empty-app-create-without-model": _EMPTY,
    "provisioning/empty-default-model": _EMPTY,
    "provisioning/empty-default-model-post": _EMPTY,
    "provisioning/empty-models-llm": _EMPTY,
    "provisioning/plugin-list": _PLUGINS,
}
UNCLAIMED |= {
    f"provisioning/{path.stem}": _PLUGINS
    for path in (CONTRACT / "dify-1.12.1" / "provisioning").glob("*model-credential-*.json")
}

_AGENT = "the sandbox has no apps of the kinds agent-chat and agent"
UNCLAIMED_1_16 = {
    "auth/token-in-query": "the sandbox has no such route",
    "general/system-features": "the switches of the console, which the gateway does not read",
}
UNCLAIMED_1_16 |= {case: _ADVANCED for case in ALL_CASES["1.16.1"] if case.startswith("chat/advanced-chat-")}
UNCLAIMED_1_16 |= {case: _AGENT for case in ALL_CASES["1.16.1"] if case.startswith("chat/agent-")}
CLAIMED = [("1.12.1", case) for case in ALL_CASES["1.12.1"] if case not in UNCLAIMED]
CLAIMED += [("1.16.1", case) for case in ALL_CASES["1.16.1"] if case not in UNCLAIMED | UNCLAIMED_1_16]
STREAMS_TO_STOP = ("chat/streaming-stopped", "debugger/streaming-stopped")
OPEN_OBJECTS = ("inputs", "completion_params", "model_properties")
"""Objects whose keys are the caller's own, or the model's."""
DECLARED_BY_THE_RECORDING = (
    "user_input_form",
    "file_upload",
    "sensitive_word_avoidance",
    "text_to_speech",
    "agent_mode",
    "dataset_configs",
)
"""Parts of a configuration that come back as they were sent: the recordings sent others than these tests."""


def send(scene: Scene) -> TestResponse:
    """The recorded request, fitted to the scene."""
    request = scene.request
    headers, body = credentials_for(scene), fitted(scene, request["body"])
    if "Content-Type" in request["headers"]:
        headers["Content-Type"] = request["headers"]["Content-Type"]
    payload = {"data": body} if isinstance(body, str) else {} if body is None else {"json": body}
    path, query = fitted(scene, request["path"]), fitted(scene, request["query"])
    path, question_mark, inline_query = path.partition("?")
    query = inline_query if question_mark else query
    return scene.sandbox.anonymous().open(
        path, method=request["method"], query_string=query, headers=headers, **payload
    )


def credentials_for(scene: Scene) -> dict[str, str]:
    """The headers that the recording names by their kind."""
    sandbox, recorded_headers = scene.sandbox, scene.request["headers"]
    headers: dict[str, str] = {}
    kind = recorded_headers.get("Authorization", "")
    if kind.startswith("app key"):
        headers["Authorization"] = f"Bearer {'app-nobodys' if 'not exist' in kind else scene.key or sandbox.app_key}"
    elif kind.startswith("dataset key"):
        dataset_key = sandbox.credentials["DIFY_DATASET_API_KEY"]
        headers["Authorization"] = f"Bearer {'dataset-nobodys' if '(' in kind else dataset_key}"
    cookie = recorded_headers.get("Cookie", "")
    if not (cookie or kind.startswith("console")):
        return headers
    sandbox.open_session()
    cookies = {name: sandbox.cookie(name) for name in ("access_token", "refresh_token", "csrf_token")}
    if kind.startswith("console"):
        token = cookies["access_token"]
        headers["Authorization"] = {
            "console token sent as 'Token x'": f"Token {token}",
            "console token sent without 'Bearer '": token,
            "console token (garbage)": "Bearer garbage",
        }.get(kind, f"Bearer {token}")
    changed = changed_cookies(sandbox, cookie, cookies)
    headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in changed.items())
    if "X-CSRF-Token" in recorded_headers:
        is_right = recorded_headers["X-CSRF-Token"] == "<csrf-token>"
        headers["X-CSRF-Token"] = cookies["csrf_token"] if is_right else "abc"
    return headers


def changed_cookies(sandbox: Sandbox, kind: str, cookies: dict[str, str]) -> dict[str, str]:
    """The session's cookies as the recording has them: complete, some only, or spoilt."""
    only = re.match(r"(\w+_token) only", kind)
    if kind == "refresh_token=nope":
        return {"refresh_token": "nope"}
    if only and "(spent)" in kind:
        sandbox.client.post("/console/api/refresh-token")
    if only and "(logged out)" in kind:
        sandbox.client.post("/console/api/logout", headers={"X-CSRF-Token": cookies["csrf_token"]})
    if only:
        return {only[1]: cookies[only[1]]}
    if "wrong signature" in kind:
        return cookies | {"access_token": issue_token({}, "another secret", 60)}
    if "garbage" in kind:
        return cookies | {"access_token": "garbage"}
    if "expired" in kind:
        with sandbox.flask.app_context():
            store = sandbox.flask.extensions["sandbox_store"]
            secret = store.connection().execute("SELECT token_secret FROM account").fetchone()[0]
        return cookies | {"access_token": issue_token({}, secret, -1)}
    return cookies if kind else {}


_BUILT_IN = "the sandbox's models are built in: no credentials, no help"
_OTHER_APP = "the tests make an app without an icon and without a dataset variable"
_OTHER_MESSAGE = "the first recorded message stands for all messages of a list"
NULL_OR: NullOr = {
    "current_credential_id": (str, _BUILT_IN),
    "current_credential_name": (str, _BUILT_IN),
    "model_credential_schema": (dict, _BUILT_IN),
    "help": (dict, _BUILT_IN),
    "features": (list, "Dify's plugin lists the features of its embedding model"),
    "icon": (str, _OTHER_APP),
    "icon_background": (str, _OTHER_APP),
    "icon_type": (str, _OTHER_APP),
    "dataset_query_variable": (str, _OTHER_APP),
    "feedback": (dict, _OTHER_MESSAGE),
    "usage": (dict, _OTHER_MESSAGE),
    "last_used_at": (int, "a key is used only in some of the tests"),
}


def differences(theirs: Any, ours: Any, where: str = "") -> list[str]:
    """Where our JSON has other keys or types. An empty list fits any list, int fits float; for null see `NULL_OR`."""
    if theirs is None or ours is None:
        differs = differs_from_null(where.rpartition(".")[2], theirs, ours, NULL_OR)
        return [f"{where}: {theirs!r} in Dify, {ours!r} in the sandbox"] if differs else []
    if isinstance(theirs, dict) and isinstance(ours, dict):
        name = where.rpartition(".")[2]
        if name in OPEN_OBJECTS or name in DECLARED_BY_THE_RECORDING:
            return []
        found = [f"{where}.{key}: only in Dify" for key in sorted(theirs.keys() - ours.keys())]
        found += [f"{where}.{key}: only in the sandbox" for key in sorted(ours.keys() - theirs.keys())]
        for key in sorted(theirs.keys() & ours.keys()):
            found += differences(theirs[key], ours[key], f"{where}.{key}")
        return found
    if isinstance(theirs, list) and isinstance(ours, list):
        if where.rpartition(".")[2] in DECLARED_BY_THE_RECORDING:
            return []
        return [line for item in ours if theirs for line in differences(theirs[0], item, f"{where}[]")]
    if isinstance(theirs, bool) or isinstance(ours, bool) or not isinstance(theirs, int | float):
        is_alike = type(theirs) is type(ours)
    else:
        is_alike = isinstance(ours, int | float)
    return [] if is_alike else [f"{where}: {type(theirs).__name__} in Dify, {type(ours).__name__} in the sandbox"]


def plain_text(scene: Scene, message: str) -> str:
    """An error's text with our names, without flask-restx's guesses and pydantic's echo of the input."""
    message = re.sub(r" You have requested this URI.*", "", message)
    return fitted(scene, re.sub(r"input_value=.*?, input_type", "input_type", message))


def stream_shape(text: str) -> list[tuple[str, tuple[str, ...]]]:
    """The distinct events in their order, each with its keys."""
    shape: list[tuple[str, tuple[str, ...]]] = []
    for event in events_of(text):
        seen = (event["event"], tuple(sorted(event)))
        if seen not in shape:
            shape.append(seen)
    return shape


def test_every_recorded_case_is_claimed_or_has_a_reason() -> None:
    assert set(UNCLAIMED) <= set(ALL_CASES["1.12.1"]) and set(UNCLAIMED_1_16) <= set(ALL_CASES["1.16.1"])
    assert len(CLAIMED) > 560


@pytest.fixture(scope="module")
def shared_sandboxes(template: Template, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sandbox]:
    """One of each version for all cases that live in an app of their own: making 200 sandboxes takes a while."""
    folder = tmp_path_factory.mktemp("shared")
    return {version: template.copy_to(folder / version, version) for version in VERSIONS}


@pytest.fixture
def sandbox_for(
    version: str, case: str, template: Template, shared_sandboxes: dict[str, Sandbox], tmp_path: Path
) -> Sandbox:
    """A sandbox in which the case can be replayed."""
    is_shared = case.startswith(("chat/", "debugger/", "inputs/", "models/")) and case != "chat/streaming-ping"
    return shared_sandboxes[version] if is_shared else template.copy_to(tmp_path / "data", version)


@pytest.mark.parametrize(("version", "case"), [each for each in CLAIMED if each[1] not in STREAMS_TO_STOP])
def test_the_sandbox_answers_as_dify_did(sandbox_for: Sandbox, version: str, case: str) -> None:
    theirs, scene = recorded(version, case)["response"], arrange(sandbox_for, case)
    answer = send(scene)
    assert answer.status_code == theirs["status"], answer.text
    assert answer.content_type.partition(";")[0] == theirs["headers"].get("Content-Type", "").partition(";")[0]
    assert cookie_names(answer.headers.getlist("Set-Cookie")) == cookie_names(theirs["headers"].get("Set-Cookie", []))
    if answer.mimetype == "text/event-stream":
        assert stream_shape(answer.text) == stream_shape(theirs["body"])
        last, their_last = events_of(answer.text)[-1], events_of(theirs["body"])[-1]
        assert differences(their_last, last) == []
    elif answer.mimetype == "application/json" and answer.status_code != 204:
        body = theirs["body"] if isinstance(theirs["body"], dict) else json.loads(theirs["body"])
        assert differences(body, answer.json) == []
        if theirs["status"] >= 400:
            assert answer.json.get("code") == body.get("code")
            assert plain_text(scene, str(answer.json.get("message"))) == plain_text(scene, str(body.get("message")))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", STREAMS_TO_STOP)
def test_a_stopped_stream_ends_as_dify_s_did(template: Template, tmp_path: Path, version: str, case: str) -> None:
    sandbox = template.copy_to(tmp_path / "data", version)
    theirs, scene = recorded(version, case)["response"], arrange(sandbox, case)

    def stop(task_id: str) -> TestResponse:
        if case.startswith("chat/"):
            return sandbox.service("POST", f"/chat-messages/{task_id}/stop", scene.key, json={"user": "alice"})
        return sandbox.console("POST", f"/apps/{scene.app_id}/chat-messages/{task_id}/stop")

    text = stop_after_first_event(send(scene), stop)
    assert stream_shape(text) == stream_shape(theirs["body"])
    last, their_last = events_of(text)[-1], events_of(theirs["body"])[-1]
    assert differences(their_last, last) == []
    assert last["metadata"]["usage"]["total_tokens"] == their_last["metadata"]["usage"]["total_tokens"] == 0


def cookie_names(cookies: list[str]) -> list[str]:
    """The names of cookies with their attributes, but not their values and times."""
    return sorted(re.sub(r"=[^;]*; Expires=[^;]*", "", cookie) for cookie in cookies)
