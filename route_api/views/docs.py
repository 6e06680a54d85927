"""`/docs`: the API document as a web page, and `/openapi.json` for programs. The page loads files from here only."""

from importlib.resources import files
from pathlib import Path

from flask import Response, render_template, request, send_from_directory
from werkzeug.exceptions import NotFound

from ..access.callers import public
from ..envelope import json_bytes
from ..extensions import api
from ..languages import LANGUAGES
from ..monitoring import tracing
from ..openapi.page import document_for_page, page_texts
from ..openapi.translation import Translate, translate_into, translated_document
from .blueprint import BINARY, ApiBlueprint, in_path

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
PAGE_DOCUMENT = "openapi.json"
ANY_OBJECT = {"type": "object", "additionalProperties": True}
EXAMPLE = {"openapi": "3.1.0"}
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
@blueprint.response(200, ANY_OBJECT, description="This document", example=EXAMPLE)
@public
def show_openapi() -> Response:
    """The OpenAPI document, for programs, in English or Chinese.

    Upstream calls: 0.
    """
    document = translated_document(api.spec.to_dict(), _translate())
    return Response(json_bytes(document), content_type="application/json")


def _translate() -> Translate:
    """What puts texts into the language of the reader: that of the parameter `lang`, or of Accept-Language."""
    trace = tracing.current()
    trace.has_sentences = True
    wanted = request.args.get("lang")
    if wanted in LANGUAGES:
        trace.language = wanted
    return translate_into(trace.language)


@blueprint.route("/docs", strict_slashes=False)
@blueprint.response(200, {"type": "string"}, content_type="text/html", description="The page")
@public
def show_docs() -> Response:
    """The OpenAPI document as a page on which each endpoint can be tried out.

    Upstream calls: 0.
    """
    translate = _translate()
    words = {"language": tracing.current().language, "texts": page_texts(translate)}
    page = Response(render_template("docs.html", **words), content_type="text/html; charset=utf-8")
    page.headers["Content-Security-Policy"] = PAGE_POLICY
    return page


@blueprint.route("/docs/<name>", parameters=[in_path("name", enum=sorted([*ASSETS, PAGE_DOCUMENT]))])
@blueprint.response(200, BINARY, content_type="application/octet-stream")
@blueprint.alt_response(200, schema=BINARY, content_type="*/*", success=True)
@blueprint.alt_response(
    200,
    schema=ANY_OBJECT,
    content_type="application/json",
    description="The file, with its own type",
    example=EXAMPLE,
    success=True,
)
@blueprint.raises(NotFound)
@public
def send_docs_asset(name: str) -> Response:
    """A script, a style sheet or an image of that page; or the OpenAPI document as the page shows it: one operation for
    each endpoint, with its errors in one response.

    Upstream calls: 0.
    """
    if name == PAGE_DOCUMENT:
        translate = _translate()
        document = document_for_page(translated_document(api.spec.to_dict(), translate), translate)
        return Response(json_bytes(document), content_type="application/json")
    if name not in ASSETS:
        raise NotFound
    return send_from_directory(ASSETS[name], name, max_age=ASSETS_LIFETIME_S)
