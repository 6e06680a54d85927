"""The extensions, bare; `create_app` gives them their configuration.

Beside Flask's own, everything that is made once for an application is in one :class:`Components`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

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
    from .access.callers import Caller
    from .access.limits import ConcurrencyLimit, LoginThrottle, RequestLimit
    from .access.tokens import Tokens
    from .chat.backends import DifyCache
    from .chat.monitor import TurnMonitor
    from .dify import Dify
    from .health import HealthCheck
    from .prompts.templates import PromptTemplate

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
"""Every constraint has a name, so that a migration can drop it on any database."""


class Base(DeclarativeBase):
    """What our tables inherit from."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)


class EnvelopeApi(Api):
    """flask-smorest, which leaves errors to our envelope, and their documentation to the routes that have them."""

    DEFAULT_ERROR_RESPONSE_NAME = None

    def _register_responses(self) -> None:
        """Nothing: each route has its own."""

    def _register_pagination_header(self) -> None:
        """Nothing: the totals are in the answers."""

    def _init_spec(self, **options: Any) -> None:
        super()._init_spec(**options)
        self.spec.components.schema("Failure", schema=Failure)
        self.spec.components.security_scheme("bearerAuth", BEARER_AUTH)
        for code, example in error_examples().items():
            self.spec.components.example(code, example)

    def _register_error_handlers(self) -> None:
        """Nothing: `envelope.register_error_handlers` has done it."""


api = EnvelopeApi()
cors = CORS()
db = SQLAlchemy(model_class=Base)
migrate = Migrate()


@dataclass(slots=True)
class Components:
    """What `create_app` makes once for an application, and all of its requests share.

    :param service_keys: the callers with a service key, by the SHA-256 of the key
    :param prompt_templates: by name, in the order of the operator's file
    """

    dify: "Dify"
    dify_cache: "DifyCache"
    prompt_templates: "dict[str, PromptTemplate]"
    service_keys: "dict[bytes, Caller]"
    tokens: "Tokens"
    request_limit: "RequestLimit"
    login_throttle: "LoginThrottle"
    concurrency: "ConcurrencyLimit"
    turn_monitor: "TurnMonitor"
    health: "HealthCheck"


components = cast(Components, LocalProxy(lambda: current_app.extensions["route_api"]))
"""The components of the application at hand."""

dify = cast("Dify", LocalProxy(lambda: current_app.extensions["route_api"].dify))
"""The Dify client of the application at hand."""
