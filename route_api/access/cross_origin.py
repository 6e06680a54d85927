"""Headers for browsers: which other sites may read our answers (CORS), and that no answer may run scripts.

No other site may read anything unless CORS_ORIGINS names it. TLS and the header Strict-Transport-Security are left to
nginx.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request

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

WARNINGS_HEADER = "X-Warnings"
"""The warnings of an answer that is not in the envelope: a JSON list of sentences, in ASCII."""

EXPOSED_HEADERS = [
    "Accept-Ranges",
    "Allow",
    "Content-Disposition",
    "Content-Length",
    "Content-Range",
    "ETag",
    REPLAYED_HEADER,
    "Retry-After",
    "WWW-Authenticate",
    REQUEST_ID_HEADER,
    WARNINGS_HEADER,
]
"""Headers of our answers that a page of an allowed origin may read. Without this list a browser shows a page only a few
of them, such as Content-Type: not the name of a downloaded file, and not how long to wait after a 429."""

PREFLIGHT_LIFETIME_S = 7200
"""Seconds for which a browser need not ask again whether it may send such a request. Chromium keeps an answer for no
longer time, and for 5 seconds if no time is told."""


def init_app(app: Flask) -> None:
    """Allow the origins in CORS_ORIGINS, and set the headers on every answer."""
    if origins := app.config["CORS_ORIGINS"]:
        cors.init_app(
            app,
            origins="*" if "*" in origins else origins,
            expose_headers=EXPOSED_HEADERS,
            max_age=PREFLIGHT_LIFETIME_S,
        )
    app.wsgi_app = SafeHeaders(app.wsgi_app)  # type: ignore[method-assign]


def answer_preflight() -> Response | None:
    """Answer a browser's question whether it may send a request (a preflight request) to a path that does not exist.

    Without this answer the browser would not send the request itself, and the page could not read its 404.

    :returns: None if the path exists: Flask then answers by itself. flask-cors adds its headers to either answer
    """
    is_preflight = "Access-Control-Request-Method" in request.headers
    return Response() if is_preflight and request.routing_exception is not None else None


def headers_for_any_caller(origins: list[str]) -> list[tuple[str, str]]:
    """The CORS headers of an answer to a request that was not read far enough to know its Origin.

    :param origins: the setting CORS_ORIGINS
    :returns: empty if it has several origins, because an answer can name only one
    """
    if "*" not in origins and len(origins) != 1:
        return []
    origin = "*" if "*" in origins else origins[0]
    return [("Access-Control-Allow-Origin", origin), ("Access-Control-Expose-Headers", ", ".join(EXPOSED_HEADERS))]


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
