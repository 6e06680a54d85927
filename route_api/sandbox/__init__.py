"""A Dify-compatible server of our own, used where no Dify is configured. Imports nothing of the rest of Route API."""

import os
from pathlib import Path
from types import ModuleType

from flask import Flask, Response

from . import keys
from .errors import register_error_handlers
from .store import Store

DIFY_VERSION = "1.12.1"
"""The Dify whose recorded behaviour the sandbox follows; sent as `X-Version`, as Dify does."""

UPLOAD_LIMIT_BYTES = 15 * 1024 * 1024
"""Dify's default of UPLOAD_FILE_SIZE_LIMIT; a file may have exactly as many."""

MODULES: list[ModuleType] = [keys]
"""Each has a `blueprint`; those with tables have a `SCHEMA` too."""


def create_sandbox(
    data_dir: Path, *, upload_limit: int = UPLOAD_LIMIT_BYTES, llm_url: str = "", llm_model: str = ""
) -> Flask:
    """The sandbox as a Flask application.

    :param data_dir: where everything is kept; made if it is missing
    :param upload_limit: largest file in bytes
    :param llm_url: base URL of an OpenAI-compatible server that shall answer chats; empty: our own extracts do
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
        app.register_blueprint(module.blueprint)
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
