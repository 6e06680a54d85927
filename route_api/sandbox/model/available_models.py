"""The models that the sandbox offers, and the default model of each type."""

from dataclasses import dataclass

from flask import current_app

from ..embedding.choice import WORDS_ONLY
from ..embedding.embedder import Embedder, current_embedder
from ..store import current_store

PROVIDER = "route-api/sandbox/sandbox"
EXTRACTIVE, EXTRACTIVE_BRIEF = "sandbox-extractive", "sandbox-extractive-brief"

SCHEMA = """
CREATE TABLE IF NOT EXISTS default_model (
    model_type TEXT PRIMARY KEY,
    model TEXT NOT NULL
);
"""


@dataclass(frozen=True)
class Model:
    """A model of the sandbox's one provider."""

    name: str
    type: str
    label_zh: str
    label_en: str
    context_size: int


def all_models() -> list[Model]:
    """List all models, the default of each type first.

    A configured language model comes before the extractive models.
    """
    models = [
        Model(EXTRACTIVE, "llm", "沙箱摘录（不是语言模型）", "Sandbox extracts (no language model)", 32768),
        Model(
            EXTRACTIVE_BRIEF,
            "llm",
            "沙箱摘录，一句话（不是语言模型）",
            "Sandbox extracts, one sentence (no language model)",
            32768,
        ),
        _embedding_model(),
    ]
    name = current_app.config["SANDBOX_LLM_MODEL"]
    if current_app.config["SANDBOX_LLM_URL"]:
        models.insert(0, Model(name, "llm", name, name, 32768))
    return models


def embedding_model_name(embedder: Embedder | None) -> str:
    """Return the name under which the embedding model is listed."""
    return embedder.name if embedder else WORDS_ONLY


def _embedding_model() -> Model:
    embedder = current_embedder()
    if embedder is None:
        return Model(WORDS_ONLY, "text-embedding", "沙箱 BM25（不是向量）", "Sandbox BM25 (no vectors)", 8192)
    return Model(embedder.name, "text-embedding", embedder.name, embedder.name, 8192)


def find_model(name: object, model_type: str = "llm") -> Model | None:
    """Return the model with this name and type, or None."""
    return next((model for model in all_models() if (model.name, model.type) == (name, model_type)), None)


def models_of_type(model_type: str) -> list[Model]:
    """List the models of a type, the default first."""
    return [model for model in all_models() if model.type == model_type]


def default_model(model_type: str) -> Model | None:
    """Return the model that was set as default, else the first of the type, or None if the type has no model."""
    row = (
        current_store()
        .connection()
        .execute("SELECT model FROM default_model WHERE model_type = ?", (model_type,))
        .fetchone()
    )
    chosen = find_model(row["model"], model_type) if row else None
    return chosen or next(iter(models_of_type(model_type)), None)


def is_our_provider(provider: object) -> bool:
    """Return whether this names the sandbox's provider.

    Dify accepts the short name as well as `author/plugin/provider` (provisioning/model-config-short-provider).
    """
    return provider in (PROVIDER, PROVIDER.rsplit("/", 1)[-1])
