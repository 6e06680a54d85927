"""A Dify-compatible server of our own, used where no Dify is configured.

It imports nothing of the rest of Route API.
"""

import os
from pathlib import Path
from types import ModuleType

from flask import Flask, Response

from . import (
    account,
    app_info,
    apps,
    chat,
    console,
    console_documents,
    conversations,
    datasets,
    debugger,
    document_routes,
    documents,
    files,
    keys,
    messages,
    metadata,
    metadata_routes,
    models,
    retrieve,
    search,
    segment_routes,
    segments,
    uploads,
)
from .errors import register_error_handlers
from .indexer import Indexer
from .store import Store

DIFY_VERSION = "1.12.1"
"""The Dify whose recorded behaviour the sandbox follows; sent as `X-Version`, as Dify does."""

UPLOAD_LIMIT_BYTES = 15 * 1024 * 1024
"""Dify's default of UPLOAD_FILE_SIZE_LIMIT; a file may have exactly as many."""

MODULES: list[ModuleType] = [
    account,
    keys,
    console,
    models,
    apps,
    app_info,
    conversations,
    messages,
    chat,
    debugger,
    datasets,
    metadata,
    metadata_routes,
    files,
    documents,
    document_routes,
    uploads,
    segments,
    segment_routes,
    search,
    retrieve,
    console_documents,
]
"""Each has a `blueprint`, a `SCHEMA` (its tables), or both."""


def create_sandbox(
    data_dir: Path, *, upload_limit: int = UPLOAD_LIMIT_BYTES, llm_url: str = "", llm_model: str = ""
) -> Flask:
    """The sandbox as a Flask application.

    :param data_dir: where everything is kept; made if it is missing
    :param upload_limit: largest file in bytes
    :param llm_url: base URL of an OpenAI-compatible server for the chats; empty: our own extracts answer
    :param llm_model: the model to ask there
    """
    app = Flask(__name__)
    app.config.update(UPLOAD_LIMIT=upload_limit, SANDBOX_LLM_URL=llm_url, SANDBOX_LLM_MODEL=llm_model)
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.json.sort_keys = False  # type: ignore[attr-defined]
    store = Store(data_dir)
    app.extensions["sandbox_store"] = store
    for module in MODULES:
        if hasattr(module, "SCHEMA"):
            store.create_tables(module.SCHEMA)
        if hasattr(module, "blueprint"):
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
    """Go on with the documents that an earlier process has left unfinished; uploads need no such call."""
    indexer: Indexer = app.extensions["sandbox_indexer"]
    indexer.wake()


def stop_indexing(app: Flask) -> None:
    """End the indexing after the transaction at hand."""
    indexer: Indexer = app.extensions["sandbox_indexer"]
    indexer.stop()
