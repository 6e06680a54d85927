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

SHORTEST_KEY = 16
"""Characters of a key that somebody could try to guess."""

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


def long(value: str) -> None:
    """Nothing that could be guessed: a key is random, and long."""
    if len(value) < SHORTEST_KEY:
        raise ValidationError(
            f"must have {SHORTEST_KEY} characters or more;"
            " `python -c 'import secrets; print(secrets.token_urlsafe(32))'` makes one"
        )


def long_keys(values: list[str]) -> None:
    """Several of them."""
    for value in values:
        long(value)


def cors_origins(values: list[str]) -> None:
    """Origins as browsers send them: compared letter by letter, so that a path or a pattern would never match."""
    for value in values:
        parts = urlsplit(value)
        if value != "*" and (
            not parts.hostname or value != f"{parts.scheme}://{parts.netloc}" or set(value) & set("*?")
        ):
            raise ValidationError("must be origins such as https://app.example.com, without a path, or *")


def limits_storage(value: str) -> None:
    """What the counters of callers can be kept in."""
    if urlsplit(value).scheme not in ("memory", "redis", "rediss"):
        raise ValidationError("must be memory:// or an address such as redis://127.0.0.1:6379/0")


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
    AUTH: str = setting(
        "",
        "`open`: anybody who reaches the port may do everything; `required`: service keys and logged-in users;"
        " empty: `open` for `make serve` with the sandbox on loopback, else `required`",
        check=validate.OneOf(["open", "required"]),
    )
    API_KEYS: list[str] = setting(
        [],
        "service keys of backends, comma-separated, several while one replaces another",
        secret=True,
        check=long_keys,
    )
    SECRET_KEY: str = setting("", "signs the tokens of logged-in users; any long random text", secret=True, check=long)
    LOGIN_LIFETIME: int = setting(
        86400, "seconds until a user must log in again", check=validate.Range(60, 365 * 86400)
    )
    REGISTRATION: str = setting(
        "closed",
        "who may register users: `closed`: service keys and the operator, `open`: everybody for themselves",
        check=validate.OneOf(["closed", "open"]),
    )
    PROXIES: int = setting(
        0, "proxies in front whose `X-Forwarded-For` is believed; 1 behind nginx", check=validate.Range(0, 10)
    )
    RATE_LIMIT: int = setting(
        1200, "requests a minute of one user, or of one address without a login; `0`: any", check=validate.Range(0)
    )
    RATE_LIMIT_SERVICE: int = setting(60000, "requests a minute of one service key; `0`: any", check=validate.Range(0))
    LIMITS_STORAGE: str = setting(
        "memory://",
        "where callers are counted: `memory://`: in each process by itself, `redis://host:6379/0`: together",
        secret=True,
        check=limits_storage,
    )
    TURNS_PER_USER: int = setting(
        10, "answers that one user may have written at once; `0`: any", check=validate.Range(0)
    )
    UPLOADS_PER_CALLER: int = setting(
        8, "uploads that one caller may have running at once; `0`: any", check=validate.Range(0)
    )
    MAX_UPLOAD_MB: int = setting(600, "megabytes of one upload request", check=validate.Range(1))
    MAX_JSON_MB: int = setting(4, "megabytes of any other request body", check=validate.Range(1, 100))
    MAX_PAGE_SIZE: int = setting(1000, "rows that one page of a list may have", check=validate.Range(1, 1000))
    MAX_QUESTION_LENGTH: int = setting(100_000, "characters of a question", check=validate.Range(1, 100_000))
    DOWNLOAD_ROOT: Path = setting(PROJECT_DIR / "var" / "downloads", "the only folder that `document/get` writes to")
    PROMPTS_FILE: Path = setting(PROJECT_DIR / "prompts.toml", "the prompt templates, which `prompt_name` chooses from")
    CORS_ORIGINS: list[str] = setting(
        [], "origins of browsers that may call, comma-separated; `*`: any", check=cors_origins
    )
    ERROR_HTTP_STATUS: int = setting(
        0, "`200`: failures keep HTTP 200, for clients that look at `code` alone", check=validate.OneOf([0, 200])
    )
    LOG_LEVEL: str = setting("INFO", "level of the log", check=validate.OneOf(["DEBUG", "INFO", "WARNING", "ERROR"]))
    LOG_FORMAT: str = setting(
        "",
        "form of the log: `json` or `text`; empty: `text` for `make serve` at a terminal, else `json`",
        check=validate.OneOf(["json", "text"]),
    )
    HOST: str = setting("127.0.0.1", "the address to listen on; `0.0.0.0` in a container")
    PORT: int = setting(8000, "the port to listen on", check=validate.Range(min=1, max=65535))
    WORKERS: int = setting(2, "gunicorn worker processes", check=validate.Range(min=1, max=64))
    WORKER_CLASS: str = setting(
        "gevent",
        "how a worker carries requests: `gevent`: in greenlets, `gthread`: in threads (see docs/deployment.md)",
        check=validate.OneOf(["gevent", "gthread"]),
    )
    THREADS: int = setting(
        500,
        "threads of a `gthread` worker; each running request and open stream takes one",
        check=validate.Range(min=1, max=1000),
    )
    STOP_GRACE: int = setting(
        30, "seconds that running answers get to end when the gateway is stopped", check=validate.Range(min=1, max=3600)
    )
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
        if too_long := [name for name in self.DIFY_APPS if len(name) > LONGEST_APP_NAME]:
            problems.append(f"DIFY_APPS: {too_long[0]} is longer than {LONGEST_APP_NAME} characters.")
        if bool(self.DIFY_EMBEDDING_MODEL) != bool(self.DIFY_EMBEDDING_PROVIDER):
            problems.append("DIFY_EMBEDDING_MODEL and DIFY_EMBEDDING_PROVIDER go together: set both or neither.")
        if problems:
            raise ConfigError("\n".join(problems))

    def missing_to_serve(self) -> list[str]:
        """What must be set before requests are taken, in words; not needed for the commands of `flask`, one of which
        finishes settings that somebody has begun to write."""
        missing = []
        if not self.DIFY_BASE_URL:
            missing.append(
                "DIFY_BASE_URL is not set. Set it and Dify's keys (`flask dify provision` writes them),"
                " or start with `make serve` for the sandbox."
            )
        else:
            for name in ("DIFY_DATASET_API_KEY", "DIFY_APP_API_KEY"):
                if not getattr(self, name):
                    missing.append(
                        f"{name} is missing: with DIFY_BASE_URL set, Dify's keys must be given"
                        " (`flask dify provision` writes them)."
                    )
        if bool(self.DIFY_CONSOLE_EMAIL) != bool(self.DIFY_CONSOLE_PASSWORD):
            missing.append("DIFY_CONSOLE_EMAIL and DIFY_CONSOLE_PASSWORD go together: set both or neither.")
        if self.AUTH != "open" and not self.API_KEYS:
            missing.append(
                "API_KEYS is not set, so nobody could call. Set it to a long random text that your backend sends as"
                " `Authorization: Bearer …` (`flask dify provision` writes one), or set AUTH=open if everybody who"
                " reaches this port may do everything."
            )
        return missing

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
