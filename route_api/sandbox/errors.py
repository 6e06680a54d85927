"""Error answers in the form that Dify 1.12.1 gives them: `{"code", "message", "status"}`."""

from typing import Any

from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException


class SandboxError(Exception):
    """A request fails with this error answer.

    :param status: the HTTP status
    :param code: Dify's snake_case code, for example `not_found`
    :param message: Dify's text
    :param body: the whole body, where it has another form
    """

    def __init__(self, status: int, code: str, message: str, body: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.body = body or {"code": code, "message": message, "status": status}


def register_error_handlers(app: Flask) -> None:
    """Answer a `SandboxError` as Dify's services do, and an `HTTPException` as Dify's router and werkzeug do."""

    @app.errorhandler(SandboxError)
    def sandbox_error(error: SandboxError) -> tuple[Response, int]:
        return jsonify(error.body), error.status

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response | tuple[Response, int]:
        status = error.code or 500
        if status == 404:
            return Response(error.get_body(), status=404, content_type="text/html; charset=utf-8")
        code = error.name.lower().replace(" ", "_")
        return jsonify({"code": code, "message": error.description, "status": status}), status
