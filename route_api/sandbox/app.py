"""Makes the sandbox's Flask application."""

import os
from pathlib import Path
from types import ModuleType

from flask import Flask, Response

from .access import account_table, api_key_table, dataset_key_routes, login_routes, workspace_routes
from .apps import app_info_routes, app_routes, app_table
from .chat import chat_routes, conversation_routes, conversation_table, debugger_routes, message_routes
from .errors import register_error_handlers
from .knowledge import (
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
    upload_routes,
    uploaded_files,
)
from .knowledge.indexer import Indexer
from .model import available_models, model_routes
from .store import Store

DIFY_VERSION = "1.12.1"
"""The version of Dify that the sandbox follows. Each answer names it in the header `X-Version`, as Dify does."""

UPLOAD_LIMIT_BYTES = 15 * 1024 * 1024
"""The largest size of an uploaded file. It is the default of Dify's UPLOAD_FILE_SIZE_LIMIT."""

TABLES: tuple[ModuleType, ...] = (
    account_table,
    api_key_table,
    available_models,
    app_table,
    conversation_table,
    dataset_table,
    metadata_table,
    uploaded_files,
    document_table,
    segment_table,
    passage_search,
)
"""Each of these modules has a `SCHEMA`."""

ROUTES: tuple[ModuleType, ...] = (
    login_routes,
    dataset_key_routes,
    workspace_routes,
    model_routes,
    app_routes,
    app_info_routes,
    conversation_routes,
    message_routes,
    chat_routes,
    debugger_routes,
    dataset_routes,
    metadata_routes,
    file_routes,
    document_routes,
    upload_routes,
    segment_routes,
    retrieve_routes,
    console_document_routes,
)
"""Each of these modules has a `blueprint`."""


def create_sandbox(
    data_dir: Path, *, upload_limit: int = UPLOAD_LIMIT_BYTES, llm_url: str = "", llm_model: str = ""
) -> Flask:
    """Make the sandbox as a Flask application.

    :param data_dir: the folder of the database and the files; it is created if it is missing
    :param upload_limit: the largest size of an uploaded file, in bytes
    :param llm_url: base URL of an OpenAI-compatible server that answers the chats; if it is empty, the extractive model
        answers them
    :param llm_model: the name of the model on that server
    """
    app = Flask(__name__)
    app.config.update(UPLOAD_LIMIT=upload_limit, SANDBOX_LLM_URL=llm_url, SANDBOX_LLM_MODEL=llm_model)
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.json.sort_keys = False  # type: ignore[attr-defined]
    store = Store(data_dir)
    app.extensions["sandbox_store"] = store
    for module in TABLES:
        store.create_tables(module.SCHEMA)
    for module in ROUTES:
        app.register_blueprint(module.blueprint)
    app.extensions["sandbox_indexer"] = Indexer(store)
    register_error_handlers(app)

    @app.after_request
    def name_the_server(response: Response) -> Response:
        response.headers["X-Version"] = DIFY_VERSION
        response.headers["X-Served-By"] = "route-api-sandbox"
        return response

    @app.get("/health")
    def health() -> dict[str, str | int]:
        return {"pid": os.getpid(), "status": "ok", "version": DIFY_VERSION}

    return app


def start_indexing(app: Flask) -> None:
    """Index the documents that an earlier process left unfinished. An upload starts the indexing without this call."""
    indexer: Indexer = app.extensions["sandbox_indexer"]
    indexer.wake()


def stop_indexing(app: Flask) -> None:
    """Stop the indexing after the current transaction."""
    indexer: Indexer = app.extensions["sandbox_indexer"]
    indexer.stop()
