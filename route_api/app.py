"""Creates the WSGI application and wires its parts together. No other logic belongs here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask, Request
from flask.sessions import SessionInterface
from sqlalchemy import Engine
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from config import Config

from . import envelope
from .access import before_request, cross_origin
from .access.callers import Caller, service_keys_of
from .access.idempotency import KeyLeases
from .access.limits import ConcurrencyLimit, LoginThrottle, RequestLimit, limits_of, redis_of
from .access.tokens import Tokens
from .chat.dify_cache import DifyCache
from .chat.monitor import TurnMonitor
from .commands import register_commands
from .commands.dify_check import report
from .dify import Breaker, Dify, Transport
from .dify.breaker_state import RedisState
from .extensions import api, db, migrate
from .forms.parser import FormRequest
from .health import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, CapabilityReport, HealthCheck, health_check_of
from .knowledge.kb_counts import KbCounts
from .knowledge.name_claims import NameClaims
from .monitoring import logs, spans
from .monitoring.write_deadlines import WriteDeadlines
from .openapi.document import SPEC_OPTIONS
from .prompts.templates import PromptTemplate, load_templates
from .storage import database
from .storage.console_logins import ConsoleLoginTries
from .storage.dead_letters import DeadLetters
from .views import BLUEPRINTS

MEGABYTE = 1024 * 1024


class NoSessions(SessionInterface):
    """No session. The gateway uses no cookies, and Flask would open a signed session for every request."""

    def open_session(self, app: Flask, request: Request) -> None:
        return None


class Gateway(Flask):
    """Flask with our parser of forms, without sessions and without support for coroutines, which take time in every
    request."""

    request_class = FormRequest
    session_interface = NoSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function unchanged: Flask would check in every request whether each hook is a coroutine."""
        return func


def create_app(config: Config | None = None) -> Flask:
    """Create the WSGI application.

    :param config: the settings; None: read them from the environment
    :raises ConfigError: the settings or the prompt templates are not valid
    """
    config = config or Config.load()
    app = Gateway(__name__, static_folder=None)
    app.url_map.merge_slashes = False  # It would answer with an HTML redirect to any host that the request names.
    configure(app, config)
    logs.init_app(app, config)
    spans.init_app(config)
    before_request.init_app(app)
    cross_origin.init_app(app)
    db.init_app(app)
    database.init_app(app)
    migrate.init_app(app, db, directory=str(Path(app.root_path).parent / "migrations"))
    api.init_app(app)
    with app.app_context():
        app.extensions["route_api"] = components_of(app, config, db.engine)
    envelope.register_error_handlers(app)
    for blueprint in BLUEPRINTS:
        api.register_blueprint(blueprint)
    register_commands(app)
    if config.PROXIES:
        proxies = config.PROXIES
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies)  # type: ignore[method-assign]
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/v1": app.wsgi_app})  # type: ignore[method-assign]
    app.wsgi_app = WriteDeadlines(app.wsgi_app, config.WRITE_TIMEOUT)  # type: ignore[method-assign]
    return app


def configure(app: Flask, config: Config) -> None:
    """Put our settings, and those of the extensions, into the application's config."""
    app.config.from_object(config)
    app.config.update(
        MAX_CONTENT_LENGTH=config.MAX_UPLOAD_MB * MEGABYTE,
        SQLALCHEMY_DATABASE_URI=config.database_uri,
        SQLALCHEMY_ENGINE_OPTIONS=database.engine_options(config.database_uri),
        API_TITLE="Route API",
        API_VERSION="v1",
        OPENAPI_VERSION="3.1.0",
        API_SPEC_OPTIONS=SPEC_OPTIONS,
    )


@dataclass(slots=True)
class Components:
    """Objects that `create_app` makes once for an application and that all its requests share.

    The code reaches each of them through its proxy, which `extensions.component` makes.

    :param prompt_templates: the templates by name, in the order of the operator's file
    :param service_keys: the callers with a service key, by the SHA-256 digest of the key
    """

    dify: Dify
    dify_cache: DifyCache
    prompt_templates: dict[str, PromptTemplate]
    service_keys: dict[bytes, Caller]
    tokens: Tokens
    request_limit: RequestLimit
    login_throttle: LoginThrottle
    concurrency: ConcurrencyLimit
    key_leases: KeyLeases
    kb_counts: KbCounts
    name_claims: NameClaims
    turn_monitor: TurnMonitor
    health_check: HealthCheck
    capability_report: CapabilityReport


def components_of(app: Flask, config: Config, engine: Engine) -> Components:
    """Make the components of this application.

    :raises PromptsError: the prompt templates are not valid
    """
    request_limit, login_throttle, concurrency = limits_of(config)
    breaker = breaker_of(config)
    return Components(
        dify=dify_of(config, breaker, engine),
        dify_cache=DifyCache(),
        prompt_templates=load_templates(config.PROMPTS_FILE),
        service_keys=service_keys_of(config.API_KEYS),
        tokens=Tokens(config.SECRET_KEY, config.LOGIN_LIFETIME),
        request_limit=request_limit,
        login_throttle=login_throttle,
        concurrency=concurrency,
        key_leases=KeyLeases(engine),
        kb_counts=KbCounts(),
        name_claims=NameClaims(engine),
        turn_monitor=TurnMonitor(engine, DeadLetters(config.DEAD_LETTERS_DIR)),
        health_check=health_check_of(app, engine, config.DIFY_BASE_URL, breaker),
        capability_report=CapabilityReport(lambda: report(config, dify_of(config, None, engine))),
    )


def breaker_of(config: Config) -> Breaker:
    """The circuit breaker of this process. With a Redis, the processes tell each other that Dify is away."""
    pinging = Transport(
        config.DIFY_BASE_URL, connect_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S, pool_size=1
    )
    redis = redis_of(config)
    shared = RedisState(redis, config.DIFY_BASE_URL) if redis else None
    return Breaker(pinging.ping, max_calls=config.max_dify_calls, shared=shared)


def dify_of(config: Config, breaker: Breaker | None, engine: Engine) -> Dify:
    """The client of the Dify that the settings name.

    :param breaker: None: every call is sent
    """
    tries = ConsoleLoginTries(engine, config.DIFY_BASE_URL, config.DIFY_CONSOLE_EMAIL, config.DIFY_CONSOLE_PASSWORD)
    return Dify(
        base_url=config.DIFY_BASE_URL,
        dataset_api_key=config.DIFY_DATASET_API_KEY,
        app_api_key=config.DIFY_APP_API_KEY,
        apps=config.DIFY_APPS,
        app_ids=config.DIFY_APP_IDS,
        console_email=config.DIFY_CONSOLE_EMAIL,
        console_password=config.DIFY_CONSOLE_PASSWORD,
        files_url=config.DIFY_FILES_URL or None,
        connect_timeout=config.DIFY_CONNECT_TIMEOUT,
        read_timeout=config.DIFY_READ_TIMEOUT,
        chat_timeout=config.DIFY_CHAT_TIMEOUT,
        upload_timeout=config.DIFY_UPLOAD_TIMEOUT,
        pool_size=config.max_dify_calls,
        breaker=breaker,
        login_tries=tries,
        max_answer_size=config.DIFY_MAX_ANSWER_MB * MEGABYTE,
        event_timeout=config.DIFY_EVENT_TIMEOUT,
    )
