"""What the OpenAPI document says beyond what marshmallow's schemas tell: examples, errors, events, who may call.

Pure functions and constants. `views/blueprint.py` applies them to each route, `openapi/markdown.py` prints the outcome.
Schemas are given by class: apispec copies all that it is given, and copying instances would double the time of a start.
"""

import json
from collections.abc import Iterable, Iterator
from functools import cache
from inspect import cleandoc
from typing import Any, NamedTuple

from marshmallow import Schema, fields

from ..envelope import HTTP_ERROR_CODES, Failure
from ..errors import ApiError

Json = dict[str, Any]

INTRODUCTION = """Every path answers with and without `/v1` before it. Parameters are taken from the query string,
from a JSON object or from a form, whatever the verb; where one name comes twice, the body wins. Ids are UUIDs, with or
without dashes. A logged-in user may leave out `user_id`, which can only be their own. Every answer is in the envelope,
and its header `X-Request-Id` names it in the server's log:

```json
{"code": 0, "data": {}, "message": "success", "elapsed_s": 0.0123}
{"code": -1, "data": null, "message": "…", "elapsed_s": 0.0123, "error": "kb_not_found", "request_id": "…"}
```

A path that does not exist gets 404 `route_not_found`, a verb that its path does not know 405 `method_not_allowed`. With
the setting `ERROR_HTTP_STATUS=200` failures keep HTTP 200, and `code` alone tells.

"Upstream calls" says how many calls to Dify an endpoint makes, and why where it is more than one."""

BEARER_AUTH = {
    "type": "http",
    "scheme": "bearer",
    "description": "A service key of a backend, or the token that a user got at login. Not asked for with `AUTH=open`.",
}

SPEC_OPTIONS = {
    "info": {"description": INTRODUCTION},
    "servers": [{"url": "/v1"}, {"url": "/"}],
    "security": [{"bearerAuth": []}],
}
"""What `apispec.APISpec` is made with. The servers are relative: the document is true wherever it is read from."""

FAILURE = {"$ref": "#/components/schemas/Failure"}

INPUT_ERRORS = ("validation_failed", "request_timeout", "request_too_large", "unsupported_media_type")
"""What any route that takes parameters may answer."""

CALLER_ERRORS = ("credentials_missing", "credentials_invalid", "login_ended", "database_unavailable")
"""What any route may answer that is not public: who logs in is looked up."""

ANY_ERRORS = ("internal_error", "too_many_requests")
"""What any route may answer."""

ACCESS_WORDS = {
    "admin": "For service keys, and for users with the role `admin`.",
    "service_key": "For service keys.",
}
"""What a reader is told of a route that not every caller may use."""


class ErrorKind(NamedTuple):
    """A failure as callers know it."""

    code: str
    status: int
    meaning: str


@cache
def known_errors() -> dict[str, ErrorKind]:
    """Every way in which a request can fail, by its stable name, in the order of the names."""
    kinds = [
        ErrorKind(error.code, int(error.status), cleandoc(error.__doc__ or "").splitlines()[0])
        for error in _family(ApiError)
    ]
    for status, code in HTTP_ERROR_CODES.items():
        kinds.append(ErrorKind(code, status, "Said by the server itself, before an endpoint is reached."))
    by_code = {kind.code: kind for kind in kinds}
    return {code: by_code[code] for code in sorted(by_code)}


def _family(base: type[ApiError]) -> Iterator[type[ApiError]]:
    yield base
    for child in base.__subclasses__():
        yield from _family(child)


def error_examples() -> dict[str, Json]:
    """A failed answer of each kind, for `components.examples`."""
    shared = example_of(Failure())
    return {
        kind.code: {
            "summary": kind.meaning,
            "value": {**shared, "data": None, "message": kind.meaning, "error": kind.code},
        }
        for kind in known_errors().values()
    }


def failure_responses(codes: Iterable[str]) -> dict[str, Json]:
    """The responses of an operation that may fail in these ways, by HTTP status."""
    kinds = known_errors()
    by_status: dict[int, list[ErrorKind]] = {}
    for code in sorted(set(codes)):
        by_status.setdefault(kinds[code].status, []).append(kinds[code])
    return {str(status): _failure_response(by_status[status]) for status in sorted(by_status)}


def _failure_response(kinds: list[ErrorKind]) -> Json:
    examples = {kind.code: {"$ref": f"#/components/examples/{kind.code}"} for kind in kinds}
    return {
        "description": "\n".join(f"- `{kind.code}`: {kind.meaning}" for kind in kinds),
        "content": {"application/json": {"schema": FAILURE, "examples": examples}},
    }


def request_body(schema: Schema) -> Json:
    """The body of an operation that takes its parameters as JSON or as a form."""
    shown = {"schema": type(schema), "example": example_of(schema)}
    return {
        "required": any(field.required for field in schema.fields.values()),
        "content": {"application/json": shown, "application/x-www-form-urlencoded": shown.copy()},
    }


def multipart_body(schema: Schema) -> Json:
    """The body of an operation that takes files."""
    shown = {"schema": type(schema), "example": example_of(schema)}
    return {"required": True, "content": {"multipart/form-data": shown}}


def example_of(schema: Schema) -> Json:
    """An input or answer, made of the examples of its fields; one that has none and is not required is left out."""
    return {
        name: _example(field) for name, field in schema.fields.items() if field.required or "example" in field.metadata
    }


def _example(field: fields.Field[Any]) -> Any:
    if "example" in field.metadata:
        return field.metadata["example"]
    if isinstance(field, fields.Nested):
        return example_of(field.schema)
    if isinstance(field, fields.List):
        return [_example(field.inner)]
    raise LookupError(f"The field {field.name} of {type(field.parent).__name__} needs an example in its metadata.")


TURN_IDS = ("conversation_id", "is_new_conversation", "message_id")
"""What every event of a streamed answer has besides its piece of the text."""


def event_stream_example(answer: Json) -> str:
    """The server-sent events of an answer: its text in two pieces, all that the answer has in one piece, the end.

    :param answer: an example of the same answer in one piece
    """
    data = answer["data"]
    ids, text = {name: data[name] for name in TURN_IDS}, data["answer"]
    events = [{"code": 0, "message": "", "data": {**ids, "answer": piece}} for piece in (text[:8], text[8:])]
    events += [{**answer, "message": ""}, {"code": 0, "message": "", "data": True}]
    return "".join(f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events)
