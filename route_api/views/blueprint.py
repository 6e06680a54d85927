"""The blueprint's part that tells the OpenAPI document about each route, reading it off the view as it stands."""

from collections.abc import Callable
from typing import Any, TypeVar

import flask_smorest
from marshmallow import Schema

from ..access.callers import CALLERS, PUBLIC, access_of
from ..chat.stream_events import example_stream
from ..errors import ApiError, Forbidden
from ..openapi.document import (
    ACCESS_WORDS,
    ANY_ERRORS,
    CALLER_ERRORS,
    INPUT_ERRORS,
    example_of,
    failure_responses,
    multipart_body,
    request_body,
)
from ..schemas.base import ID_SCHEMA

Json = dict[str, Any]
View = TypeVar("View", bound=Callable[..., Any])
Errors = type[ApiError] | tuple["Errors", ...]


def in_path(name: str, **schema: Any) -> Json:
    """A parameter in the path; an id unless the schema says otherwise."""
    return {"in": "path", "name": name, "required": True, "schema": {"type": "string", **(schema or ID_SCHEMA)}}


class DocumentedBlueprint(flask_smorest.Blueprint):
    """A blueprint of flask-smorest whose routes are documented with examples, with their errors and with who may call.

    All of it comes from the view: its schemas have the examples, `raises` its errors, `auth` has marked who may call.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._prepare_doc_cbks = [self._document_input, self._prepare_response_doc, self._document_rest]

    def response(self, status_code: int, schema: Any = None, **options: Any) -> Any:
        """As flask-smorest's, with an example, which is put together from those of the schema's fields."""
        if isinstance(schema, Schema):
            options.setdefault("example", example_of(schema))
        return super().response(status_code, schema, **options)

    @staticmethod
    def _make_doc_response_schema(schema: Any) -> Any:
        return type(schema) if isinstance(schema, Schema) else schema

    def streams(self, answer: Schema) -> Any:
        """Document that the view answers a turn as events where the caller wishes so.

        :param answer: the same answer in one piece
        """
        return self.alt_response(
            200,
            schema={"type": "string"},
            content_type="text/event-stream",
            example=example_stream(example_of(answer)),
            success=True,
        )

    @staticmethod
    def raises(*errors: Errors) -> Callable[[View], View]:
        """Document what the view may raise besides what every view may; tuples are families, as `except` has them."""

        def mark(view: View) -> View:
            setattr(view, "raised_codes", codes_of(errors))
            return view

        return mark

    def _store_endpoint_docs(self, endpoint: str, obj: Any, *args: Any, **options: Any) -> None:
        super()._store_endpoint_docs(endpoint, obj, *args, **options)
        for method, info in self._docs[endpoint].items():
            if method != "parameters":
                info.update(view=obj, operation_id=f"{endpoint}_{method}")

    @staticmethod
    def _document_input(doc: Json, info: Json, *, method: str, **_: Any) -> Json:
        """Where parameters are shown: of a GET in the query, of a POST in the body, else where the view has them."""
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
        security: Json = {"security": []} if access == PUBLIC else {}
        responses = {**doc.get("responses", {}), **failure_responses(possible_codes(view))}
        return {"operationId": info["operation_id"], **doc, **security, "responses": responses}


def possible_codes(view: Callable[..., Any]) -> set[str]:
    """The stable names of the errors that a view may answer."""
    codes = {*ANY_ERRORS, *getattr(view, "raised_codes", ())}
    given = getattr(view, "_apidoc", {}).get("arguments", {}).get("parameters", [])
    if given:
        codes.update(INPUT_ERRORS)
    access = access_of(view)
    if access != PUBLIC:
        codes.update(CALLER_ERRORS)
    if access not in (PUBLIC, CALLERS) or any("user_id" in schema["schema"].fields for schema in given):
        codes.add(Forbidden.code)
    return codes


def codes_of(errors: Errors) -> set[str]:
    """The stable names of errors."""
    if isinstance(errors, tuple):
        return {code for error in errors for code in codes_of(error)}
    return {errors.code}
