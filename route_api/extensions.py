"""The Flask extensions, and the :class:`Components` of an application. `create_app` configures both.

The extensions are created here without an application, so that every module can import them.
"""

from typing import TYPE_CHECKING, Any

from flask import current_app
from flask_cors import CORS
from flask_migrate import Migrate
from flask_smorest import Api
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase
from werkzeug.local import LocalProxy

from .envelope import Failure
from .openapi.document import BEARER_AUTH, error_examples

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


class EnvelopeApi(Api):
    """flask-smorest, without its own error handlers and without its documentation of errors and of pagination."""

    DEFAULT_ERROR_RESPONSE_NAME = None

    def _register_responses(self) -> None:
        """Do nothing: `views/blueprint.py` documents the errors of each route."""

    def _register_pagination_header(self) -> None:
        """Do nothing: the answers of lists have `total` in their body."""

    def _init_spec(self, **options: Any) -> None:
        super()._init_spec(**options)
        self.spec.components.schema("Failure", schema=Failure)
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
