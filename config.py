"""Every setting of Route API: its name, its type, its default and one line of meaning, each in one place.

Settings come from the environment and from a `.env` file beside this one (the environment wins). All that is wrong
with them is reported at once, in words.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import urlsplit

from environs import Env, EnvError
from marshmallow import ValidationError, validate

PROJECT_DIR = Path(__file__).resolve().parent
LONGEST_APP_NAME = 50
"""Characters; the name is remembered with each conversation that the app answers."""

DEFAULT_DATABASE_URL = f"sqlite:///{PROJECT_DIR / 'var' / 'route_api.sqlite3'}"


class ConfigError(Exception):
    """The settings cannot be used; the text names each wrong one and says what would be right."""


def setting(default: Any, meaning: str, *, check: Any = None, secret: bool = False) -> Any:
    """A field of `Config`: `check` is a marshmallow validator, `secret` keeps the value out of the repr."""
    metadata = {"meaning": meaning, "check": check, "secret": secret}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: default.copy(), metadata=metadata, repr=not secret)
    return field(default=default, metadata=metadata, repr=not secret)


def dify_address(value: str) -> None:
    """An http(s) address without a path: `/v1` and `/console/api` are added by the client."""
    parts = urlsplit(value)
    if value and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query):
        raise ValidationError("must be an address such as http://dify.example.com")
    if parts.path.rstrip("/").endswith("/v1"):
        raise ValidationError("must be Dify's address without /v1")


def pairs(value: str) -> dict[str, str]:
    """`name=key,name=key` as a dictionary; what environs has for this fails with an error of its insides."""
    parts = [part.partition("=") for part in value.split(",")]
    if not all(name.strip() and key.strip() for name, _, key in parts):
        raise ValidationError("must be pairs such as qwen3:4b=app-key, comma-separated")
    return {name.strip(): key.strip() for name, _, key in parts}


@dataclass(frozen=True, kw_only=True)
class Config:
    """The settings in force; `Config.load()` reads them."""

    DIFY_BASE_URL: str = setting("", "Dify's address, without `/v1`; empty: the embedded sandbox", check=dify_address)
    DIFY_DATASET_API_KEY: str = setting("", "a dataset key of Dify's knowledge API (`dataset-…`)", secret=True)
    DIFY_APP_API_KEY: str = setting("", "the key of the Dify chat app that answers (`app-…`)", secret=True)
    DIFY_APPS: dict[str, str] = setting({}, "further chat apps, `model name=app key`, comma-separated", secret=True)
    DIFY_CONSOLE_EMAIL: str = setting("", "a Dify account, for what its service API lacks (see the README)")
    DIFY_CONSOLE_PASSWORD: str = setting("", "the password of that account", secret=True)
    DIFY_FILES_URL: str = setting("", "Dify's own `FILES_URL`, if its files have another address", check=dify_address)
    DIFY_CONNECT_TIMEOUT: float = setting(
        5.0, "seconds to wait for a connection to Dify", check=validate.Range(min=0.1)
    )
    DIFY_READ_TIMEOUT: float = setting(30.0, "seconds to wait for Dify's answer", check=validate.Range(min=0.1))
    DIFY_CHAT_TIMEOUT: float = setting(
        300.0, "seconds that a whole blocking answer may take", check=validate.Range(min=11)
    )
    DIFY_UPLOAD_TIMEOUT: float = setting(
        300.0, "seconds to wait for the answer to an upload", check=validate.Range(min=1)
    )
    DIFY_EMBEDDING_MODEL: str = setting("", "embedding model of new knowledge bases; empty: Dify's default model")
    DIFY_EMBEDDING_PROVIDER: str = setting("", "its provider, `langgenius/ollama/ollama` for example")
    DATABASE_URL: str = setting(DEFAULT_DATABASE_URL, "SQLite, PostgreSQL or MySQL/MariaDB", secret=True)
    SECRET_KEY: str = setting("", "signs the tokens of logged-in users (not used yet)", secret=True)
    API_KEYS: list[str] = setting([], "service keys of backends, comma-separated (not used yet)", secret=True)
    AUTH: str = setting("open", "who may call: `open` is anybody who reaches the port", check=validate.OneOf(["open"]))
    DOWNLOAD_ROOT: Path = setting(PROJECT_DIR / "var" / "downloads", "the only folder that `document/get` writes to")
    PROMPTS_FILE: Path = setting(PROJECT_DIR / "prompts.toml", "the prompt templates, which `prompt_name` chooses from")
    CORS_ORIGINS: list[str] = setting([], "origins of browsers that may call, comma-separated; `*`: any")
    ERROR_HTTP_STATUS: int = setting(
        0, "`200`: failures keep HTTP 200, for clients that look at `code` alone", check=validate.OneOf([0, 200])
    )
    LOG_LEVEL: str = setting("INFO", "level of the log", check=validate.OneOf(["DEBUG", "INFO", "WARNING", "ERROR"]))
    PORT: int = setting(8000, "where `make serve` listens, on 127.0.0.1", check=validate.Range(min=1, max=65535))
    WORKERS: int = setting(2, "gunicorn worker processes", check=validate.Range(min=1, max=64))
    SANDBOX_PORT: int = setting(0, "port of the sandbox, on 127.0.0.1; `0`: a free one", check=validate.Range(0, 65535))
    SANDBOX_DATA_DIR: Path = setting(PROJECT_DIR / "var" / "sandbox", "where the sandbox keeps files and database")
    SANDBOX_LLM_URL: str = setting("", "an OpenAI-compatible server that answers in the sandbox (`…/v1`)")
    SANDBOX_LLM_MODEL: str = setting("", "the model to ask for there")

    @classmethod
    def load(cls, **overrides: Any) -> "Config":
        """Read the settings; `overrides` win over the environment (tests).

        :raises ConfigError: every wrong setting at once
        """
        env = Env(eager=False)
        env.add_parser("pairs", pairs)
        if not overrides:
            env.read_env(str(PROJECT_DIR / ".env"), recurse=False)
        values = {}
        for entry, kind in _typed_fields():
            if entry.name in overrides:
                values[entry.name] = overrides[entry.name]
            elif env.str(entry.name, "") != "":
                values[entry.name] = _read(env, entry.name, kind, entry.metadata["check"])
        try:
            env.seal()
        except EnvError as error:
            raise ConfigError(_in_words(error)) from None
        config = cls(**values)
        config._check_together()
        return config

    def _check_together(self) -> None:
        problems = []
        if self.DIFY_BASE_URL:
            for name in ("DIFY_DATASET_API_KEY", "DIFY_APP_API_KEY"):
                if not getattr(self, name):
                    problems.append(f"{name} is missing: with DIFY_BASE_URL set, Dify's keys must be given.")
        if too_long := [name for name in self.DIFY_APPS if len(name) > LONGEST_APP_NAME]:
            problems.append(f"DIFY_APPS: {too_long[0]} is longer than {LONGEST_APP_NAME} characters.")
        if bool(self.DIFY_CONSOLE_EMAIL) != bool(self.DIFY_CONSOLE_PASSWORD):
            problems.append("DIFY_CONSOLE_EMAIL and DIFY_CONSOLE_PASSWORD go together: set both or neither.")
        if bool(self.DIFY_EMBEDDING_MODEL) != bool(self.DIFY_EMBEDDING_PROVIDER):
            problems.append("DIFY_EMBEDDING_MODEL and DIFY_EMBEDDING_PROVIDER go together: set both or neither.")
        if problems:
            raise ConfigError("\n".join(problems))

    @property
    def database_uri(self) -> str:
        """`DATABASE_URL` with the drivers that we ship: psycopg 3 for PostgreSQL, PyMySQL for MySQL and MariaDB."""
        scheme, _, rest = self.DATABASE_URL.partition("://")
        driver = {
            "postgres": "postgresql+psycopg",
            "postgresql": "postgresql+psycopg",
            "mysql": "mysql+pymysql",
            "mariadb": "mysql+pymysql",
        }.get(scheme, scheme)
        uri = f"{driver}://{rest}"
        if driver == "mysql+pymysql" and "charset=" not in uri:
            uri += ("&" if "?" in uri else "?") + "charset=utf8mb4"
        return uri


def _typed_fields() -> list[tuple[Any, Any]]:
    hints = get_type_hints(Config)
    return [(entry, hints[entry.name]) for entry in fields(Config)]


def _read(env: Env, name: str, kind: Any, check: Any) -> Any:
    parsers: dict[Any, Any] = {
        str: env.str,
        int: env.int,
        float: env.float,
        Path: env.path,
        list[str]: env.list,
        dict[str, str]: env.pairs,
    }
    return parsers[kind](name, validate=check) if check else parsers[kind](name)


def _in_words(error: EnvError) -> str:
    messages = getattr(error, "error_messages", {"settings": [str(error)]})
    return "\n".join(f"{name} is wrong: {' '.join(map(str, texts))}" for name, texts in messages.items())
