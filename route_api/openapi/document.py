"""The parts of the OpenAPI document that marshmallow's schemas lack: examples, errors, streams, and who may call.

Pure functions and constants. `views/blueprint.py` applies them to each route, `openapi/markdown.py` prints the result.
Schemas are passed to apispec as classes: it copies its input, and copying instances would double the time.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from inspect import cleandoc
from typing import Any, NamedTuple

from marshmallow import Schema, fields

from ..envelope import HTTP_ERROR_CODES, Failure
from ..errors import ApiError

Json = dict[str, Any]

INTRODUCTION = """Every path answers with and without `/v1` before it. Every answer is in the envelope. Its header
`X-Request-Id` is the id of the request in the server's log:

```json
{"code": 0, "data": {}, "message": "success", "elapsed_s": 0.0123}
{"code": -1, "data": null, "message": "…", "elapsed_s": 0.0123, "error": "kb_not_found", "request_id": "…"}
```

**Parameters** are taken from the query string, from a JSON object or from a form, whatever the HTTP method. One rule
holds in all three places:

- null, an empty text and blanks mean "not given": for an optional parameter they have the same effect as leaving it
  out, and a required one "is required". So do the texts `undefined`, `null` and `None`, which programs write for a
  missing value, but not where any text is a value, such as a name, a question or `keywords`. A `user_id` cannot be one
  of these three texts. An empty text has a meaning of its own in one place: in the `description` of `kb/update` it
  removes the description. Blanks are a value in `separator`, `description` and passwords. Null has a meaning of its own
  in the `score` of `message/feedback`: it withdraws the rating. A form sends the text `null` for it.
- A list may be a JSON list, a JSON list written as a text, the same name several times, `name[]`, `name[0]` and
  `name[1]`, or one text with commas. Entries that are null or empty are left out. Where one id is wanted, a list with
  one id will do. Objects in lists may be written as `history[0][role]`.
- An object may be JSON, its JSON written as a text, or `inputs[city]`.
- Numbers, `true` and `false` may be texts, with blanks around them: `"5"`, `5.0`, `"５"`, `"True"`, `on`, `off`, `1`.
  Where a text is wanted, a number is taken as its text. Ids are UUIDs, with or without dashes, with or without blanks
  around them.
- If a name is in the query string and in the body, the body wins, unless its value means "not given".
- In forms and query strings, line breaks become LF, because browsers send CRLF for each.
- JSON and forms are read in UTF-8, or in the charset that the Content-Type names, such as
  `application/json;charset=GBK`. A query string must be UTF-8. JSON may begin with a BOM.

A logged-in user may leave out `user_id`, which can only be their own.

**A parameter that nothing reads is named**: the answer has the key `warnings` beside `message`, a list of sentences
such as `keyword: this endpoint has no such parameter, so it was not used; did you mean keywords?`. The same holds for a
second value of a parameter that was not used. The key is missing if there is nothing to tell. It comes in successes and
in failures, also for a repeated request; a stream has it in its complete answer or in its failure. An answer that is
not in the envelope, which is a file or Dify's own answer, has the list in the header `X-Warnings`, as JSON in ASCII. At
most ten parameters are named. The endpoint's table lists what it reads; a parameter that has "no effect" according to
the table is not named, nor is one that is null, nor `_`, which jQuery adds against caches. All others are named, also
if RAGFlow reads them. With the setting `UNKNOWN_PARAMETERS=refuse` such a request gets 400 `validation_failed` and
changes nothing; with `ignore` nothing is said. `/metrics`, `/docs` and `/openapi.json` look at no parameters.

**Language**: `message` and `warnings` are in English or in Chinese, as the header `Accept-Language` prefers. Without
this header they are in the language of the setting `DEFAULT_LANGUAGE`, which is English. `Content-Language` names the
language of an answer with such a sentence. `error` and all field names are the same in each language, and so are Dify's
own words and the messages that the API document prints. `/docs` and `/openapi.json` come in both languages too;
`?lang=zh` or `?lang=en` chooses one.

An unknown path gets 404 `route_not_found`, an HTTP method that the path does not have 405 `method_not_allowed`. A
request that is not valid HTTP gets 400 `bad_request`, a path that is too long 414 `path_too_long`, and headers that are
too large get 431 `headers_too_large`. With the setting `ERROR_HTTP_STATUS=200` other failures have HTTP status 200 as
well, and only `code` tells them apart.

The endpoints that create something accept the header `Idempotency-Key`: the three that ask the model,
`document/upload`, `datasets/…/create_by_file` and `kb/create`. All others ignore it. Send a new key, such as a UUID,
with each request. If no answer arrives, or a 502 or 504, repeat the same request with the same key, so that nothing is
done twice:

- After a success the repeat gets the stored answer, with the header `Idempotent-Replayed: true`. A repeated stream has
  the whole text in one event. Answers are stored for 24 hours, and are deleted with their conversation.
- After a failure the request is carried out again. The repeat of a turn is a new turn in the conversation that the
  first request began, also if its caller left before the answer was complete, or the gateway crashed. An upload first
  looks which files Dify has got, and uploads only the others. `kb/create` gives the knowledge base that Dify has
  created.
- While the first request is running, the repeat gets 409 `request_in_progress`. After a crash this lasts 20 seconds.
- If the parameters or the files differ from those of the first request, the repeat gets 400 `idempotency_key_reused`.

A key has 1 to 255 visible ASCII characters and may stand in quotes. Each caller and each `user_id` has its own keys.

"Upstream calls" says how many calls to Dify an endpoint makes, and why, if it makes more than one."""

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
"""Options of `apispec.APISpec`. The servers are relative, because the document does not know the gateway's address."""

FAILURE = {"$ref": "#/components/schemas/Failure"}

ID_PATTERN = "^([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32})$"
"""A UUID, with or without dashes, as a parameter. It is no `format`: generators would take an id for a value of another
type in parameters than in answers, where some ids may be empty."""

OWN_NAMES = {
    "conversation_completion": "completion",
    "conversation_completion_db": "completion_db",
    "chat_chat": "chat",
}
"""The operations that ask the model have shorter names than their paths."""


def operation_id(path: str, method: str, methods: Iterable[str]) -> str:
    """The name of an operation: `kb_list` for `/kb/list`, so that generators name their functions after resource and
    action.

    If a path has several methods, the name is that of POST, and the other methods are added to theirs: `kb_list_get`.

    :param path: as in a rule of Flask, such as `/docs/<name>`
    :param methods: all methods of the path, in capital letters
    """
    *parents, last = path.strip("/").split("/")
    words = [*(word for word in parents if not word.startswith("<")), last.strip("<>")]
    name = "_".join(words).replace(".", "_")
    name = OWN_NAMES.get(name, name)
    if "-" in name:  # The second spelling of a path.
        name = f"{name.replace('-', '_')}_dashed"
    is_main = method.upper() == "POST" or "POST" not in methods
    return name if is_main else f"{name}_{method.lower()}"


DIFY_REFUSAL = {
    "type": "object",
    "description": "Dify's own answer, unchanged",
    "properties": {"code": {"type": "string"}, "message": {"type": "string"}, "status": {"type": "integer"}},
}

INPUT_ERRORS = ("validation_failed", "request_timeout", "request_too_large", "unsupported_media_type")
"""Errors of every route that takes parameters."""

CALLER_ERRORS = ("credentials_missing", "credentials_invalid", "login_ended", "forbidden", "database_unavailable")
"""Errors of every route that needs credentials. The database is asked about the user of a token. `forbidden` is also
the answer to a web page of another site, with `AUTH=open`."""

ANY_ERRORS = ("internal_error", "too_many_requests", "path_too_long", "headers_too_large")
"""Errors of every route. The last two are answers of gunicorn, which reads a request before any route gets it."""

ACCESS_WORDS = {
    "admin": "For service keys, and for users with the role `admin`.",
    "service_key": "For service keys.",
}
"""The first sentence about a route that is not open to every caller."""


class ErrorKind(NamedTuple):
    """An error in the API document: its name, HTTP status and meaning."""

    code: str
    status: int
    meaning: str


@cache
def known_errors() -> list[ErrorKind]:
    """All errors, in the order of their names. A name has two entries if it comes with two statuses."""
    kinds = [
        ErrorKind(error.code, int(error.status), cleandoc(error.__doc__ or "").splitlines()[0])
        for error in _family(ApiError)
        if error.__module__ == ApiError.__module__  # Not a case of one of these that a module has for itself.
    ]
    for status, code in HTTP_ERROR_CODES.items():
        kinds.append(ErrorKind(code, status, "Said by the server itself, before an endpoint is reached."))
    by_name = {(kind.code, kind.status): kind for kind in kinds}
    return [by_name[name] for name in sorted(by_name)]


def _family(base: type[ApiError]) -> Iterator[type[ApiError]]:
    yield base
    for child in base.__subclasses__():
        yield from _family(child)


def error_examples() -> dict[str, Json]:
    """An example of each error, for `components.examples`."""
    shared = example_of(Failure())
    return {
        kind.code: {
            "summary": kind.meaning,
            "value": {**shared, "data": None, "message": kind.meaning, "error": kind.code},
        }
        for kind in reversed(known_errors())  # Of two entries with one name the first stays.
    }


def failure_responses(codes: Iterable[str]) -> dict[str, Json]:
    """The responses for these errors, by HTTP status."""
    wanted = set(codes)
    by_status: dict[int, list[ErrorKind]] = {}
    for kind in known_errors():
        if kind.code in wanted:
            by_status.setdefault(kind.status, []).append(kind)
    return {str(status): _failure_response(by_status[status]) for status in sorted(by_status)}


def _failure_response(kinds: list[ErrorKind]) -> Json:
    examples = {kind.code: {"$ref": f"#/components/examples/{kind.code}"} for kind in kinds}
    return {
        "description": "\n".join(f"- `{kind.code}`: {kind.meaning}" for kind in kinds),
        "content": {"application/json": {"schema": FAILURE, "examples": examples}},
    }


def with_forwarded_refusals(responses: dict[str, Json]) -> dict[str, Json]:
    """The same responses, where each refusal (4xx) may also be Dify's own answer."""
    schema = {"anyOf": [FAILURE, {"$ref": "#/components/schemas/DifyRefusal"}]}
    return {
        status: (
            {**response, "content": {kind: {**shown, "schema": schema} for kind, shown in response["content"].items()}}
            if status.startswith("4")
            else response
        )
        for status, response in responses.items()
    }


def request_body(schema: Schema) -> Json:
    """The body of an operation that takes its parameters as JSON. INTRODUCTION tells how a form carries the same: with
    both in the document, generators write clients that do not know which of the two to send."""
    shown = {"schema": type(schema), "example": example_of(schema)}
    return {
        "required": any(field.required for field in schema.fields.values()),
        "content": {"application/json": shown},
    }


def multipart_body(schema: Schema) -> Json:
    """The body of an operation that takes files."""
    shown = {"schema": type(schema), "example": example_of(schema)}
    return {"required": True, "content": {"multipart/form-data": shown}}


def example_of(schema: Schema) -> Json:
    """An example that is made of the examples of the fields. Optional fields without an example are left out."""
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
