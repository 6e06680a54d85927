"""A database of each kind: always SQLite; PostgreSQL and MariaDB if they run on this machine.

A test module imports a fixture by assignment, such as `engine = databases.engine`, and also the fixtures that it
depends on.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import flask_migrate
import pytest
import redis
from flask import Flask
from sqlalchemy import Engine, create_engine, delete, inspect, text
from sqlalchemy.exc import OperationalError

from config import Config
from route_api.app import create_app
from route_api.extensions import db
from route_api.storage.models import ConsoleRefusal, Conversation, Message, User

from .settings import OPEN

SERVERS = {"postgresql": "postgresql://postgres@127.0.0.1:5432", "mysql": "mysql://root@127.0.0.1:3306"}
NAME = f"route_api_test_{os.getpid()}"


def absent(reason: str) -> NoReturn:
    """Skip the test, because a server or program is missing. With REQUIRE_SERVERS=1 the test fails."""
    if os.environ.get("REQUIRE_SERVERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def admin_engine(server: str) -> Engine:
    """An engine that can create and drop databases on the server."""
    home = {"postgresql": "postgres", "mysql": "mysql"}[server]
    uri = Config.load(DATABASE_URL=f"{SERVERS[server]}/{home}").database_uri
    return create_engine(uri, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 2})


@contextmanager
def fresh_database(server: str, name: str) -> Iterator[str]:
    """The URL of a new empty database, which is dropped at the end of the block."""
    admin = admin_engine(server)
    try:
        admin.connect().close()
    except OperationalError as error:
        absent(f"no {server} server at {SERVERS[server]}: {error.orig}")
    drop = f"DROP DATABASE IF EXISTS {name}" + (" WITH (FORCE)" if server == "postgresql" else "")
    with admin.connect() as connection:
        connection.execute(text(drop))
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield f"{SERVERS[server]}/{name}"
    with admin.connect() as connection:
        connection.execute(text(drop))
    admin.dispose()


def empty_redis(address: str) -> str:
    """Empty a Redis database and return its URL."""
    server = redis.Redis.from_url(address, socket_connect_timeout=2)
    try:
        server.flushdb()
    except redis.RedisError as error:
        absent(f"no Redis server at {address}: {error}")
    server.close()
    return address


@pytest.fixture(scope="module", params=["sqlite", *(pytest.param(name, marks=pytest.mark.server) for name in SERVERS)])
def database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a new database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('database') / 'test.sqlite3'}"
        return
    with fresh_database(request.param, NAME) as url:
        yield url


@pytest.fixture(scope="module")
def migrated(database_url: str) -> Iterator[Flask]:
    """An application on that database, with the tables that the migrations make."""
    app = create_app(Config.load(DATABASE_URL=database_url, **OPEN))
    with app.app_context():
        flask_migrate.upgrade()
    yield app
    with app.app_context():
        flask_migrate.downgrade(revision="base")
        assert inspect(db.engine).get_table_names() == ["alembic_version"]
        db.engine.dispose()


@pytest.fixture
def engine(migrated: Flask) -> Iterator[Engine]:
    """The engine that the gateway itself uses, on empty tables."""
    with migrated.app_context():
        engine = db.engine
    with engine.begin() as connection:
        for table in (ConsoleRefusal, Message, Conversation, User):
            connection.execute(delete(table))
    yield engine
