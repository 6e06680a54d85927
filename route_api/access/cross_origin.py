"""What a browser is told about our answers: who may read them, and that there is nothing in them to run.

CORS is closed unless CORS_ORIGINS names origins. TLS, and the header that demands it, are nginx's business.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask

from ..extensions import cors
from ..monitoring.logs import REQUEST_ID_HEADER

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SAFE_HEADERS = [
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
]
"""Of every answer that does not say otherwise. A user's HTML file, for one, must not become a page of ours."""

PREFLIGHT_LIFETIME_S = 600


def init_app(app: Flask) -> None:
    """Let the configured origins in, and give every answer its headers."""
    if origins := app.config["CORS_ORIGINS"]:
        cors.init_app(
            app,
            origins="*" if "*" in origins else origins,
            expose_headers=[REQUEST_ID_HEADER, "Retry-After"],
            max_age=PREFLIGHT_LIFETIME_S,
        )
    app.wsgi_app = SafeHeaders(app.wsgi_app)  # type: ignore[method-assign]


class SafeHeaders:
    """Adds the headers below Flask, whose own way costs several times as much."""

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Callable[[bytes], object]:
            given = {name for name, _ in headers}
            headers += [header for header in SAFE_HEADERS if header[0] not in given]
            return start_response(status, headers, *exc_info)

        return self._app(environ, start)
