"""The routes of models: lists for both APIs, the default models, the parameter rules."""

import html
from typing import Any

from flask import Blueprint, Response, request

from ..access.account_table import WORKSPACE_ID
from ..access.api_key_check import require_dataset_key
from ..access.console_session import require_console_session
from ..errors import SandboxError
from ..request_fields import RequestFields
from ..store import current_store
from ..version import is_1_16, since_1_16
from .available_models import (
    EXTRACTIVE,
    EXTRACTIVE_BRIEF,
    PROVIDER,
    Model,
    all_models,
    default_model,
    find_model,
    is_our_provider,
    models_of_type,
)

MODEL_TYPES = ("llm", "text-embedding", "rerank", "speech2text", "moderation", "tts")

blueprint = Blueprint("models", __name__)


def _provider() -> dict[str, Any]:
    icons = f"{request.host_url}console/api/workspaces/{WORKSPACE_ID}/model-providers/{PROVIDER}/icon_small"
    return {
        "tenant_id": WORKSPACE_ID,
        "provider": PROVIDER,
        "label": {"zh_Hans": "Route API 沙箱", "en_US": "Route API sandbox"},
        "icon_small": {"zh_Hans": f"{icons}/zh_Hans", "en_US": f"{icons}/en_US"},
        "icon_small_dark": None,
    }


def _provider_of_model() -> dict[str, Any]:
    types = ["llm", "text-embedding"]
    return {**_provider(), "supported_model_types": types, "models": [], **since_1_16(provider_name="")}


def _model(model: Model) -> dict[str, Any]:
    properties: dict[str, Any] = {"context_size": model.context_size}
    properties |= {"mode": "chat"} if model.type == "llm" else {"max_chunks": 1}
    return {
        "model": model.name,
        "label": {"zh_Hans": model.label_zh, "en_US": model.label_en},
        "model_type": model.type,
        "features": [] if model.type == "llm" else None,
        "fetch_from": "customizable-model",
        "model_properties": properties,
        "deprecated": False,
        "status": "active",
        "load_balancing_enabled": False,
        "has_invalid_load_balancing_configs": False,
    }


def _models_of_type(model_type: str) -> dict[str, Any]:
    if model_type not in MODEL_TYPES:
        text = f"'{model_type}' is not a valid ModelType" if is_1_16() else f"invalid origin model type {model_type}"
        raise SandboxError(400, "invalid_param", text)
    models = [_model(model) for model in models_of_type(model_type)]
    return {"data": [{**_provider(), "status": "active", "models": models}] if models else []}


@blueprint.get("/v1/workspaces/current/models/model-types/<model_type>")
@require_dataset_key
def list_models_for_service(model_type: str) -> dict[str, Any]:
    """List the models of a type, grouped by provider."""
    return _models_of_type(model_type)


@blueprint.get("/console/api/workspaces/current/models/model-types/<model_type>")
@require_console_session
def list_models_for_console(model_type: str) -> dict[str, Any]:
    """List the models of a type, for the console."""
    return _models_of_type(model_type)


@blueprint.get("/console/api/workspaces/current/default-model")
@require_console_session
def get_default_model() -> dict[str, Any]:
    """Show the default model of a type; `data` is null if there is none."""
    model = default_model(RequestFields("ParserGetDefault", request.args).choice("model_type", MODEL_TYPES, "enum"))
    if model is None:
        return {"data": None}
    return {"data": {"model": model.name, "model_type": model.type, "provider": _provider_of_model()}}


@blueprint.post("/console/api/workspaces/current/default-model")
@require_console_session
def set_default_models() -> dict[str, str]:
    """Set default models. A setting without a provider is skipped (models/console-default-post-no-provider)."""
    payload = RequestFields("ParserPostDefault", request.get_json())
    settings = payload.required("model_settings")
    if not isinstance(settings, list):
        payload.refuse("model_settings", "Input should be a valid list", "list_type", settings)
    wanted: list[tuple[str, str]] = []
    for position, setting in enumerate(settings):
        if not isinstance(setting, dict):
            text = "Input should be a valid dictionary or instance of Inner"
            payload.refuse(f"model_settings.{position}", text, "model_type", setting)
        field = f"model_settings.{position}.model_type"
        model_type = RequestFields("ParserPostDefault", {field: setting.get("model_type")}).choice(
            field, MODEL_TYPES, "enum"
        )
        if "provider" not in setting:
            continue
        if not is_our_provider(setting["provider"]):
            raise SandboxError(400, "invalid_param", f"Provider {setting['provider']} does not exist.")
        if find_model(setting.get("model"), model_type) is None:
            raise SandboxError(400, "invalid_param", f"Model {setting.get('model')} does not exist.")
        wanted.append((model_type, setting["model"]))
    with current_store().transaction() as connection:
        connection.executemany("INSERT OR REPLACE INTO default_model VALUES (?, ?)", wanted)
    return {"result": "success"}


@blueprint.get("/console/api/workspaces/current/model-providers")
@require_console_session
def list_providers() -> dict[str, Any]:
    """List the sandbox's one provider. It has nothing to configure and no credentials."""
    models: list[dict[str, Any]] = [
        {
            "model": model.name,
            "model_type": model.type,
            "credentials": None,
            "current_credential_id": None,
            "current_credential_name": None,
            "available_model_credentials": [],
            "unadded_to_model_list": False,
        }
        for model in all_models()
    ]
    provider = {
        **_provider(),
        "description": None,
        "background": "#F9FAFB",
        "help": None,
        "supported_model_types": ["llm", "text-embedding"],
        "configurate_methods": ["customizable-model"],
        "provider_credential_schema": None,
        "model_credential_schema": None,
        "preferred_provider_type": "custom",
        "custom_configuration": {
            "status": "active",
            "current_credential_id": None,
            "current_credential_name": None,
            "available_credentials": [],
            "custom_models": models,
            "can_added_models": [],
        },
        "system_configuration": {"enabled": False, "current_quota_type": None, "quota_configurations": []},
    }
    return {"data": [provider]}


@blueprint.get("/console/api/workspaces/current/model-providers/<path:provider>/models")
@require_console_session
def list_models_of_provider(provider: str) -> dict[str, Any]:
    """List all models of a provider. An unknown provider has none."""
    models = all_models() if is_our_provider(provider) else []
    return {"data": [{**_model(model), "provider": _provider_of_model()} for model in models]}


@blueprint.get("/console/api/workspaces/current/model-providers/<path:provider>/models/parameter-rules")
@require_console_session
def list_parameter_rules(provider: str) -> dict[str, Any]:
    """List the parameters of a model.

    The extractive models have `num_predict`, as ollama calls max_tokens (tests/contract/FINDINGS.md, a). A configured
    language model is called over OpenAI's API, so that it has `max_tokens`.
    """
    name = RequestFields("ParserParameter", request.args).text("model")
    model = find_model(name) if is_our_provider(provider) else None
    if model is None:
        return {"data": []}
    is_ours = model.name in (EXTRACTIVE, EXTRACTIVE_BRIEF)
    return {
        "data": [
            _rule("temperature", "温度", "Temperature", "float", 0.0, 2.0, 0.3),
            _rule("top_p", "Top P", "Top P", "float", 0.0, 1.0, 0.9),
            _rule("num_predict" if is_ours else "max_tokens", "最大标记数", "Max Tokens", "int", 1, 32768, 1024),
        ]
    }


def _rule(
    name: str, label_zh: str, label_en: str, kind: str, low: float, high: float, default: float
) -> dict[str, Any]:
    return {
        "name": name,
        "use_template": None,
        "label": {"zh_Hans": label_zh, "en_US": label_en},
        "type": kind,
        "help": None,
        "required": False,
        "default": default,
        "min": low,
        "max": high,
        "precision": 2 if kind == "float" else 0,
        "options": [],
    }


@blueprint.get("/console/api/workspaces/<uuid:workspace_id>/model-providers/<path:provider>/icon_small/<language>")
def provider_icon(workspace_id: str, provider: str, language: str) -> Response:
    """Send the icon whose URL the lists of models contain."""
    letter = html.escape("沙" if language.startswith("zh") else "S")
    picture = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="24" height="24"><rect width="24" height="24" rx="5" '
        f'fill="#c9a227"/><text x="12" y="17" text-anchor="middle" font-size="14" fill="#fff">'
        f"{letter}</text></svg>"
    )
    return Response(picture, content_type="image/svg+xml")
