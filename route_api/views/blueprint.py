"""The class of all blueprints. It reads parameters with :class:`ParametersParser` and documents the routes."""

from collections.abc import Callable
from typing import Any, TypeVar

import flask_smorest
from marshmallow import Schema
from werkzeug.exceptions import HTTPException

from ..access.callers import Access, access_of
from ..access.idempotency import MAX_KEY_LENGTH
from ..chat.stream_events import example_events
from ..envelope import HTTP_ERROR_CODES
from ..errors import ApiError, IdempotencyKeyReused, RequestInProgress
from ..openapi.document import (
    ACCESS_WORDS,
    ANY_ERRORS,
    CALLER_ERRORS,
    FAILURE,
    INPUT_ERRORS,
    example_of,
    failure_responses,
    multipart_body,
    operation_id,
    request_body,
    with_forwarded_refusals,
)
from ..schemas.completion import EVENTS
from ..schemas.fields import ID_SCHEMA
from .parameters import PARSER

Json = dict[str, Any]
View = TypeVar("View", bound=Callable[..., Any])
Errors = type[ApiError] | type[HTTPException] | tuple["Errors", ...]


def in_path(name: str, **schema: Any) -> Json:
    """The OpenAPI description of a parameter in the path.

    :param schema: the keys of the parameter's schema; without them the parameter is an id
    """
    return {"in": "path", "name": name, "required": True, "schema": {"type": "string", **(schema or ID_SCHEMA)}}


BINARY: Json = {"type": "string", "format": "binary"}
"""The OpenAPI description of a body that is a file."""

IDEMPOTENCY_KEY: Json = {
    "in": "header",
    "name": "Idempotency-Key",
    "description": "a key of your choice, such as a UUID; a repeated request with the same key gets the same answer",
    "schema": {"type": "string", "maxLength": MAX_KEY_LENGTH},
}
"""The OpenAPI description of the header that the decorator `idempotent` reads."""


class ApiBlueprint(flask_smorest.Blueprint):
    """A blueprint of flask-smorest that uses :class:`ParametersParser` and adds more to the OpenAPI document.

    It adds examples from the view's schemas, errors from :meth:`raises`, and who may call the view, from the view's
    decorator of `access/callers.py`.
    """

    ARGUMENTS_PARSER = PARSER

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._prepare_doc_cbks = [self._document_input, self._prepare_response_doc, self._document_rest]

    def arguments(self, schema: type[Schema], **options: Any) -> Any:
        """flask-smorest's decorator, with one schema instance for all requests. Creating an instance for each request
        would take longer than loading the parameters with it."""
        return super().arguments(schema(), **options)

    def response(self, status_code: int, schema: Any = None, **options: Any) -> Any:
        """flask-smorest's decorator, with an example for the answer, built from the examples of the schema's fields."""
        if isinstance(schema, Schema):
            options.setdefault("example", example_of(schema))
        return super().response(status_code, schema, **options)

    @staticmethod
    def _make_doc_response_schema(schema: Any) -> Any:
        return type(schema) if isinstance(schema, Schema) else schema

    def streams(self, answer: Schema) -> Any:
        """Document that the view can also answer with server-sent events. The schema is that of the `data` of an event.

        :param answer: the schema of the same answer as one JSON object
        """
        return self.alt_response(
            200,
            schema={"anyOf": [*EVENTS, type(answer), FAILURE]},
            content_type="text/event-stream",
            examples=example_events(example_of(answer)),
            success=True,
        )

    @staticmethod
    def raises(*errors: Errors) -> Callable[[View], View]:
        """Name the errors of a view for the OpenAPI document. This does not change which errors the view may raise.

        :param errors: the exception classes, or tuples of them as in an `except` clause. The errors that every view may
            raise are added by :func:`possible_codes`.
        """

        def mark(view: View) -> View:
            setattr(view, "raised_codes", codes_of(errors))
            return view

        return mark

    @staticmethod
    def forwards_refusals(view: View) -> View:
        """Document that a refusal may be Dify's own answer, not in the envelope."""
        setattr(view, "forwards_refusals", True)
        return view

    def add_url_rule(self, rule: str, *args: Any, **options: Any) -> None:
        """flask-smorest's method, which also remembers the view, and the names of its operations."""
        super().add_url_rule(rule, *args, **options)
        path, methods = f"{self.url_prefix or ''}{rule}", options.get("methods", ["GET"])
        _, view = args
        for method, info in self._docs[self._endpoints[-1]].items():
            if method != "parameters":
                info.update(view=view, operation_id=operation_id(path, method, methods))

    @staticmethod
    def _document_input(doc: Json, info: Json, *, method: str, **_: Any) -> Json:
        """Show the parameters of a GET in the query, of a POST in the body, else at the view's `location`."""
        shown = {given["in"]: given["schema"] for given in info.get("arguments", {}).get("parameters", [])}
        if not shown:
            return doc
        if "files" in shown:
            both = (type(shown["form"]), type(shown["files"]))
            return {**doc, "requestBody": multipart_body(type(f"{both[0].__name__}Form", both, {})())}
        ((location, schema),) = shown.items()
        if method == "get" or method != "post" and location == "query":
            return {**doc, "parameters": [{"in": "query", "schema": type(schema)}]}
        return {**doc, "requestBody": request_body(schema)}

    @staticmethod
    def _document_rest(doc: Json, info: Json, **_: Any) -> Json:
        view, docstring = info["view"], info["docstring"]
        access = access_of(view)
        if access in ACCESS_WORDS:
            docstring["description"] = f"{ACCESS_WORDS[access]}\n\n{docstring['description']}"
        security: Json = {"security": []} if access == Access.PUBLIC else {}
        if is_idempotent(view):
            doc = {**doc, "parameters": [*doc.get("parameters", []), IDEMPOTENCY_KEY]}
        failures = failure_responses(possible_codes(view))
        if getattr(view, "forwards_refusals", False):
            failures = with_forwarded_refusals(failures)
        responses = {**doc.get("responses", {}), **failures}
        return {"operationId": info["operation_id"], **security, **doc, "responses": responses}


def possible_codes(view: Callable[..., Any]) -> set[str]:
    """The names of all errors that a view may answer with."""
    codes = {*ANY_ERRORS, *getattr(view, "raised_codes", ())}
    described = getattr(view, "_apidoc", {})
    given = described.get("arguments", {}).get("parameters", [])
    if given or "requestBody" in described.get("manual_doc", {}) or getattr(view, "has_no_parameters", False):
        codes.update(INPUT_ERRORS)
    if is_idempotent(view):
        codes.update((IdempotencyKeyReused.code, RequestInProgress.code, "validation_failed", "database_unavailable"))
    if access_of(view) != Access.PUBLIC:
        codes.update(CALLER_ERRORS)
    return codes


def is_idempotent(view: Callable[..., Any]) -> bool:
    """Whether a view accepts the header Idempotency-Key."""
    return getattr(view, "is_idempotent", False)


def codes_of(errors: Errors) -> set[str]:
    """The names of these errors."""
    if isinstance(errors, tuple):
        return {code for error in errors for code in codes_of(error)}
    if issubclass(errors, HTTPException):
        return {HTTP_ERROR_CODES[errors.code or 500]}
    return {errors.code}
