"""A Dify-compatible server of our own, used where no Dify is configured. Imports nothing of the rest of Route API."""

from pathlib import Path

from flask import Flask

from .errors import register_error_handlers
from .store import Store

DIFY_VERSION = "1.12.1"
"""The Dify whose recorded behaviour the sandbox follows; sent as `X-Version`, as Dify does."""


def create_sandbox(data_dir: Path) -> Flask:
    """The sandbox as a Flask application that keeps its data under `data_dir`."""
    app = Flask(__name__)
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["sandbox_store"] = Store(data_dir)
    register_error_handlers(app)

    @app.after_request
    def name_the_server(response):  # type: ignore[no-untyped-def]
        response.headers["X-Version"] = DIFY_VERSION
        response.headers["X-Served-By"] = "route-api-sandbox"
        return response

    return app
