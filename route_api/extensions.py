"""The Flask extensions, and the :class:`Components` of an application. `create_app` configures both.

The extensions are created here without an application, so that every module can import them.
"""

from threading import RLock
from time import sleep
from typing import TYPE_CHECKING, Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin, resolver
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from flask import Flask, current_app
from flask_cors import CORS
from flask_migrate import Migrate
from flask_smorest import Api, Blueprint
from flask_sqlalchemy import SQLAlchemy
from marshmallow import Schema, fields
from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase
from werkzeug.local import LocalProxy

from .envelope import Failure
from .openapi.document import BEARER_AUTH, DIFY_REFUSAL, error_examples

if TYPE_CHECKING:
    from .dify import Dify

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
"""Gives every constraint a name. A migration can drop only constraints that have a name."""


class Base(DeclarativeBase):
    """The base class of the tables in `storage/models.py`."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)


class FieldConverter(OpenAPIConverter):
    """apispec's description of a field, without a default that only says that a parameter was left out."""

    def field2default(self, field: fields.Field[Any], **options: Any) -> dict[str, Any]:
        """The default of a field."""
        described: dict[str, Any] = super().field2default(field, **options)
        return {} if described.get("default") is None else described


class SchemaPlugin(MarshmallowPlugin):
    """apispec's plugin for the schemas of marshmallow."""

    Converter = FieldConverter


def schema_name(schema: type[Schema]) -> str:
    """The name of a schema among the components of the document; empty if it is described where it is used.

    The latter holds for parameters: openapi-typescript takes a property with a default for a required one, but not in
    the description of a request.
    """
    return "" if getattr(schema, "has_parameters", False) else resolver(schema)


class EnvelopeApi(Api):
    """flask-smorest, without its own error handlers and without its documentation of errors and of pagination.

    It describes the blueprints when somebody reads :attr:`spec`, not when they are registered: this takes longer than
    everything else that an application does at its start.
    """

    DEFAULT_ERROR_RESPONSE_NAME = None

    def init_app(self, app: Flask, **options: Any) -> None:
        self._undescribed: list[Blueprint] = []
        self._describing = RLock()
        super().init_app(app, **options)

    def register_blueprint(self, blp: Blueprint, **options: Any) -> None:
        """Register a blueprint in the application, and remember that :attr:`spec` does not describe it yet."""
        self._app.extensions["flask-smorest"]["blp_name_to_api"][blp.name] = self
        self._app.register_blueprint(blp, **options)
        self._undescribed.append(blp)

    @property
    def spec(self) -> APISpec:
        """The OpenAPI document, with all registered blueprints."""
        with self._describing:
            while self._undescribed:
                blp = self._undescribed.pop(0)
                blp.register_views_in_doc(self, self._app, self._spec, name=blp.name, parameters=None)
                self._spec.tag({"name": blp.name, "description": blp.description})
                sleep(0)  # A blueprint takes up to 40 ms, and other requests should not wait for all of them.
        return self._spec

    @spec.setter
    def spec(self, spec: APISpec) -> None:
        self._spec = spec

    def _register_responses(self) -> None:
        """Do nothing: `views/blueprint.py` documents the errors of each route."""

    def _register_pagination_header(self) -> None:
        """Do nothing: the answers of lists have `total` in their body."""

    def _init_spec(self, **options: Any) -> None:
        super()._init_spec(**options, marshmallow_plugin=SchemaPlugin(schema_name_resolver=schema_name))
        self.spec.components.schema("Failure", schema=Failure)
        self.spec.components.schema("DifyRefusal", DIFY_REFUSAL)
        self.spec.components.security_scheme("bearerAuth", BEARER_AUTH)
        for code, example in error_examples().items():
            self.spec.components.example(code, example)

    def _register_error_handlers(self) -> None:
        """Do nothing: `envelope.register_error_handlers` registers ours."""


api = EnvelopeApi()
cors = CORS()
db = SQLAlchemy(model_class=Base)
migrate = Migrate()


def component(name: str) -> Any:
    """A proxy for an object that `create_app` makes once for an application, and that all its requests share.

    :param name: a field of :class:`route_api.app.Components`; the module that has the object's class makes its proxy
    """
    return LocalProxy(lambda: getattr(current_app.extensions["route_api"], name))


dify: "Dify" = component("dify")
"""The Dify client of the current application."""
