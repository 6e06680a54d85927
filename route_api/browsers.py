"""What a browser is told about our answers: who may read them, and that there is nothing in them to run.

CORS is closed unless CORS_ORIGINS names origins. TLS, and the header that demands it, are nginx's business.
"""

from flask import Flask, Response

from .extensions import cors
from .observability import REQUEST_ID_HEADER

SAFE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
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
    app.after_request(_make_safe)


def _make_safe(response: Response) -> Response:
    headers = response.headers
    for name, value in SAFE_HEADERS.items():
        headers.setdefault(name, value)
    return response
