"""The envelope, which is the form of every JSON answer of ours, and the error handlers that put failures into it.

Success: `{"code": 0, "data", "message", "elapsed_s"}`. Failure: `{"code": -1, "data", "message", "elapsed_s", "error",
"request_id"}`. Source: the API document, which does not have `error` and `request_id`.
"""

import logging
from http import HTTPStatus
from time import perf_counter
from typing import Any

import marshmallow
import orjson
from flask import Flask, Response, current_app, request
from gunicorn.http.errors import ParseException
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from .errors import ApiError, DatabaseUnavailable, DifyError, ValidationFailed
from .monitoring import tracing

log = logging.getLogger(__name__)

JSON_TYPE = "application/json; charset=utf-8"
EVENT_STREAM = "text/event-stream"

HTTP_ERROR_CODES = {
    400: "bad_request",
    404: "route_not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "request_too_large",
    414: "path_too_long",
    415: "unsupported_media_type",
    417: "expectation_failed",
    431: "headers_too_large",
    501: "not_implemented",
}

SERVER_ERROR_WORDS = {
    400: "The request is not valid HTTP: its first line, or one of its headers. In a path and a query string, all"
    " characters outside ASCII must be percent-encoded.",
    414: "The path with its query is longer than this server takes; send the parameters as JSON in the body.",
    417: "The server does not fulfil what the header Expect asks for.",
    431: "The headers of the request are larger than this server takes.",
    501: "The server does not know this Transfer-Encoding; it takes chunked.",
}
"""Sentences for gunicorn's own answers."""


class Failure(marshmallow.Schema):
    """The schema of a failed answer, for the OpenAPI document."""

    code = marshmallow.fields.Constant(-1, metadata={"example": -1})
    data = marshmallow.fields.Raw(metadata={"description": "null, or what was done where a batch failed in part"})
    elapsed_s = marshmallow.fields.Float(metadata={"example": 0.0123})
    message = marshmallow.fields.String(metadata={"example": "kb_id is required."})
    error = marshmallow.fields.String(metadata={"example": "validation_failed"})
    request_id = marshmallow.fields.String(metadata={"example": "9f6c4d2be0a84f0ab1f2f2a1c6a0e6d4"})
    warnings = marshmallow.fields.List(
        marshmallow.fields.String(), metadata={"description": "what the gateway did not use of the request"}
    )


def json_bytes(value: Any) -> bytes:
    """Write a value as JSON. Everything that we send as JSON is written here.

    U+2028, U+2029 and U+0085 are escaped, as Dify does. JSON allows them as they are, but clients that read an event
    stream line by line take them for ends of lines and break the event: Python's `str.splitlines`, and so
    `iter_lines` of httpx, and of requests with `decode_unicode=True`; and Java's `Scanner`. All other ends of lines are
    control characters, which orjson escapes.
    """
    written = orjson.dumps(value)
    # Python looks for a byte much faster than for a sequence, and no Chinese character has one of these two bytes.
    if 0xE2 in written:
        written = written.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    if 0xC2 in written:
        written = written.replace(b"\xc2\x85", b"\\u0085")
    return written


def elapsed_s() -> float:
    """Seconds since this request came in, rounded to a tenth of a millisecond."""
    return round(perf_counter() - tracing.current().started_at, 4)


def envelope(code: int, data: Any, message: str, **beside_data: Any) -> dict[str, Any]:
    """The body of an answer. :func:`success_body` and :func:`failure_body` make theirs with it. It has the key
    `warnings`, a list of sentences, if there is something that the caller should know (:meth:`Trace.warn`).

    :param code: 0 for success, -1 for failure
    :param beside_data: further keys that stand beside `data`
    """
    if warnings := tracing.current().warnings:
        beside_data = {"warnings": warnings, **beside_data}
    return {"code": code, "data": data, "elapsed_s": elapsed_s(), "message": message, **beside_data}


def with_warnings(body: str, content_type: str) -> str:
    """The body of an earlier answer with the warnings of this request, beside its own.

    :param body: an answer in the envelope, or a stream of events, of which the last but one is in the envelope
        (`chat/stream_events.py`). Anything else is returned as it is
    """
    warnings = tracing.current().warnings
    if not warnings:
        return body
    if content_type == JSON_TYPE:
        return _add_warnings(body, warnings)
    if content_type.startswith(EVENT_STREAM):
        events = body.split("\n\n")
        events[-3] = "data: " + _add_warnings(events[-3].removeprefix("data: "), warnings)
        return "\n\n".join(events)
    return body


def _add_warnings(body: str, warnings: list[str]) -> str:
    answer = orjson.loads(body)
    if "elapsed_s" not in answer:  # It is Dify's own answer.
        return body
    answer["warnings"] = list(dict.fromkeys([*answer.get("warnings", []), *warnings]))
    return json_bytes(answer).decode()


def success_body(data: Any, message: str = "success", **beside_data: Any) -> dict[str, Any]:
    """The body of a successful answer, or of an event in a stream.

    :param beside_data: further keys that the API document puts beside `data`, such as `rag_info`
    """
    return envelope(0, data, message, **beside_data)


def failure_body(error: ApiError) -> dict[str, Any]:
    """The body of a failed answer, or of the last event in a stream that fails. Notes the error in the trace."""
    trace = tracing.current()
    trace.error = error.code
    return envelope(-1, error.data, error.message, error=error.code, request_id=trace.request_id)


def success(data: Any, message: str = "success", **beside_data: Any) -> Response:
    """A successful answer. The parameters are those of :func:`success_body`."""
    return Response(json_bytes(success_body(data, message, **beside_data)), content_type=JSON_TYPE)


def failure(error: ApiError) -> Response:
    """The answer to a request that failed. It is logged here, so that each `request_id` is found in the log."""
    status = tracing.current().status = int(error.status)
    dify = ""
    if isinstance(error, DifyError):
        dify = f" dify_status={error.dify_status} dify_code={error.dify_code}"
    level = logging.ERROR if status >= 500 else logging.INFO
    log.log(level, "%s %s: %d %s%s: %s", request.method, request.path, status, error.code, dify, error.message)
    shown_status = current_app.config["ERROR_HTTP_STATUS"] or status
    answer = Response(json_bytes(failure_body(error)), status=shown_status, content_type=JSON_TYPE)
    if error.retry_after is not None:
        answer.headers["Retry-After"] = str(error.retry_after)
    if status == HTTPStatus.UNAUTHORIZED:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def register_error_handlers(app: Flask) -> None:
    """Put every failure of a request into the envelope: our own errors, Dify's, werkzeug's, and bugs."""
    app.register_error_handler(ApiError, failure)
    app.register_error_handler(HTTPException, _http_failure)
    app.register_error_handler(ParseException, _broken_body)
    for error in (OperationalError, InterfaceError, NoConnectionFree):
        app.register_error_handler(error, _database_failure)
    app.register_error_handler(Exception, _unexpected_failure)


def _http_failure(error: HTTPException) -> Response:
    status = error.code or 500
    described = ApiError(_words_for(error, status))
    described.status = status
    described.code = HTTP_ERROR_CODES.get(status, error.name.lower().replace(" ", "_"))
    answer = failure(described)
    if allowed := getattr(error, "valid_methods", None):
        answer.headers["Allow"] = ", ".join(sorted(allowed))
    return answer


def _broken_body(_error: ParseException) -> Response:
    """gunicorn parses a chunked body while we read it, so its error comes up in a view. It closes the connection."""
    return failure(ValidationFailed("The body is not framed as HTTP wants it: a size of its chunks is wrong."))


def _database_failure(error: Exception) -> Response:
    """The database does not answer, or lacks a table because it was not migrated. The log tells which."""
    log.error("the database failed in %s %s: %s", request.method, request.path, error)
    return failure(DatabaseUnavailable())


def _words_for(error: HTTPException, status: int) -> str:
    if status == 404:
        return f"There is no {request.path} in this API."
    if status == 405:
        allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or []))
        return f"{request.path} does not answer to {request.method}; use {allowed}."
    if isinstance(error, RequestEntityTooLarge) and error.description == RequestEntityTooLarge.description:
        return "The request is larger than this server takes."
    return error.description or error.name


def _unexpected_failure(error: Exception) -> Response:
    log.exception("unexpected error in %s %s, request %s", request.method, request.path, tracing.current().request_id)
    return failure(internal_error())


def internal_error() -> ApiError:
    """The error for a bug of ours. Its message reveals nothing about the code."""
    return ApiError("Something went wrong in Route API itself; the request_id finds it in the server's log.")
