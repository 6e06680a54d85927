"""`/`: the console page, on which a person uses this API. It serves `route_api/console` and the JavaScript client.

The page is made of nothing but the public API. The setting CONSOLE turns it off.
"""

from pathlib import Path

from flask import Response, current_app, send_from_directory
from werkzeug.exceptions import NotFound

from ..access.callers import public
from .blueprint import BINARY, ApiBlueprint, in_path

blueprint = ApiBlueprint("console", __name__, description="The console page, to try everything out")

PAGE_FILES = Path(__file__).parents[1] / "console"
CLIENT_FILES = Path(__file__).parents[2] / "clients" / "javascript"
FOLDERS = {
    **{file.name: PAGE_FILES for file in PAGE_FILES.iterdir() if file.suffix in (".js", ".css", ".svg")},
    "route-api.js": CLIENT_FILES,
}
"""The folder of each file that the page loads. No other file is served."""

PAGE_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",  # No module may turn a text into HTML.
    ]
)
"""The page may run scripts of this server and send requests to this server, nothing else."""


@blueprint.route("/", strict_slashes=False)  # Without a slash at its end, /v1 would be an HTML redirect.
@blueprint.response(200, {"type": "string"}, content_type="text/html", description="The page")
@blueprint.doc(operationId="console")
@blueprint.raises(NotFound)
@public
def show_console() -> Response:
    """The console: a page for knowledge bases, documents, searches and conversations, and the state of this gateway.

    With the setting `CONSOLE=off` it is a 404 `route_not_found`.

    Upstream calls: 0.
    """
    page = _file(PAGE_FILES, "index.html")
    page.headers["Content-Security-Policy"] = PAGE_POLICY
    return page


@blueprint.route("/console/<name>", parameters=[in_path("name", pattern=r"^[a-z0-9-]+\.(js|css|svg)$")])
@blueprint.response(200, BINARY, content_type="application/octet-stream", description="The file, with its own type")
@blueprint.alt_response(200, schema=BINARY, content_type="*/*", success=True)
@blueprint.raises(NotFound)
@public
def send_console_asset(name: str) -> Response:
    """A script, a style sheet or an image of that page.

    Upstream calls: 0.
    """
    if name not in FOLDERS:
        raise NotFound
    return _file(FOLDERS[name], name)


def _file(folder: Path, name: str) -> Response:
    """The file. The browser asks each time whether it has changed, so that it never mixes files of two versions."""
    if current_app.config["CONSOLE"] == "off":
        raise NotFound
    return send_from_directory(folder, name)
