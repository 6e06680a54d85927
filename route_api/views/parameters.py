"""Reads the parameters of a request from its query string, its body and its path."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
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
URLENCODED = "application/x-www-form-urlencoded"
FORM_TYPES = (URLENCODED, "multipart/form-data")

MEGABYTE = 1024 * 1024

MAX_PROBLEMS = 10
"""The maximum number of sentences in one error message. A long list of wrong ids has one problem for each id."""

MAX_FORM_BYTES = 500_000
"""The maximum size of an urlencoded form. werkzeug parses such a form without a pause, and a form of 50 MB would block
all other requests of the process for 14 seconds. werkzeug itself limits the fields of a multipart form to this size."""

BODY_TIMEOUT_S = 60.0
"""Seconds within which a whole body must arrive, unless it is an upload. gunicorn has no such limit. nginx only limits
the time between two reads. The limits of `monitoring/deadlines.py` apply to every body."""


class ParametersParser(FlaskParser):
    """Reads the parameters of a request from its query string and from its body, which is a JSON object or a form.

    The API document and RAGFlow's clients use different HTTP methods for the same endpoint, so every method accepts
    parameters in the query string and in the body. If a name is in both, the value in the body is used.

    The `location` that a view gives to `arguments` does not change where parameters are read. With `form` and `files`,
    MAX_JSON_MB and BODY_TIMEOUT_S do not apply. For methods other than GET and POST, the OpenAPI document shows the
    parameters at this place.
    """

    DEFAULT_VALIDATION_STATUS = 400

    def get_default_request(self) -> Request:
        """The request object itself, because each access through Flask's proxy `request` takes extra time."""
        return cast(Request, request._get_current_object())  # type: ignore[attr-defined]

    def load_querystring(self, req: Request, schema: Schema) -> Any:
        return self.load_json(req, schema)

    def load_json(self, req: Request, schema: Schema) -> Any:
        """Read the parameters of a request that is not an upload. MAX_JSON_MB limits the body, because it is kept
        in memory."""
        req.max_content_length = current_app.config["MAX_JSON_MB"] * MEGABYTE
        if not has_body(req):
            return self._parameters(req, schema)
        with limit_body_time(req, BODY_TIMEOUT_S):
            return self._parameters(req, schema)

    def load_files(self, req: Request, schema: Schema) -> Any:
        limit_form(req)
        with limit_body_time(req):
            for name in schema.fields:
                if name in req.form and name not in req.files:
                    raise ValidationFailed(
                        f"{name} was sent as a text field. The part needs a file name, as in the header"
                        f' Content-Disposition: form-data; name="{name}"; filename="report.pdf".'
                    )
            return super().load_files(req, schema)

    def load_form(self, req: Request, schema: Schema) -> Any:
        with limit_body_time(req):
            return self._parameters(req, schema)

    def _parameters(self, req: Request, schema: Schema) -> Any:
        given = _to_dict(req.args) if req.args else {}
        limit_form(req)
        if req.mimetype in FORM_TYPES:
            if (next(iter(req.form), None) or "").lstrip().startswith(("{", "[")):
                raise UnsupportedMediaType("The body looks like JSON: send it with Content-Type: application/json.")
            given |= _to_dict(req.form)
        elif has_body(req):
            given |= read_json_object(req)
        return given

    def pre_load(self, location_data: Any, *, schema: Schema, **_: Any) -> Any:
        """Check `user_id` before the schema checks it. webargs calls this for each schema, so no view can omit it."""
        if "user_id" in schema.fields:
            fill_in_own_user_id(location_data)
        return location_data

    def handle_error(self, error: ValidationError, *args: Any, **kwargs: Any) -> NoReturn:
        location, problems = next(iter(error.normalized_messages().items()))
        raise ValidationFailed(" ".join(describe_problems(problems)[:MAX_PROBLEMS]))


def has_body(req: Request) -> bool:
    """Whether the request has a body."""
    return bool(req.content_length) or "chunked" in req.headers.get("Transfer-Encoding", "")


def _to_dict(values: MultiDict[str, str]) -> dict[str, Any]:
    """The parameters of a query string or form. Empty values are left out; a repeated parameter becomes a list.

    werkzeug gives a part of a multipart form that has no name the name None; it is left out, too.
    """
    given = {name: [text for text in texts if text != ""] for name, texts in values.lists() if name is not None}
    return {name: texts[0] if len(texts) == 1 else texts for name, texts in given.items() if texts}


def read_json_object(req: Request) -> dict[str, Any]:
    """The body of a request, which must be a JSON object.

    :returns: the object; an empty object if the body is empty
    :raises RequestEntityTooLarge: the body is larger than MAX_JSON_MB, or has exactly this size
    :raises UnsupportedMediaType: the Content-Type is not JSON
    :raises ValidationFailed: the body is not valid JSON, or is not an object
    """
    body = req.get_data()
    if len(body) == req.max_content_length:  # werkzeug cuts off a chunked body at the limit and raises no error.
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
    if req.mimetype == URLENCODED:
        req.max_content_length = min(MAX_FORM_BYTES, req.max_content_length or MAX_FORM_BYTES)


@contextmanager
def limit_body_time(req: Request, seconds: float = inf) -> Iterator[None]:
    """Limit the time in which the body must arrive. There is no limit without gunicorn, for example in tests.

    :param seconds: for the whole body; the limits of `monitoring/deadlines.py` apply in any case
    :raises RequestTimeout: the caller has not sent the body in time
    """
    connection = req.environ.get("gunicorn.socket")
    if connection is None:
        yield
        return
    with deadlines.limit(connection, seconds) as deadline:
        try:
            yield
        finally:
            if deadline.has_passed:
                raise RequestTimeout("The body did not come in time.")


def path_id(name: str, text: str) -> str:
    """An id from a path, as Dify writes it: lower case, with dashes.

    A URL converter of Flask would answer a wrong id with 404 and no reason, so ids in paths are checked here.

    :param name: the parameter's name, for the error message
    :param text: the id from the path
    :raises ValidationFailed: the text is not a UUID
    """
    try:
        return _PATH_ID.deserialize(text)
    except ValidationError as error:
        raise ValidationFailed(" ".join(describe_problems(error.messages, name))) from None
