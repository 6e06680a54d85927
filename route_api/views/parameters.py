"""Reading the parameters of a request, from its query string, its body or its path."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, cast

import orjson
from flask import Request, current_app, request
from marshmallow import Schema, ValidationError
from webargs.flaskparser import FlaskParser
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout, UnsupportedMediaType

from ..access.callers import fill_in_own_user_id
from ..errors import ValidationFailed
from ..monitoring.deadlines import deadlines
from ..schemas.base import Id, describe_problems

_PATH_ID = Id()
FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")

MEGABYTE = 1024 * 1024

MAX_PROBLEMS = 10
"""Number of sentences in one error message. Without a limit a long list of wrong ids would give one for each id."""

MAX_FORM_BYTES = 500_000
"""Size of an urlencoded form. werkzeug has the same limit for the fields of a multipart form. werkzeug parses a form in
one piece: 50 MB would block all other requests of the process for 14 seconds."""

BODY_S = 60.0
"""Seconds that a body which is not an upload may take to arrive. gunicorn has no such limit; nginx has one too."""


class ParametersParser(FlaskParser):
    """Reads the parameters of a request from its query string, a JSON object or a form, whichever the client sent.

    The API document and RAGFlow's clients use different HTTP methods for the same endpoint, so every method accepts
    parameters in every place. If a name is in the query string and in the body, the body wins. The `location` that a
    view gives to `arguments` only decides where the OpenAPI document shows the parameters.
    """

    DEFAULT_VALIDATION_STATUS = 400

    def get_default_request(self) -> Request:
        """The request object itself. Every access through Flask's proxy `request` takes extra time."""
        return cast(Request, request._get_current_object())  # type: ignore[attr-defined]

    def load_querystring(self, req: Request, schema: Schema) -> Any:
        return self.load_json(req, schema)

    def load_json(self, req: Request, schema: Schema) -> Any:
        """Limit the body to MAX_JSON_MB, because it is held in memory. Uploads are not read here."""
        req.max_content_length = current_app.config["MAX_JSON_MB"] * MEGABYTE
        if not has_body(req):
            return self._parameters(req, schema)
        with body_in_time(req):
            return self._parameters(req, schema)

    def load_files(self, req: Request, schema: Schema) -> Any:
        limit_form(req)
        return super().load_files(req, schema)

    def load_form(self, req: Request, schema: Schema) -> Any:
        return self._parameters(req, schema)

    def _parameters(self, req: Request, schema: Schema) -> Any:
        given = _given(req.args) if req.args else {}
        limit_form(req)
        if req.mimetype in FORM_TYPES:
            if next(iter(req.form), "").lstrip().startswith(("{", "[")):
                raise UnsupportedMediaType("The body looks like JSON: send it with Content-Type: application/json.")
            given |= _given(req.form)
        elif has_body(req):
            given |= read_json_object(req)
        return given

    def pre_load(self, location_data: Any, *, schema: Schema, req: Request, location: str) -> Any:
        """Check `user_id` before the schema does. Every endpoint reads its parameters here, so none can omit this."""
        if "user_id" in schema.fields:
            fill_in_own_user_id(location_data)
        return location_data

    def handle_error(self, error: ValidationError, *args: Any, **kwargs: Any) -> NoReturn:
        location, problems = next(iter(error.normalized_messages().items()))
        raise ValidationFailed(" ".join(describe_problems(problems)[:MAX_PROBLEMS]))


def has_body(req: Request) -> bool:
    """Whether the request has a body."""
    return bool(req.content_length) or "chunked" in req.headers.get("Transfer-Encoding", "")


def _given(values: MultiDict[str, str]) -> dict[str, Any]:
    """Parameters of a query string or form. An empty one counts as left out; a repeated one becomes a list."""
    given = {name: [text for text in texts if text != ""] for name, texts in values.lists()}
    return {name: texts[0] if len(texts) == 1 else texts for name, texts in given.items() if texts}


def read_json_object(req: Request) -> dict[str, Any]:
    """The body of a request, which must be a JSON object.

    :returns: the object; an empty one if the body is empty
    :raises RequestEntityTooLarge: the body is larger than MAX_JSON_MB
    :raises UnsupportedMediaType: its Content-Type is not JSON
    :raises ValidationFailed: it is not valid JSON, or not an object
    """
    body = req.get_data()
    if len(body) == req.max_content_length:  # werkzeug cuts a chunked body off at the limit without an error.
        raise RequestEntityTooLarge
    if not body:
        return {}
    if not req.is_json:
        raise UnsupportedMediaType("The body must be JSON, sent with Content-Type: application/json.")
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ValidationFailed(f"The body is not valid JSON: {error}.") from None
    if not isinstance(decoded, dict):
        raise ValidationFailed('The body must be a JSON object, such as {"kb_id": "…"}.')
    return decoded


def limit_form(req: Request) -> None:
    """Limit an urlencoded form to MAX_FORM_BYTES."""
    if req.mimetype == FORM_TYPES[0]:
        req.max_content_length = min(MAX_FORM_BYTES, req.max_content_length or MAX_FORM_BYTES)


@contextmanager
def body_in_time(req: Request) -> Iterator[None]:
    """Stop waiting for a body that arrives too slowly. Without gunicorn, as in tests, there is no limit.

    :raises RequestTimeout: the body has not arrived within BODY_S seconds
    """
    connection = req.environ.get("gunicorn.socket")
    if connection is None:
        yield
        return
    with deadlines.limit(connection, BODY_S) as deadline:
        try:
            yield
        finally:
            if deadline.has_passed:
                raise RequestTimeout("The body did not come in time.")


def path_id(name: str, text: str) -> str:
    """An id from a path, as Dify writes it: lower case, with dashes.

    A converter of the route would answer 404 without a reason, so ids in paths are checked here.

    :param name: the parameter's name, for the error message
    :raises ValidationFailed: it is not a UUID
    """
    try:
        return _PATH_ID.deserialize(text)
    except ValidationError as error:
        raise ValidationFailed(" ".join(describe_problems(error.messages, name))) from None
