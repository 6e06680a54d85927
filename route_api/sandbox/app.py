"""Makes the sandbox's Flask application."""

import os
from pathlib import Path
from types import ModuleType

from flask import Flask, Response

from .access import (
    account_table,
    api_key_table,
    dataset_key_routes,
    install_page,
    login_routes,
    workspace_routes,
)
from .apps import (
    annotation_routes,
    annotation_table,
    app_info_routes,
    app_routes,
    app_table,
    end_user_routes,
    end_user_table,
    workflow_routes,
)
from .chat import (
    attached_files,
    attachment_routes,
    audio_routes,
    chat_routes,
    completion_routes,
    console_conversation_routes,
    conversation_routes,
    conversation_table,
    debugger_routes,
    message_routes,
)
from .embedding.embedder import Embedder
from .errors import register_error_handlers
from .knowledge import (
    archive_routes,
    child_chunk_routes,
    console_document_routes,
    dataset_routes,
    dataset_table,
    document_routes,
    document_table,
    file_routes,
    metadata_routes,
    metadata_table,
    passage_search,
    retrieve_routes,
    segment_routes,
    segment_table,
    tag_routes,
    tag_table,
    upload_routes,
    uploaded_files,
    vector_table,
)
from .knowledge.indexer import Indexer
from .knowledge.vector_update import VectorUpdate
from .model import available_models, model_routes
from .store import Store
from .version import DEFAULT_VERSION

UPLOAD_LIMIT_BYTES = 15 * 1024 * 1024
"""The largest size of an uploaded file. It is the default of Dify's UPLOAD_FILE_SIZE_LIMIT."""

TABLES: tuple[ModuleType, ...] = (
    account_table,
    api_key_table,
    available_models,
    app_table,
    annotation_table,
    end_user_table,
    conversation_table,
    attached_files,
    dataset_table,
    tag_table,
    metadata_table,
    uploaded_files,
    document_table,
    segment_table,
    passage_search,
    vector_table,
)
"""Each of these modules has a `SCHEMA`; some have `ADDED_COLUMNS`."""

ROUTES: tuple[ModuleType, ...] = (
    install_page,
    login_routes,
    dataset_key_routes,
    workspace_routes,
    model_routes,
    app_routes,
    app_info_routes,
    annotation_routes,
    end_user_routes,
    workflow_routes,
    conversation_routes,
    message_routes,
    attachment_routes,
    chat_routes,
    completion_routes,
    console_conversation_routes,
    audio_routes,
    debugger_routes,
    tag_routes,
    dataset_routes,
    metadata_routes,
    file_routes,
    document_routes,
    archive_routes,
    upload_routes,
    segment_routes,
    child_chunk_routes,
    retrieve_routes,
    console_document_routes,
)
"""Each of these modules has a `blueprint`."""


def create_sandbox(
    data_dir: Path,
    *,
    version: str = DEFAULT_VERSION,
    upload_limit: int = UPLOAD_LIMIT_BYTES,
    llm_url: str = "",
    llm_model: str = "",
    embedder: Embedder | None = None,
) -> Flask:
    """Make the sandbox as a Flask application.

    :param data_dir: the folder of the database and the files; it is created if it is missing
    :param version: the version of Dify that it follows, one of :data:`.version.VERSIONS`. Each answer names it in the
        header `X-Version`, as Dify does
    :param upload_limit: the largest size of an uploaded file, in bytes
    :param llm_url: base URL of an OpenAI-compatible server that answers the chats; if it is empty, the extractive model
        answers them
    :param llm_model: the name of the model on that server
    :param embedder: what makes vectors for the search; None: the search uses words alone
    """
    app = Flask(__name__)
    app.config.update(
        DIFY_VERSION=version, UPLOAD_LIMIT=upload_limit, SANDBOX_LLM_URL=llm_url, SANDBOX_LLM_MODEL=llm_model
    )
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.json.sort_keys = False  # type: ignore[attr-defined]
    store = Store(data_dir)
    app.extensions["sandbox_store"] = store
    for module in TABLES:
        store.create_tables(module.SCHEMA)
        for table, columns in getattr(module, "ADDED_COLUMNS", {}).items():
            store.add_columns(table, columns)
    for module in ROUTES:
        app.register_blueprint(module.blueprint)
    app.extensions["sandbox_embedder"] = embedder
    app.extensions["sandbox_indexer"] = Indexer(store, embedder)
    model_name = available_models.embedding_model_name(embedder)
    app.extensions["sandbox_vector_update"] = VectorUpdate(store, embedder, model_name, available_models.PROVIDER)
    register_error_handlers(app)

    @app.after_request
    def name_the_server(response: Response) -> Response:
        response.headers["X-Version"] = version
        response.headers["X-Served-By"] = "route-api-sandbox"
        return response

    @app.get("/health")
    def health() -> dict[str, str | int]:
        return {"pid": os.getpid(), "status": "ok", "version": version}

    return app


def start_indexing(app: Flask) -> None:
    """Index the documents that an earlier process left unfinished, and make the vectors that segments lack.

    An upload starts the indexing without this call.
    """
    indexer: Indexer = app.extensions["sandbox_indexer"]
    indexer.wake()
    vector_update: VectorUpdate = app.extensions["sandbox_vector_update"]
    vector_update.start()


def stop_indexing(app: Flask) -> None:
    """Stop the indexing after the current transaction."""
    indexer: Indexer = app.extensions["sandbox_indexer"]
    indexer.stop()
    vector_update: VectorUpdate = app.extensions["sandbox_vector_update"]
    vector_update.stop()
