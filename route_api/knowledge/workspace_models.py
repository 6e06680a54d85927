"""The default models of Dify's workspace, for what a knowledge base needs and nobody has named."""

from flask import current_app

from ..dify import ready_models
from ..dify.records import EmbeddingModel, RerankModel
from ..errors import NotSupported
from ..extensions import dify
from ..languages import Sentence

HOW_TO_CHOOSE = Sentence("choose one in Dify, under Settings, Model Provider, System Model Settings")


class WorkspaceModels:
    """Asks Dify for the default models. Each answer costs one call, and is asked for only where it is needed.

    Only the console knows the defaults. Without a console login the only model of a type is taken for the default.
    """

    @property
    def configured(self) -> EmbeddingModel | None:
        """The embedding model of our settings."""
        model, provider = current_app.config["DIFY_EMBEDDING_MODEL"], current_app.config["DIFY_EMBEDDING_PROVIDER"]
        return (model, provider) if model else None

    def embedding(self) -> EmbeddingModel | None:
        """The workspace's default embedding model; None if it cannot be known."""
        return _default_model("text-embedding")[0]

    def needed_embedding(self, parameter: str) -> EmbeddingModel:
        """The workspace's default embedding model.

        :param parameter: what the caller sent that needs it
        :raises NotSupported: it cannot be known; the text says what is missing
        """
        model, missing = _default_model("text-embedding")
        if model is None:
            raise NotSupported(
                Sentence(
                    "{parameter} needs an embedding model, and {missing}. Name one in embedding_model, as"
                    " bge-m3:latest@langgenius/ollama/ollama; or let the operator set DIFY_EMBEDDING_MODEL and"
                    " DIFY_EMBEDDING_PROVIDER.",
                    parameter=parameter,
                    missing=missing,
                )
            )
        return model

    def needed_rerank(self) -> RerankModel:
        """The workspace's default rerank model.

        :raises NotSupported: it cannot be known; the text says what is missing
        """
        model, missing = _default_model("rerank")
        if model is None:
            raise NotSupported(
                Sentence("reranking_enable needs a rerank model: this kb has none, and {missing}.", missing=missing)
            )
        return model


def _default_model(model_type: str) -> tuple[tuple[str, str] | None, Sentence]:
    """The name and the provider of the workspace's default model of a type.

    :returns: the model; if it is None, also what is missing, as the rest of a sentence
    """
    if dify.console.is_configured:
        default = dify.provisioning.default_model(model_type)
        missing = Sentence(
            "the workspace of Dify has no default model of the type {model_type}: {how_to_choose}",
            model_type=model_type,
            how_to_choose=HOW_TO_CHOOSE,
        )
    else:
        ready = ready_models(dify.knowledge.list_models(model_type))
        default = ready[0] if len(ready) == 1 else None
        missing = (
            Sentence("the workspace of Dify has no model of the type {model_type}", model_type=model_type)
            if not ready
            else Sentence(
                "the workspace of Dify has {count} models of the type {model_type}, and only a console login"
                " (DIFY_CONSOLE_EMAIL) tells which of them is the default",
                count=len(ready),
                model_type=model_type,
            )
        )
    return (default[1], default[0]) if default else None, missing
