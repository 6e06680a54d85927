"""The blueprint that every resource is made of: where parameters are read, and what a wrong one gets."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, cast

import orjson
from flask import Request, current_app, request
from marshmallow import Schema, ValidationError
from webargs.flaskparser import FlaskParser
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout, UnsupportedMediaType

from ..access.callers import speak_for_caller
from ..errors import ValidationFailed
from ..monitoring.deadlines import deadlines
from ..schemas.base import Id, describe_problems
from .blueprint import DocumentedBlueprint

_PATH_ID = Id()
FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")

MEGABYTE = 1024 * 1024

MOST_PROBLEMS = 10
"""Sentences in the answer to one request: every id of a list may be wrong."""

LONGEST_FORM = 500_000
"""Bytes of an urlencoded form, as werkzeug has it for the fields of a multipart form: it is parsed in one go, and 50 MB
of it would hold up everybody else for 14 seconds."""

BODY_S = 60.0
"""Seconds that a body which is not an upload may take to come. gunicorn would wait for ever; nginx has a limit too."""


class ParametersParser(FlaskParser):
    """Reads the parameters of a request wherever its client put them: query string, JSON object or form.

    The API document and RAGFlow's clients disagree about verbs, so a parameter is found in the query of a GET as well
    as in the JSON of a POST. The location that a view names only says where the OpenAPI document shows it for verbs
    other than GET and POST. Where one name comes twice, the body wins.
    """

    DEFAULT_VALIDATION_STATUS = 400

    def get_default_request(self) -> Request:
        """The request itself: each look through Flask's proxy for it costs its own."""
        return cast(Request, request._get_current_object())  # type: ignore[attr-defined]

    def load_querystring(self, req: Request, schema: Schema) -> Any:
        return self.load_json(req, schema)

    def load_json(self, req: Request, schema: Schema) -> Any:
        """MAX_JSON_MB holds for all but uploads: such a body is in memory."""
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
        if "user_id" in schema.fields:
            speak_for_caller(given)
        return given

    def handle_error(self, error: ValidationError, *args: Any, **kwargs: Any) -> NoReturn:
        location, problems = next(iter(error.normalized_messages().items()))
        raise ValidationFailed(" ".join(describe_problems(problems)[:MOST_PROBLEMS]))


def has_body(req: Request) -> bool:
    """Whether the request brings a body at all."""
    return bool(req.content_length) or "chunked" in req.headers.get("Transfer-Encoding", "")


def _given(values: MultiDict[str, str]) -> dict[str, Any]:
    """Parameters of a query or form: an empty one is one that was not given, a repeated one is a list."""
    given = {name: [text for text in texts if text != ""] for name, texts in values.lists()}
    return {name: texts[0] if len(texts) == 1 else texts for name, texts in given.items() if texts}


def read_json_object(req: Request) -> dict[str, Any]:
    """The body of a request, which must be a JSON object.

    :raises RequestEntityTooLarge: it is longer than anything that we take
    :raises UnsupportedMediaType: it does not say that it is JSON
    :raises ValidationFailed: it is no JSON, or no object
    """
    body = req.get_data()
    if len(body) == req.max_content_length:  # Of a body that comes in chunks werkzeug gives that much, and no error.
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
    """Hold a form without files to LONGEST_FORM."""
    if req.mimetype == FORM_TYPES[0]:
        req.max_content_length = min(LONGEST_FORM, req.max_content_length or LONGEST_FORM)


@contextmanager
def body_in_time(req: Request) -> Iterator[None]:
    """Give up on a caller who sends a body too slowly. Without gunicorn, as in tests, there is no limit.

    :raises RequestTimeout: the body has not come within BODY_S
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
    """An id out of a path, in Dify's form.

    :raises ValidationFailed: it is no UUID; the router would make that a 404, which says less
    """
    try:
        return _PATH_ID.deserialize(text)
    except ValidationError as error:
        raise ValidationFailed(" ".join(describe_problems(error.messages, name))) from None


class ResourceBlueprint(DocumentedBlueprint):
    """A documented blueprint whose parameters come from anywhere and whose errors are in the envelope."""

    ARGUMENTS_PARSER = ParametersParser()

    def arguments(self, schema: type[Schema], **options: Any) -> Any:
        """As flask-smorest's, with one instance of the schema for all requests: making one costs more than using it."""
        return super().arguments(schema(), **options)
