"""`/docs`: the API document as a web page, and `/openapi.json` for programs. The page loads files from here only."""

from importlib.resources import files
from pathlib import Path

from flask import Response, render_template, send_from_directory
from werkzeug.exceptions import NotFound

from ..access.callers import public
from ..envelope import json_bytes
from ..extensions import api
from .blueprint import ApiBlueprint, in_path

blueprint = ApiBlueprint("docs", __name__, description="This API itself, to read")

SWAGGER_UI = str(files("flask_swagger_ui") / "dist")
"""Only these files of the package are used. Its own page has an inline script, which PAGE_POLICY forbids."""

OWN_FILES = str(Path(__file__).parents[1] / "templates")
ASSETS = {
    "swagger-ui.css": SWAGGER_UI,
    "swagger-ui-bundle.js": SWAGGER_UI,
    "favicon-32x32.png": SWAGGER_UI,
    "docs.js": OWN_FILES,
    "docs.css": OWN_FILES,
}
BINARY = {"type": "string", "format": "binary"}
ASSETS_LIFETIME_S = 3600

PAGE_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",  # Swagger UI's style sheet contains its arrows as data: images.
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
"""The page may run scripts of this server and send requests to this server, nothing else."""


@blueprint.route("/openapi.json")
@blueprint.response(200, {"type": "object"}, description="This document", example={"openapi": "3.1.0"})
@public
def show_openapi() -> Response:
    """The OpenAPI document, for programs.

    Upstream calls: 0.
    """
    return Response(json_bytes(api.spec.to_dict()), content_type="application/json")


@blueprint.route("/docs", strict_slashes=False)
@blueprint.response(200, {"type": "string"}, content_type="text/html", description="The page")
@public
def show_docs() -> Response:
    """The OpenAPI document as a page on which each endpoint can be tried out.

    Upstream calls: 0.
    """
    page = Response(render_template("docs.html"), content_type="text/html; charset=utf-8")
    page.headers["Content-Security-Policy"] = PAGE_POLICY
    return page


@blueprint.route("/docs/<name>", parameters=[in_path("name", enum=sorted(ASSETS))])
@blueprint.response(200, BINARY, content_type="*/*", description="The file, with its own type")
@public
def send_docs_asset(name: str) -> Response:
    """A script, a style sheet or an image of that page.

    Upstream calls: 0.
    """
    if name not in ASSETS:
        raise NotFound
    return send_from_directory(ASSETS[name], name, max_age=ASSETS_LIFETIME_S)
