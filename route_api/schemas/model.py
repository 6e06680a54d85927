"""Models: parameters and answers. Source: the API document, "设置默认模型" and "获取模型列表"."""

from .answers import AnyKeys, Empty, OrNull, answer
from .base import Parameters
from .fields import Choice, Text

MODEL_TYPES = ["llm", "text-embedding", "rerank"]


class ModelType(Parameters):
    """Parameters of `llm/my_llms`."""

    model_type = Choice(MODEL_TYPES, load_default="llm")


class DefaultModel(Parameters):
    """Parameters of `user/set_tenant_info`."""

    model = Text(max_length=255, required=True, metadata={"example": "qwen3:4b"})
    model_type = Choice(MODEL_TYPES, required=True, metadata={"example": "llm"})
    provider = Text(max_length=255, required=True, metadata={"example": "langgenius/ollama/ollama"})


ICONS = {
    "en_US": "/console/api/workspaces/…/icon_small/en_US",
    "zh_Hans": "/console/api/workspaces/…/icon_small/zh_Hans",
}
MODEL = {
    "deprecated": False,
    "features": OrNull(Empty("tool-call")),
    "fetch_from": "customizable-model",
    "label": {"en_US": "qwen3:4b", "zh_Hans": "qwen3:4b"},
    "load_balancing_enabled": False,
    "model": "qwen3:4b",
    "model_properties": AnyKeys(context_size=4096, mode="chat"),
    "model_type": "llm",
    "status": "active",
}
PROVIDER = {
    "icon_large": ICONS,
    "icon_small": ICONS,
    "label": {"en_US": "Ollama", "zh_Hans": "Ollama"},
    "models": [MODEL],
    "provider": "langgenius/ollama/ollama",
    "status": "active",
    "tenant_id": "ff9c6ae1-527b-40df-9739-1da76ca40039",
}

ModelListAnswer = answer("ModelListAnswer", [PROVIDER], message="Get models successful!")
DefaultModelAnswer = answer("DefaultModelAnswer", "", message="Set default model successful!")
