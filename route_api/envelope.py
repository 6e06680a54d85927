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
from .languages import DIFY, LANGUAGES, Sentence, quoted
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
    400: Sentence(
        "The request is not valid HTTP: its first line, or one of its headers. In a path and a query string, all"
        " characters outside ASCII must be percent-encoded."
    ),
    414: Sentence("The path with its query is longer than this server takes; send the parameters as JSON in the body."),
    417: Sentence("The server does not fulfil what the header Expect asks for."),
    431: Sentence("The headers of the request are larger than this server takes."),
    501: Sentence("The server does not know this Transfer-Encoding; it takes chunked."),
}
"""Sentences for gunicorn's own answers."""


FAILURE_DATA = {
    "description": "null, or what was done where a batch failed in part",
    "anyOf": [
        {"type": "object", "additionalProperties": True},
        {"type": "array", "items": {"type": "object", "additionalProperties": True}},
        {"type": "null"},
    ],
    "example": None,
}


class Failure(marshmallow.Schema):
    """The schema of a failed answer, for the OpenAPI document."""

    code = marshmallow.fields.Integer(required=True, metadata={"const": -1, "example": -1})
    data = marshmallow.fields.Raw(required=True, metadata=FAILURE_DATA)
    elapsed_s = marshmallow.fields.Float(required=True, metadata={"example": 0.0123})
    message = marshmallow.fields.String(required=True, metadata={"example": "kb_id is required."})
    error = marshmallow.fields.String(required=True, metadata={"example": "validation_failed"})
    request_id = marshmallow.fields.String(required=True, metadata={"example": "9f6c4d2be0a84f0ab1f2f2a1c6a0e6d4"})
    retry_after = marshmallow.fields.Integer(
        metadata={
            "description": "only in the event `error` of a stream, if it is known: seconds after which a repeated"
            " request may succeed. Any other failure has them in the header Retry-After",
            "example": 5,
        }
    )
    warnings = marshmallow.fields.List(
        marshmallow.fields.String(), metadata={"description": "what the gateway did not use of the request"}
    )


def json_bytes(value: Any) -> bytes:
    """Write a value as JSON. Everything that we send as JSON is written here, so here the sentences in it are put into
    the caller's language.

    U+2028, U+2029 and U+0085 are escaped, as Dify does. JSON allows them as they are, but clients that read an event
    stream line by line take them for ends of lines and break the event: Python's `str.splitlines`, and so
    `iter_lines` of httpx, and of requests with `decode_unicode=True`; and Java's `Scanner`. All other ends of lines are
    control characters, which orjson escapes.
    """
    written = orjson.dumps(value, default=_said, option=orjson.OPT_PASSTHROUGH_SUBCLASS)
    # Python looks for a byte much faster than for a sequence, and no Chinese character has one of these two bytes.
    if 0xE2 in written:
        written = written.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    if 0xC2 in written:
        written = written.replace(b"\xc2\x85", b"\\u0085")
    return written


def _said(value: Any) -> Any:
    """What orjson writes for a value that it does not know, as for a sentence of ours."""
    if isinstance(value, Sentence):
        return said(value)
    if isinstance(value, dict):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON.")


def said(sentence: Sentence) -> str:
    """A sentence in the language of the current request's caller, with DIFY_NAME in place of Dify: what the sandbox
    does and refuses is not put into Dify's mouth."""
    trace = tracing.current()
    trace.has_sentences = True
    return sentence.in_language(trace.language, _backend())


def _backend() -> str:
    """What our sentences call the server behind the gateway."""
    return str(current_app.config["DIFY_NAME"]) if current_app else DIFY


def elapsed_s() -> float:
    """Seconds since this request came in, rounded to a tenth of a millisecond."""
    started_at = tracing.current().started_at  # First, because it begins a trace outside of a request.
    return round(perf_counter() - started_at, 4)


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

    :param body: an answer in the envelope, or a stream of events, of which the last one that has a name, or the last
        but one of those without names, is in the envelope (`chat/stream_events.py`). Anything else is returned as it is
    """
    warnings = tracing.current().warnings
    if not warnings:
        return body
    if content_type == JSON_TYPE:
        return _add_warnings(body, warnings)
    if content_type.startswith(EVENT_STREAM):
        events = body.split("\n\n")
        place = -2 if events[-2].startswith("event: ") else -3
        head, field, answer = events[place].partition("data: ")
        events[place] = head + field + _add_warnings(answer, warnings)
        return "\n\n".join(events)
    return body


def _add_warnings(body: str, warnings: list[Sentence]) -> str:
    answer = orjson.loads(body)
    if "elapsed_s" not in answer:  # It is Dify's own answer.
        return body
    # The earlier request may have got the same warnings in another language.
    told_again = {warning.in_language(language, _backend()) for warning in warnings for language in LANGUAGES}
    answer["warnings"] = [*(told for told in answer.get("warnings", []) if told not in told_again), *warnings]
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
    return envelope(-1, error.data, said(error.message), error=error.code, request_id=trace.request_id)


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
    return failure(
        ValidationFailed(Sentence("The body is not framed as HTTP wants it: a size of its chunks is wrong."))
    )


def _database_failure(error: Exception) -> Response:
    """The database does not answer, or lacks a table because it was not migrated. The log tells which."""
    log.error("the database failed in %s %s: %s", request.method, request.path, error)
    return failure(DatabaseUnavailable())


def _words_for(error: HTTPException, status: int) -> Sentence:
    if status == 404:
        return Sentence("There is no {path} in this API.", path=request.path)
    if status == 405:
        allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or []))
        return Sentence(
            "{path} does not answer to {method}; use {allowed}.",
            path=request.path,
            method=request.method,
            allowed=allowed,
        )
    if isinstance(error, RequestEntityTooLarge) and error.description == RequestEntityTooLarge.description:
        return Sentence("The request is larger than this server takes.")
    return quoted(error.description or error.name)


def _unexpected_failure(error: Exception) -> Response:
    log.exception("unexpected error in %s %s, request %s", request.method, request.path, tracing.current().request_id)
    return failure(internal_error())


def internal_error() -> ApiError:
    """The error for a bug of ours. Its message reveals nothing about the code."""
    return ApiError(Sentence("Something went wrong in Route API itself; the request_id finds it in the server's log."))
