"""An app's configuration (Dify: model_config): its defaults, its checks, and the checks of a turn's inputs."""

import re
from copy import deepcopy
from typing import Any

from ..errors import SandboxError
from ..model.available_models import PROVIDER, Model, find_model, is_our_provider

Config = dict[str, Any]

_FILE_UPLOAD = {
    "image": {
        "enabled": False,
        "number_limits": 3,
        "detail": "high",
        "transfer_methods": ["remote_url", "local_file"],
    }
}
_FRESH: Config = {
    "opening_statement": None,
    "suggested_questions": [],
    "suggested_questions_after_answer": {"enabled": False},
    "speech_to_text": {"enabled": False},
    "text_to_speech": {"enabled": False},
    "retriever_resource": {"enabled": True},
    "annotation_reply": {"enabled": False},
    "more_like_this": {"enabled": False},
    "sensitive_word_avoidance": {"enabled": False, "type": "", "configs": []},
    "external_data_tools": [],
    "model": {"provider": None, "name": None, "mode": "chat", "completion_params": {}},
    "user_input_form": [],
    "dataset_query_variable": None,
    "pre_prompt": None,
    "agent_mode": {"enabled": False, "strategy": None, "tools": [], "prompt": None},
    "prompt_type": "simple",
    "chat_prompt_config": {},
    "completion_prompt_config": {},
    "dataset_configs": {"retrieval_model": "multiple"},
    "file_upload": _FILE_UPLOAD,
}
"""The configuration of a new app (provisioning/app-get-fresh)."""
_COMPLETION: Config = {
    "user_input_form": [{"paragraph": {"label": "Query", "variable": "query", "required": True, "default": ""}}],
    "pre_prompt": "{{query}}",
}
"""What differs in a new completion app, from the templates in Dify's code (api/constants/model_template.py)."""
_SAVED_DEFAULTS: Config = {
    **_FRESH,
    "opening_statement": "",
    "text_to_speech": {"enabled": False, "voice": "", "language": ""},
    "retriever_resource": {"enabled": False},
    "sensitive_word_avoidance": {"enabled": False},
    "pre_prompt": "",
    "agent_mode": {"enabled": False, "tools": [], "strategy": "router"},
    "dataset_configs": {"retrieval_model": "single", "datasets": {"strategy": "router", "datasets": []}},
}
"""The values of the omitted fields of a saved configuration (provisioning/app-get-after-minimal)."""
_VARIABLE_NAME = re.compile(r"(?!\d)[\u4e00-\u9fa5A-Za-z0-9_]{1,100}")

PARAMETER_FIELDS = (
    "opening_statement",
    "suggested_questions",
    "suggested_questions_after_answer",
    "speech_to_text",
    "text_to_speech",
    "retriever_resource",
    "annotation_reply",
    "more_like_this",
    "user_input_form",
    "sensitive_word_avoidance",
    "file_upload",
)
"""The fields of a configuration that GET /v1/parameters shows (chat/parameters-with-variables)."""


def fresh_config(model: Model | None, mode: str = "chat") -> Config:
    """Make the configuration of a new app. It names the model, if there is one. A completion app asks for `query`."""
    config = deepcopy(_FRESH)
    if mode == "completion":
        config |= deepcopy(_COMPLETION)
    if model is not None:
        config["model"] |= {"provider": PROVIDER, "name": model.name}
    return config


def saved_config(sent: dict[str, Any]) -> Config:
    """Check a sent configuration, and fill the omitted fields with Dify's defaults.

    :raises SandboxError: 400 with Dify's text (provisioning/model-config-*)
    """
    config = {field: _checked_field(field, sent.get(field)) for field in _SAVED_DEFAULTS if field != "model"}
    config["model"] = _checked_model(sent.get("model"))
    _check_file_upload(config["file_upload"])
    if not all(_declares_one_variable(item) for item in config["user_input_form"]):
        raise _invalid("user_input_form must be a list of objects")
    for field in form_fields(config):
        name = field.get("variable")
        if not isinstance(name, str) or not _VARIABLE_NAME.fullmatch(name):
            raise _invalid("variable in user_input_form must be a string, and cannot start with a number")
    return config


def _check_file_upload(settings: dict[str, Any]) -> None:
    limit = settings.get("number_limits", 0)
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise _invalid("file_upload.number_limits must be of int type")
    for field in ("allowed_file_types", "allowed_file_extensions", "allowed_file_upload_methods"):
        names = settings.get(field, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise _invalid(f"{field} of file_upload must be a list of strings")


def _declares_one_variable(item: object) -> bool:
    return isinstance(item, dict) and len(item) == 1 and isinstance(next(iter(item.values())), dict)


def _checked_field(field: str, value: object) -> Any:
    default = _SAVED_DEFAULTS[field]
    if value is None:
        return deepcopy(default)
    wanted: type = str if default is None else type(default)
    if not isinstance(value, wanted):
        raise _invalid(f"{field} must be of {wanted.__name__} type")
    return value


def _checked_model(model: object) -> dict[str, Any]:
    if not model:
        raise _invalid("model is required")
    if not isinstance(model, dict):
        raise _invalid("model must be of object type")
    if not is_our_provider(model.get("provider")):
        raise _invalid(f"model.provider is required and must be in {[PROVIDER]}")
    if "name" not in model:
        raise _invalid("model.name is required")
    if find_model(model["name"]) is None:
        raise _invalid("model.name must be in the specified model list")
    params = model.get("completion_params")
    if params is None:
        raise _invalid("model.completion_params is required")
    if not isinstance(params, dict):
        raise _invalid("model.completion_params must be of object type")
    return {
        **model,
        "provider": PROVIDER,
        "mode": model.get("mode") or "chat",
        "completion_params": {**params, "stop": params.get("stop", [])},
    }


def _invalid(text: str) -> SandboxError:
    return SandboxError(400, "invalid_param", text)


def form_fields(config: Config) -> list[dict[str, Any]]:
    """Return the declarations of the variables. Each has its `type` and its properties in one object."""
    return [{"type": kind, **field} for item in config["user_input_form"] for kind, field in item.items()]


def checked_inputs(config: Config, sent: dict[str, Any]) -> dict[str, Any]:
    """Return the values of the declared variables. Undeclared values are dropped; an omitted value becomes None.

    :raises SandboxError: 400, if a value does not fit its declaration (inputs/required-missing, max-length-over,
        value-number)
    """
    return {field["variable"]: _checked_value(field, sent.get(field["variable"])) for field in form_fields(config)}


def _checked_value(field: dict[str, Any], value: Any) -> Any:
    name, kind = field["variable"], field["type"]
    if value is None:
        if field.get("required"):
            raise _invalid(f"{name} is required in input form")
        return None
    if kind in ("text-input", "paragraph", "select") and not isinstance(value, str):
        raise _invalid(f"(type '{kind}') {name} in input form must be a string")
    if kind == "number" and (isinstance(value, bool) or not isinstance(value, int | float)):
        text = str(value)
        try:
            value = float(text) if "." in text else int(text)
        except ValueError as error:
            raise _invalid(f"{name} in input form must be a valid number") from error
    options = list(field.get("options") or [])
    if kind == "select" and value not in options:
        raise _invalid(f"{name} in input form must be one of the following: {options}")
    limit = field.get("max_length")
    if isinstance(value, str) and isinstance(limit, int) and 0 < limit < len(value):
        raise _invalid(f"{name} in input form must be less than {limit} characters")
    return value
