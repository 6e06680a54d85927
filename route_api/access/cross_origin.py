"""Headers for browsers: which other sites may read our answers (CORS), and that no answer may run scripts.

No other site may read anything unless CORS_ORIGINS names it. TLS and the header Strict-Transport-Security are left to
nginx.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask

from ..envelope import WARNINGS_HEADER
from ..extensions import cors
from ..monitoring.logs import REQUEST_ID_HEADER
from .idempotency import REPLAYED_HEADER

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
"""These headers are set on every answer that lacks them. Without them a browser could open a user's HTML file as a page
of this site and run its scripts."""

PREFLIGHT_LIFETIME_S = 600


def init_app(app: Flask) -> None:
    """Allow the origins in CORS_ORIGINS, and set the headers on every answer."""
    if origins := app.config["CORS_ORIGINS"]:
        cors.init_app(
            app,
            origins="*" if "*" in origins else origins,
            expose_headers=[REQUEST_ID_HEADER, REPLAYED_HEADER, WARNINGS_HEADER, "Retry-After"],
            max_age=PREFLIGHT_LIFETIME_S,
        )
    app.wsgi_app = SafeHeaders(app.wsgi_app)  # type: ignore[method-assign]


class SafeHeaders:
    """WSGI middleware that sets SAFE_HEADERS. Flask's `after_request` would take several times as long."""

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Callable[[bytes], object]:
            given = {name for name, _ in headers}
            headers += [header for header in SAFE_HEADERS if header[0] not in given]
            return start_response(status, headers, *exc_info)

        return self._app(environ, start)
