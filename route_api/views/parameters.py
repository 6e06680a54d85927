"""Reads the parameters of a request from its query string, its body and its path."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from math import inf
from typing import Any, NoReturn, TypeVar, cast

from flask import Request, Response, current_app, request
from marshmallow import Schema, ValidationError
from webargs.flaskparser import FlaskParser
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout, UnsupportedMediaType

from ..access.callers import fill_in_own_user_id
from ..access.cross_origin import WARNINGS_HEADER
from ..envelope import said
from ..errors import ValidationFailed
from ..languages import Sentence, joined, shown
from ..monitoring import tracing
from ..monitoring.deadlines import deadlines
from ..schemas.base import Parameters, describe_problems
from ..schemas.fields import Id
from ..schemas.unused import report
from .brackets import unfold
from .decoding import charset_of, read_fields, read_form, read_json, read_query
from .unread_parameters import differ, report_unknown, report_unused_values

Json = dict[str, Any]
View = TypeVar("View", bound=Callable[..., Any])

_PATH_ID = Id()
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

MEGABYTE = 1024 * 1024

MAX_PROBLEMS = 10
"""The maximum number of sentences in one error message. A long list of wrong ids has one problem for each id."""

MAX_FORM_BYTES = 500_000
"""The maximum size of an urlencoded form. werkzeug parses such a form without a pause, and a form of 50 MB would block
all other requests of the process for 14 seconds. werkzeug itself limits the fields of a multipart form to this size."""

MAX_HEADER_BYTES = 2000
"""The maximum length of the header with the warnings. nginx takes 4096 bytes for all headers of an answer."""

NO_PARAMETERS = Parameters()

BODY_TIMEOUT_S = 60.0
"""Seconds within which a whole body must arrive, unless it is an upload. gunicorn has no such limit. nginx only limits
the time between two reads. The limits of `monitoring/deadlines.py` apply to every body."""


class ParametersParser(FlaskParser):
    """Reads the parameters of a request from its query string and from its body, which is a JSON object or a form.

    The API document and RAGFlow's clients use different HTTP methods for the same endpoint, so every method accepts
    parameters in the query string and in the body. If a name is in both, the value in the body is used. What the values
    mean does not depend on the place (`schemas/fields.py`).

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
        require_uncompressed(req)
        if has_body(req) and req.mimetype != MULTIPART:
            raise UnsupportedMediaType(
                Sentence(
                    "Files must come in a body with Content-Type: {multipart}; the body has '{mimetype}'.",
                    multipart=MULTIPART,
                    mimetype=shown(req.mimetype),
                )
            )
        with limit_body_time(req):
            given: dict[str, list[FileStorage]] = {}
            for name, files in req.files.lists():  # PHP's clients write file[] or file[0] for file.
                given.setdefault((name or "").partition("[")[0], []).extend(files)
            for name in schema.fields:
                # A form that has a field for a file and no file, as on /docs, sends an empty text: it is not given.
                if name not in given and any(text.strip() for text in req.form.getlist(name)):
                    raise ValidationFailed(
                        Sentence(
                            "{name} was sent as a text field. The part needs a file name, as in the header"
                            ' Content-Disposition: form-data; name="{name}"; filename="report.pdf".',
                            name=name,
                        )
                    )
            report_unknown(given, cast(Parameters, schema))
            return given

    def load_form(self, req: Request, schema: Schema) -> Any:
        with limit_body_time(req):
            return self._parameters(req, schema, reads_files=True)

    def _parameters(self, req: Request, schema: Schema, *, reads_files: bool = False) -> Any:
        """The parameters of a request, as its schema loads them.

        :param reads_files: whether :meth:`load_files` reads the files. Otherwise a file is no parameter that is known
        """
        query = unfold(read_query(req.query_string)) if req.query_string else {}
        if not has_body(req):
            given = query
        else:
            body = unfold(read_body(req))
            if req.mimetype == MULTIPART and not reads_files:
                body |= {name: file for name, file in req.files.items() if name}
            given = merge(query, body, cast(Parameters, schema)) if query else body
        report_unknown(given, cast(Parameters, schema))
        report_unused_values(given, cast(Parameters, schema))
        return given

    def pre_load(self, location_data: Any, *, schema: Schema, **_: Any) -> Any:
        """Check `user_id` before the schema checks it. webargs calls this for each schema, so no view can omit it."""
        if "user_id" in schema.fields:
            if cast(Parameters, schema).is_nothing("user_id", location_data.get("user_id")):
                location_data.pop("user_id", None)
            fill_in_own_user_id(location_data)
        return location_data

    def handle_error(self, error: ValidationError, *args: Any, **kwargs: Any) -> NoReturn:
        location, problems = next(iter(error.normalized_messages().items()))
        raise ValidationFailed(joined(describe_problems(problems)[:MAX_PROBLEMS]))


PARSER = ParametersParser()


def has_body(req: Request) -> bool:
    """Whether the request has a body."""
    return bool(req.content_length) or "chunked" in req.headers.get("Transfer-Encoding", "")


def merge(query: Json, body: Json, schema: Parameters) -> Json:
    """The parameters of the query string and of the body. If a name is in both, the body wins, unless its value means
    that the parameter is not given: RAGFlow's UI sends its pages in the query string and an empty object as the body.

    :raises ValidationFailed: the two values differ, and UNKNOWN_PARAMETERS is `refuse`
    """
    given = query | body
    unused = []
    for name in query.keys() & body.keys():
        if schema.is_nothing(name, body[name]):
            given[name] = query[name]
        elif not schema.is_nothing(name, query[name]) and differ(query[name], body[name]):
            unused.append(
                Sentence(
                    "{name}: it is in the query string and in the body; the value in the body was used.", name=name
                )
            )
    report(unused)
    return given


def read_body(req: Request) -> Json:
    """The parameters in the body of a request, which is a form or a JSON object.

    :returns: an empty object if the body is empty
    :raises RequestEntityTooLarge: the body is larger than MAX_JSON_MB or MAX_FORM_BYTES, or has exactly this size
    :raises UnsupportedMediaType: the body is compressed, or its Content-Type is neither JSON nor that of a form
    :raises ValidationFailed: the body cannot be decoded, is not valid JSON, or is not an object
    """
    require_uncompressed(req)
    limit_form(req)
    if req.mimetype == MULTIPART:
        return read_fields(req.form)
    body = req.get_data()
    if len(body) == req.max_content_length:  # werkzeug cuts off a chunked body at the limit and raises no error.
        raise RequestEntityTooLarge
    if not body:
        return {}
    if req.mimetype == URLENCODED:
        if body.lstrip().startswith((b"{", b"[")):
            raise UnsupportedMediaType(
                Sentence("The body looks like JSON: send it with Content-Type: application/json.")
            )
        return read_form(body, charset_of(req))
    if not req.is_json:
        raise UnsupportedMediaType(Sentence("The body must be JSON, sent with Content-Type: application/json."))
    return read_json(body, charset_of(req))


def require_uncompressed(req: Request) -> None:
    """
    :raises UnsupportedMediaType: the client has compressed the body. Nothing here decompresses it: a small body could
        become one of many gigabytes
    """
    if (encoding := req.headers.get("Content-Encoding", "identity").strip().lower()) not in ("", "identity"):
        raise UnsupportedMediaType(
            Sentence(
                "The body is compressed (Content-Encoding: {encoding}), and this server reads none that is. Send it"
                " uncompressed.",
                encoding=shown(encoding),
            )
        )


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
                raise RequestTimeout(Sentence("The body did not come in time."))


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
        raise ValidationFailed(joined(describe_problems(error.messages, name))) from None


def without_parameters(*, reads_body: bool = True) -> Callable[[View], View]:
    """For a view that has no parameters: tell the caller about those that the request has.

    :param reads_body: False if the view itself reads the body, so that only the query string is looked at
    """

    def mark(view: View) -> View:
        @wraps(view)
        def without_any(*args: Any, **kwargs: Any) -> Any:
            req = cast(Request, request._get_current_object())  # type: ignore[attr-defined]
            if reads_body:
                PARSER.load_json(req, NO_PARAMETERS)
            elif req.query_string:
                report_unknown(unfold(read_query(req.query_string)), NO_PARAMETERS)
            return view(*args, **kwargs)

        without_any.has_no_parameters = True  # type: ignore[attr-defined]
        return cast(View, without_any)

    return mark


def warns_in_header(view: View) -> View:
    """For a view whose answer is no envelope, but a file or Dify's own answer: put the warnings into a header.

    It stands above `idempotent`, because a repeated request gets its warnings too.
    """

    @wraps(view)
    def answered(*args: Any, **kwargs: Any) -> Response:
        answer: Response = view(*args, **kwargs)
        if warnings := [said(warning) for warning in tracing.current().warnings]:
            while len(text := json.dumps(warnings)) > MAX_HEADER_BYTES and warnings:
                warnings.pop()
            answer.headers[WARNINGS_HEADER] = text
        return answer

    return cast(View, answered)
