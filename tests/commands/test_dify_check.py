"""`flask dify check` reports on a gateway and its Dify, and changes nothing."""

import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
import requests
import responses

from config import Config
from route_api.access.limits import redis_of
from route_api.app import create_app
from route_api.commands.connection_limit import DEFAULT_CONNECTIONS, has_more_connections
from route_api.commands.dify_check import check_everything
from route_api.commands.dify_provision import Provisioner
from route_api.commands.finding import Finding
from route_api.commands.version_check import CAPABILITIES, version_findings
from route_api.dify.breaker_state import RedisState
from route_api.dify.chat_app import ChatApi
from route_api.dify.error_answers import error_from_response
from route_api.errors import ConsoleLoginRefused
from route_api.extensions import db
from route_api.prompts.variables import APP_VARIABLES
from route_api.sandbox.model import available_models as sandbox_models
from route_api.storage import console_logins

from ..support import databases
from ..support.dify_client import dify_client
from ..support.fake_dify import FakeDify
from ..support.fresh_dify import EMAIL, PASSWORD, FreshDify
from ..support.loopback import answer, loopback
from ..support.recordings import DIFY, VERSIONS, body_of, load
from ..support.settings import KEYS

LOGIN = {"DIFY_CONSOLE_EMAIL": EMAIL, "DIFY_CONSOLE_PASSWORD": PASSWORD}
Findings = dict[str, Finding]
Check = Callable[..., Findings]


@pytest.fixture
def provisioned(fresh: FreshDify) -> dict[str, Any]:
    """Every setting of a gateway on a Dify that was just provisioned."""
    settings = Provisioner(fresh.client(), {}, lambda step: None).run().settings
    fresh.calls.clear()
    return {"DIFY_BASE_URL": fresh.url, **settings, **LOGIN, "API_KEYS": [settings["API_KEYS"]]}


@pytest.fixture
def check(tmp_path: Path) -> Iterator[Check]:
    """Runs the check of a gateway with these settings; its database is up to date unless one is named."""

    def run(may_log_in: bool = True, **settings: Any) -> Findings:
        made_here = {"DATABASE_URL": f"sqlite:///{tmp_path / 'gateway.sqlite3'}", "DOWNLOAD_ROOT": tmp_path / "files"}
        config = Config.load(**{**made_here, **settings})
        app = create_app(config)
        with app.app_context():
            if "DATABASE_URL" not in settings:
                flask_migrate.upgrade()
            found = check_everything(config, app.extensions["route_api"].dify, may_log_in=may_log_in)
            findings = {finding.capability: finding for finding in found}
            db.engine.dispose()
        return findings

    yield run
    logging.getLogger("route_api").handlers.clear()


def states(findings: Findings, *wanted: str) -> set[str]:
    """The capabilities with these states, without those that depend on Dify's version alone."""
    by_version = {*CAPABILITIES, "Dify's version", "connections to Dify"}
    return {name for name, finding in findings.items() if finding.state in wanted and name not in by_version}


def test_after_provisioning_everything_works_that_this_dify_offers_and_nothing_is_changed(
    fresh: FreshDify, provisioned: dict[str, Any], check: Check
) -> None:
    findings = check(**provisioned)
    assert states(findings, "missing") == set()
    assert states(findings, "optional", "unknown") == {"reranking", "download of files"}
    assert len(findings) == 19 + len(CAPABILITIES)
    assert fresh.changes() == []


def test_no_secret_is_told(provisioned: dict[str, Any], check: Check) -> None:
    wrong = {"DIFY_APPS": {"small": "app-small-secret"}}
    told = repr([check(**provisioned), check(**provisioned | wrong), check(**provisioned | {"SECRET_KEY": ""})])
    secrets = [provisioned[name] for name in ("DIFY_DATASET_API_KEY", "DIFY_APP_API_KEY", "SECRET_KEY")]
    assert not [secret for secret in [*secrets, *provisioned["API_KEYS"], PASSWORD, "small-secret"] if secret in told]


def test_a_gateway_without_any_setting_is_told_all_that_it_lacks(check: Check, tmp_path: Path) -> None:
    findings = check(DATABASE_URL=f"sqlite:///{tmp_path / 'none.sqlite3'}")
    assert states(findings, "missing") == {"callers", "database", "Dify"}
    assert states(findings, "unknown") == {"all that Dify does"}
    assert all(findings[name].remedy for name in ("callers", "database", "Dify", "logins of users"))
    assert not (tmp_path / "none.sqlite3").exists()


def test_a_dify_that_is_away_is_named_and_the_rest_is_not_guessed_at(check: Check) -> None:
    findings = check(**KEYS | {"DIFY_BASE_URL": "http://127.0.0.1:9"})
    assert "cannot be reached" in findings["Dify"].text and "127.0.0.1:9" in findings["Dify"].text
    assert findings["Dify"].state == "missing"
    assert states(findings, "unknown") == {"all that Dify does"}


def test_another_web_server_is_not_taken_for_a_dify(check: Check) -> None:
    with loopback(lambda connection, _: connection.sendall(answer(b"<html>It works!</html>"))) as server:
        findings = check(**KEYS | {"DIFY_BASE_URL": server.url})
    assert findings["Dify"].state == "missing"
    assert "It works" not in repr(findings)


@pytest.mark.parametrize(
    ("setting", "value", "capability"),
    [
        ("DIFY_DATASET_API_KEY", "dataset-…", "dataset key"),
        ("DIFY_DATASET_API_KEY", "", "dataset key"),
        ("DIFY_APP_API_KEY", "app-wrong", "app key"),
        ("DIFY_APP_API_KEY", "", "app key"),
        ("DIFY_APPS", {"small": "app-wrong"}, "app key of small in DIFY_APPS"),
    ],
)
def test_a_key_that_does_not_open_is_missing_and_named(
    provisioned: dict[str, Any], check: Check, setting: str, value: Any, capability: str
) -> None:
    finding = check(**provisioned | {setting: value})[capability]
    assert finding.state == "missing"
    assert setting in finding.text and "provision" in finding.remedy


def test_each_app_is_looked_at(provisioned: dict[str, Any], check: Check) -> None:
    findings = check(**provisioned | {"DIFY_APPS": {"small": provisioned["DIFY_APP_API_KEY"]}})
    for capability in ("app key", "input variables", "model behind the app"):
        assert findings[capability].state == findings[f"{capability} of small in DIFY_APPS"].state == "works"


def test_an_app_whose_service_api_is_off_says_where_to_switch_it_on(
    fresh: FreshDify, provisioned: dict[str, Any], check: Check
) -> None:
    fresh.switch_off_service_api()
    finding = check(**provisioned)["app key"]
    assert (finding.state, "API Access" in finding.remedy) == ("missing", True)


def configure(fresh: FreshDify, **changes: Any) -> None:
    [app] = fresh.apps()
    fresh.client().provisioning.configure_app(app["id"], {**app["model_config"], **changes})


def form(**limits: int) -> list[dict[str, Any]]:
    return [{"paragraph": {"label": name, "variable": name, "max_length": limit}} for name, limit in limits.items()]


def test_variables_that_the_app_lacks_are_optional(fresh: FreshDify, provisioned: dict[str, Any], check: Check) -> None:
    configure(fresh, user_input_form=form(context=0))
    finding = check(**provisioned)["input variables"]
    assert finding.state == "optional" and "instructions, history" in finding.text


def test_a_variable_that_is_too_short_is_told_with_its_length(
    fresh: FreshDify, provisioned: dict[str, Any], check: Check
) -> None:
    configure(fresh, user_input_form=form(**dict.fromkeys(APP_VARIABLES, 0) | {"context": 48}))
    finding = check(**provisioned)["input variables"]
    assert finding.state == "optional" and "context (48)" in finding.text


def declare(kind: str, name: str, **more: Any) -> list[dict[str, Any]]:
    """A form with our variables and one more."""
    return [*form(**dict.fromkeys(APP_VARIABLES, 0)), {kind: {"label": name, "variable": name, **more}}]


@pytest.mark.parametrize(
    ("declared", "state", "text"),
    [
        (declare("text-input", "city"), "works", "callers may give city in `inputs`"),
        (declare("text-input", "city", required=True, default="姑苏"), "works", "callers may give city"),
        (declare("select", "city", required=True, options=["a"]), "optional", "callers must give city in `inputs`"),
        (declare("file", "picture"), "works", "the app declares none"),
        (declare("file", "picture", required=True), "missing", "the app requires picture, which this API cannot give"),
    ],
)
def test_further_variables_of_the_app_are_told_with_who_must_give_them(
    fresh: FreshDify, provisioned: dict[str, Any], check: Check, declared: Any, state: str, text: str
) -> None:
    configure(fresh, user_input_form=declared)
    finding = check(**provisioned)["further variables"]
    assert (finding.state, bool(finding.remedy)) == (state, state != "works") and text in finding.text


def test_an_app_that_was_never_published_answers_no_question(
    provisioned: dict[str, Any], check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read in Dify's code: such a chatflow has no parameters."""
    said = b'{"code": "app_unavailable", "message": "App unavailable, please check your app configurations."}'

    def refuse(_: object) -> None:
        raise error_from_response(400, said, "DIFY_APP_API_KEY")

    monkeypatch.setattr(ChatApi, "parameters", refuse)
    findings = check(**provisioned)
    assert states(findings, "missing") == {"input variables"} and "further variables" not in findings
    assert "never published" in findings["input variables"].text and "publish" in findings["input variables"].remedy


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (
            (),
            "instructions, context not declared, so their texts go into the question, with which knowledge nodes of"
            " this chatflow search; history not declared: the model of this chatflow gets only what Dify itself"
            " remembers",
        ),
        (
            ("instructions", "context"),
            "history not declared: the model of this chatflow gets only what Dify itself remembers",
        ),
        (
            ("instructions", "history"),
            "context not declared, so their texts go into the question, with which knowledge nodes of this chatflow"
            " search",
        ),
    ],
)
def test_where_the_texts_of_a_chatflow_without_our_variables_go_is_told(
    fresh: FreshDify,
    provisioned: dict[str, Any],
    check: Check,
    monkeypatch: pytest.MonkeyPatch,
    names: tuple[str, ...],
    text: str,
) -> None:
    configure(fresh, user_input_form=form(**dict.fromkeys(names, 0)))
    monkeypatch.setattr(ChatApi, "info", lambda _: {"name": "flow", "mode": "advanced-chat"})
    findings = check(**provisioned)
    finding = findings["input variables"]
    assert (finding.state, finding.text) == ("optional", text)
    assert "of the kind advanced-chat" in findings["model behind the app"].text
    assert findings["model parameters per request"].state == "optional"


@pytest.mark.parametrize("mode", ["advanced-chat", "agent-chat", "agent"])
def test_the_console_is_not_searched_for_the_model_of_an_app_that_is_no_chatbot(
    fresh: FreshDify, provisioned: dict[str, Any], check: Check, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Its list of chat apps does not have such an app, so the check said that the app was not there."""
    monkeypatch.setattr(ChatApi, "info", lambda _: {"name": "another", "mode": mode})
    findings = check(**provisioned)
    model, parameters = findings["model behind the app"], findings["model parameters per request"]
    assert (model.state, parameters.state) == ("unknown", "optional")
    assert mode in model.text and mode in parameters.text
    assert not any("/console/api/apps" in call for call in fresh.calls)


def test_a_workspace_without_models_can_neither_answer_nor_index(
    provisioned: dict[str, Any], check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox_models, "all_models", list)
    findings = check(**provisioned)
    assert states(findings, "missing") == {"model behind the app", "indexing by meaning"}
    assert all("Model Provider" in findings[name].remedy for name in states(findings, "missing"))


def test_an_app_whose_model_is_gone_cannot_answer(
    provisioned: dict[str, Any], check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = sandbox_models.all_models

    def all_but_the_apps() -> list[sandbox_models.Model]:
        return [model for model in there() if model.name != "sandbox-extractive"]

    monkeypatch.setattr(sandbox_models, "all_models", all_but_the_apps)
    findings = check(**provisioned)
    assert states(findings, "missing") == {"model behind the app"}
    assert "sandbox-extractive is not ready" in findings["model behind the app"].text


def test_an_embedding_model_of_the_settings_that_dify_lacks_is_missing(
    provisioned: dict[str, Any], check: Check
) -> None:
    wanted = {"DIFY_EMBEDDING_MODEL": "bge-m3:latest", "DIFY_EMBEDDING_PROVIDER": "langgenius/ollama/ollama"}
    finding = check(**provisioned | wanted)["indexing by meaning"]
    assert finding.state == "missing" and "bge-m3:latest" in finding.text


def test_without_a_console_login_what_is_needed_works_and_the_rest_says_what_to_set(
    provisioned: dict[str, Any], check: Check
) -> None:
    findings = check(**provisioned | dict.fromkeys(LOGIN, ""))
    assert states(findings, "missing") == set()
    assert {"console login", "model parameters per request"} <= states(findings, "optional")
    assert findings["model behind the app"].state == "unknown"
    assert "DIFY_CONSOLE_EMAIL" in findings["console login"].remedy


def test_a_console_login_that_is_refused_is_missing_and_was_tried_once(
    fresh: FreshDify, provisioned: dict[str, Any], check: Check
) -> None:
    findings = check(**provisioned | {"DIFY_CONSOLE_PASSWORD": "Wrong1234"})
    assert findings["console login"].state == "missing" and "lock" in findings["console login"].remedy
    assert fresh.calls.count("POST /console/api/login") == 1


def test_a_refusal_that_the_gateways_remember_is_forgotten_if_the_login_works_again(
    fresh: FreshDify, provisioned: dict[str, Any], check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(**provisioned)
    monkeypatch.setattr(console_logins, "LOOK_INTERVAL_S", 0.0)
    gateway = create_app(Config.load(**provisioned, DATABASE_URL=f"sqlite:///{tmp_path / 'gateway.sqlite3'}"))
    with gateway.app_context():
        tries = console_logins.ConsoleLoginTries(db.engine, fresh.url, EMAIL, PASSWORD)
        assert tries.begin() == "granted"
        tries.end("refused")
        dify = gateway.extensions["route_api"].dify
        with pytest.raises(ConsoleLoginRefused):
            dify.provisioning.default_model("llm")
        finding = check(**provisioned)["console login"]
        assert finding.state == "works" and "refused it before" in finding.text
        dify.provisioning.default_model("llm")
        assert "before" not in check(**provisioned)["console login"].text
        db.engine.dispose()


@pytest.mark.server
def test_a_running_gateway_that_refuses_calls_to_dify_is_seen_through_redis_and_dify_is_asked_all_the_same(
    provisioned: dict[str, Any], check: Check
) -> None:
    shared = {"LIMITS_STORAGE": databases.empty_redis("redis://127.0.0.1:6379/14")}
    assert check(**provisioned, **shared)["circuit breaker"].state == "works"
    redis = redis_of(Config.load(**shared))
    assert redis is not None
    RedisState(redis, provisioned["DIFY_BASE_URL"]).publish({"retrieval": "an-opening"})
    findings = check(**provisioned, **shared)
    assert findings["circuit breaker"].state == "unknown" and "retrieval" in findings["circuit breaker"].text
    assert findings["Dify"].state == findings["dataset key"].state == "works"


def test_the_console_login_is_not_tried_if_that_is_asked_for(
    fresh: FreshDify, provisioned: dict[str, Any], check: Check
) -> None:
    findings = check(may_log_in=False, **provisioned)
    assert states(findings, "unknown") >= {"console login", "model behind the app", "model parameters per request"}
    assert states(findings, "missing") == set()
    assert not [call for call in fresh.calls if "/console/" in call]


def test_without_the_login_the_check_looks_at_what_is_set(
    provisioned: dict[str, Any], check: Check, mock: responses.RequestsMock
) -> None:
    mock.add_passthru("http://127.0.0.1")
    mock.assert_all_requests_are_fired = False
    assert EMAIL in check(may_log_in=False, **provisioned)["console login"].text
    for half in LOGIN:
        finding = check(may_log_in=False, **provisioned | {half: ""})["console login"]
        assert (finding.state, half in finding.text) == ("missing", True)
    dify = ready_dify(mock, "1.12.1")
    dataset_id, document_id = add_document(dify)
    page = body_of(load("1.12.1", "documents/upload-file"))
    for route in ("download", "upload-file"):
        mock.get(f"{DIFY}/v1/datasets/{dataset_id}/documents/{document_id}/{route}", body=page, status=404)
    finding = check(may_log_in=False, **KEYS, **LOGIN)["download of files"]
    assert finding.state == "unknown" and "was not tried" in finding.text and "set" not in finding.remedy


def test_a_file_that_is_there_is_opened_and_not_changed(
    fresh: FreshDify, provisioned: dict[str, Any], check: Check
) -> None:
    knowledge = fresh.client(provisioned).knowledge
    dataset_id = knowledge.create_dataset({"name": "红楼梦", "indexing_technique": "economy"})["id"]
    path = Path(__file__).parents[2] / "docs" / "examples" / "hulumiao.txt"
    data = {"indexing_technique": "economy", "process_rule": {"mode": "automatic"}}
    with path.open("rb") as file:
        knowledge.create_document_by_file(dataset_id, path.name, "text/plain", file, path.stat().st_size, data)
    fresh.calls.clear()
    assert check(**provisioned)["download of files"].state == "works"
    assert fresh.changes() == []


def test_dify_1_12_1_without_a_console_login_hands_out_no_files(
    check: Check, mock: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    dify = ready_dify(mock, "1.12.1")
    dataset_id, document_id = add_document(dify)
    page = body_of(load("1.12.1", "documents/upload-file"))
    for route in ("download", "upload-file"):
        mock.get(f"{DIFY}/v1/datasets/{dataset_id}/documents/{document_id}/{route}", body=page, status=404)
    finding = check(**KEYS, API_KEYS=["k" * 16])["download of files"]
    assert (finding.state, "DIFY_CONSOLE_EMAIL" in finding.remedy) == ("optional", True)


def ready_dify(mock: responses.RequestsMock, version: str) -> FakeDify:
    """What a Dify of this version answers to a check with service keys alone, but for its documents."""
    dify = FakeDify(mock, version)
    dify.play("general/service-index")
    dify.play("chat/info")
    dify.play("chat/parameters-with-variables")
    for model_type in ("llm", "text-embedding", "rerank"):
        dify.play(f"models/list-{model_type}")
    return dify


def add_document(dify: FakeDify) -> tuple[str, str]:
    datasets = dify.body("datasets/list-default")
    datasets["data"] = [dataset for dataset in datasets["data"] if dataset["document_count"]][:1]
    dify.answer("GET", "/v1/datasets", datasets)
    documents = dify.body("documents/list-default")
    dataset_id = datasets["data"][0]["id"]
    dify.answer("GET", f"/v1/datasets/{dataset_id}/documents", documents)
    document = next(each for each in documents["data"] if each["data_source_type"] == "upload_file")
    return dataset_id, document["id"]


def test_an_answer_of_an_unknown_form_is_no_crash(check: Check, mock: responses.RequestsMock, version: str) -> None:
    dify = ready_dify(mock, version)
    dify.answer("GET", "/v1/datasets", {"items": []})
    finding = check(**KEYS)["dataset key"]
    assert finding.state == "unknown" and "form" in finding.text


def test_either_recorded_dify_with_service_keys_alone_has_all_that_is_needed(
    check: Check, mock: responses.RequestsMock, version: str
) -> None:
    dify = ready_dify(mock, version)
    dify.answer("GET", "/v1/datasets", {"data": [], "total": 0})
    findings = check(**KEYS, API_KEYS=["k" * 16])
    assert states(findings, "missing") == set()
    assert findings["Dify"].text == f"version {version} at {DIFY}"
    assert findings["reranking"].state == findings["indexing by meaning"].state == "works"


def test_either_recorded_dify_with_a_login_knows_the_model_behind_the_app(
    check: Check, mock: responses.RequestsMock, version: str
) -> None:
    dify = ready_dify(mock, version)
    dify.answer("GET", "/v1/datasets", {"data": [], "total": 0})
    dify.play("auth/login")
    for model_type in ("llm", "text-embedding"):
        path = f"/console/api/workspaces/current/default-model?model_type={model_type}"
        dify.answer("GET", path, dify.body(f"models/console-default-get-{model_type}"))
    apps = dify.body("provisioning/app-list-name")
    dify.answer("GET", "/console/api/apps", apps)
    app = f"/console/api/apps/{apps['data'][0]['id']}"
    dify.answer("GET", f"{app}/api-keys", {"data": [{"token": "app-secret"}]})
    dify.play("provisioning/app-get-with-variables", path=app)
    rules = "/console/api/workspaces/current/model-providers/langgenius/ollama/ollama/models/parameter-rules"
    dify.answer("GET", rules, {"data": [{"name": "num_predict"}]})
    findings = check(**KEYS, API_KEYS=["k" * 16], SECRET_KEY="s" * 16, **LOGIN)
    assert states(findings, "missing", "optional") == set()
    assert findings["model behind the app"].text.startswith("qwen3:4b")
    assert "num_predict" in findings["model parameters per request"].text


@pytest.mark.parametrize(
    ("mode", "state"), [("workflow", "missing"), ("completion", "missing"), ("agent", "works"), ("agent-chat", "works")]
)
def test_an_app_that_takes_no_questions_is_missing(check: Check, any_dify: FakeDify, mode: str, state: str) -> None:
    any_dify.mock.assert_all_requests_are_fired = False
    any_dify.answer("GET", "/v1/info", {"name": "Sums up", "mode": mode})
    ready_dify(any_dify.mock, any_dify.version).answer("GET", "/v1/datasets", {"data": [], "total": 0})
    assert check(**KEYS)["app key"].state == state


@pytest.mark.parametrize(
    ("version", "case", "state"),
    [
        ("1.8.1", "error-streaming-query-empty", "works"),
        ("1.12.1", "error-streaming-query-empty", "works"),
        ("1.16.1", "advanced-chat-query-empty-streaming", "works"),
        ("1.16.1", "advanced-chat-worker-down-streaming", "missing"),
    ],
)
def test_a_chatflow_that_does_not_begin_is_missing_and_no_model_is_asked(
    check: Check, mock: responses.RequestsMock, version: str, case: str, state: str
) -> None:
    """The recording of a worker that is away ends where the recorder left, so the silence is played."""
    mock.assert_all_requests_are_fired = False
    dify = FakeDify(mock, version)
    dify.answer("GET", "/v1/info", {"name": "Flow", "mode": "advanced-chat"})
    if "worker-down" in case:
        dify.fail("POST", "/v1/chat-messages", requests.ReadTimeout())
    else:
        dify.play(f"chat/{case}")
    ready_dify(mock, version).answer("GET", "/v1/datasets", {"data": [], "total": 0})
    finding = check(**KEYS)["app key"]
    assert (finding.state, "worker" in finding.remedy) == (state, state == "missing")
    [body] = [call.request.body for call in mock.calls if call.request.path_url == "/v1/chat-messages"]
    assert b'"query": ""' in body or b'"query":""' in body


def chatflow(mock: responses.RequestsMock) -> FakeDify:
    """A Dify whose apps are chatflows."""
    mock.assert_all_requests_are_fired = False
    dify = ready_dify(mock, "1.16.1")
    dify.answer("GET", "/v1/datasets", {"data": [], "total": 0})
    mock.remove("GET", f"{DIFY}/v1/info")
    dify.answer("GET", "/v1/info", {"name": "Flow", "mode": "advanced-chat"})
    return dify


def questions(mock: responses.RequestsMock) -> list[responses.Call]:
    return [call for call in mock.calls if call.request.path_url == "/v1/chat-messages"]


def test_a_chatflow_of_1_14_2_is_not_asked_because_its_worker_refuses_an_empty_question_in_its_log_alone(
    check: Check, mock: responses.RequestsMock
) -> None:
    """A live 1.14.2 whose worker was there sent nothing but pings, and the check said that the worker is away."""
    chatflow(mock).call_back("POST", "/v1/chat-messages", lambda _: (200, {}, b"event: ping\n\n" * 3))
    for each in mock.registered():
        each.headers = {**(each.headers or {}), "X-Version": "1.14.2"}
    found = check(**KEYS)
    assert (found["app key"].state, "worker" in found["app key"].text) == ("unknown", True)
    assert found["input variables"].state == "works"
    assert questions(mock) == []


def test_after_the_first_chatflow_that_does_not_begin_no_other_is_waited_for(
    check: Check, mock: responses.RequestsMock
) -> None:
    chatflow(mock).fail("POST", "/v1/chat-messages", requests.ReadTimeout())
    found = check(**{**KEYS, "DIFY_APPS": {"b": "app-b", "c": "app-c"}})
    keys = [finding for capability, finding in found.items() if capability.startswith("app key")]
    assert len(keys) == 3 and all("worker" in key.remedy for key in keys)
    assert len(questions(mock)) == 1


@pytest.mark.parametrize("is_limited", [True, False])
def test_a_dify_that_serves_ten_connections_at_once_is_seen(is_limited: bool) -> None:
    def serve(connection: socket.socket, request: bytes) -> None:
        connection.sendall(answer(b"{}", headers="Server: gunicorn\r\n"))

    with loopback(serve, at_once=DEFAULT_CONNECTIONS if is_limited else 100) as server:
        assert has_more_connections(dify_client(server.url).transport) is not is_limited


@pytest.mark.parametrize(("is_limited", "seen"), [(True, False), (False, None)])
def test_ten_connections_are_seen_although_dify_does_not_name_its_server(is_limited: bool, seen: bool | None) -> None:
    """As seen on a live 1.14.2. More than ten may be those of a proxy that does not name itself either."""

    def serve(connection: socket.socket, request: bytes) -> None:
        connection.sendall(answer(b"{}"))

    with loopback(serve, at_once=DEFAULT_CONNECTIONS if is_limited else 100) as server:
        assert has_more_connections(dify_client(server.url).transport) is seen


def test_what_a_proxy_hides_is_unknown(mock: responses.RequestsMock) -> None:
    mock.get(f"{DIFY}/v1/", json={}, headers={"Server": "nginx", "X-Version": "1.16.1"})
    assert has_more_connections(dify_client(DIFY).transport) is None


@pytest.mark.parametrize("version", ["1.8.1", "1.12.1", "1.13.3", "1.14.2", "1.16.1", "1.20.0", "2.0.0", None])
def test_each_version_has_one_line_for_each_capability_that_depends_on_it(version: str | None) -> None:
    first, *lines = version_findings(version)
    assert [line.capability for line in lines] == list(CAPABILITIES)
    assert (first.state == "works") == (version in VERSIONS) and str(version) in first.text


def test_the_lines_of_1_14_2_are_what_was_seen_on_a_live_server() -> None:
    first, *lines = version_findings("1.14.2")
    assert first.text.endswith("takes it for 1.12.1")
    found = {line.capability: (line.state, line.text) for line in lines}
    assert found["download without a login"][0] == "works"
    assert found['file names with : * ? " < > |'] == ("works", "stored as they are")
    assert "worker" in found["chatflows"][1]
    assert "is in the answer" in found["reasoning beside the answer"][1]
    assert found["deletion of conversations"][1] == "Dify checks the user too"


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("postgresql://nobody@127.0.0.1:9/none", "DATABASE_URL"),
        ("mysql://nobody@127.0.0.1:9/none", "DATABASE_URL"),
        ("sqlite:///{folder}/empty.sqlite3", "db upgrade"),
        ("sqlite:///{folder}/none.sqlite3", "db upgrade"),
    ],
)
def test_a_database_that_cannot_be_used_is_missing(check: Check, tmp_path: Path, url: str, remedy: str) -> None:
    (tmp_path / "empty.sqlite3").touch()
    finding = check(DATABASE_URL=url.format(folder=tmp_path))["database"]
    assert (finding.state, remedy in finding.remedy) == ("missing", True)
    assert "nobody" not in finding.text


def test_counters_in_a_redis_that_is_away_are_optional(check: Check) -> None:
    finding = check(LIMITS_STORAGE="redis://:hush@127.0.0.1:9/0")["counters of limits"]
    assert finding.state == "optional" and "hush" not in repr(finding)


def test_a_download_folder_that_cannot_be_made_is_missing(check: Check, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    finding = check(DOWNLOAD_ROOT=tmp_path / "file" / "downloads")["folder of document/get"]
    assert finding.state == "missing" and str(tmp_path / "file") in finding.remedy


def test_a_gateway_that_is_open_to_everybody_works_and_says_so(check: Check) -> None:
    finding = check(AUTH="open")["callers"]
    assert finding.state == "works" and "everybody" in finding.text
