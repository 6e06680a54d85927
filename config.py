"""Every setting of Route API: its name, its type, its default and its meaning in one line.

The settings are read from the environment and from the file `.env` in the folder of this file; the environment wins.
All wrong settings are reported together.
"""

import re
import socket
from dataclasses import dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from ipaddress import ip_address
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import SplitResult, urlsplit

from dotenv import dotenv_values
from environs import Env, EnvError
from marshmallow import ValidationError, validate

PROJECT_DIR = Path(__file__).resolve().parent
LONGEST_APP_NAME = 50
"""Maximum number of characters. The name is stored with each conversation that the app answers."""

SHORTEST_KEY = 16
"""Minimum number of characters of a key. A shorter key could be guessed."""

APP_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

OTLP_PACKAGE = "opentelemetry-exporter-otlp-proto-http"

DATABASES = ("sqlite", "postgres", "postgresql", "mysql", "mariadb")
"""The schemes of DATABASE_URL. A driver may follow, as in `postgresql+psycopg`."""

DEFAULT_DATABASE_URL = f"sqlite:///{PROJECT_DIR / 'var' / 'route_api.sqlite3'}"


class ConfigError(Exception):
    """The settings cannot be used. The text names each wrong setting and the correct form."""


def setting(default: Any, meaning: str, *, check: Any = None, secret: bool = False) -> Any:
    """A field of `Config`.

    :param meaning: one line; the table in the README repeats it
    :param check: a marshmallow validator of the value
    :param secret: keep the value out of the repr and out of the log
    """
    metadata = {"meaning": meaning, "check": check, "secret": secret}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: default.copy(), metadata=metadata, repr=not secret)
    return field(default=default, metadata=metadata, repr=not secret)


def split_address(value: str, wrong: str) -> SplitResult:
    """Split an address into its parts.

    :param wrong: the message if the value is no address
    :raises ValidationError: the port is no number, or a bracket is missing
    """
    try:
        parts = urlsplit(value)
        _ = parts.port  # urllib checks the port only now.
    except ValueError:
        raise ValidationError(wrong) from None
    return parts


def http_address(value: str, wrong: str) -> SplitResult:
    """Split an http(s) address without a query, or an empty text.

    :param wrong: the message if the value is something else
    :raises ValidationError: the value is something else
    """
    parts = split_address(value, wrong)
    if value and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query):
        raise ValidationError(wrong)
    return parts


def dify_address(value: str) -> None:
    """Accept an http(s) address without `/v1`: the client appends `/v1` or `/console/api`.

    :raises ValidationError: the value is something else
    """
    parts = http_address(value, "must be an address such as http://dify.example.com")
    if parts.path.rstrip("/").endswith("/v1"):
        raise ValidationError("must be Dify's address without /v1")


def collector_address(value: str) -> None:
    """Accept an http(s) address, to which `/v1/traces` will be appended.

    :raises ValidationError: the value is something else, or the packages for traces are not installed
    """
    http_address(value, "must be an address such as http://127.0.0.1:4318")
    try:
        if value:
            version(OTLP_PACKAGE)  # Imports nothing of it.
    except PackageNotFoundError:
        raise ValidationError("needs further packages: `pip install -r requirements-traces.txt`") from None


def pairs(value: str) -> dict[str, str]:
    """Parse `name=key,name=key`. environs' own parser of dictionaries raises an internal error for a wrong value.

    :returns: the keys by name
    :raises ValidationError: a pair lacks its name or its key
    """
    parts = [part.partition("=") for part in value.split(",")]
    if not all(name.strip() and key.strip() for name, _, key in parts):
        raise ValidationError("must be pairs such as qwen3:4b=app-key, comma-separated")
    return {name.strip(): key.strip() for name, _, key in parts}


def long(value: str) -> None:
    """Accept a key of SHORTEST_KEY characters or more.

    :raises ValidationError: the key is shorter
    """
    if len(value) < SHORTEST_KEY:
        raise ValidationError(
            f"must have {SHORTEST_KEY} characters or more;"
            " `python -c 'import secrets; print(secrets.token_urlsafe(32))'` makes one"
        )


def long_keys(values: list[str]) -> None:
    """Accept a list of keys of SHORTEST_KEY characters or more.

    :raises ValidationError: a key is shorter
    """
    for value in values:
        long(value)


def cors_origins(values: list[str]) -> None:
    """Accept origins in the form in which browsers send them, or `*`.

    Origins are compared as texts, so an entry with a path or a pattern would never match.

    :raises ValidationError: an entry is something else
    """
    wrong = "must be origins such as https://app.example.com, without a path, or *"
    for value in values:
        parts = split_address(value, wrong)
        if value != "*" and (
            not parts.hostname or value != f"{parts.scheme}://{parts.netloc}" or set(value) & set("*?")
        ):
            raise ValidationError(wrong)


def host_names(values: list[str]) -> None:
    """Accept names and IP addresses in the form in which the header Host has them, but without a port; or `*`.

    :raises ValidationError: an entry is something else
    """
    for value in values:
        name = value.removeprefix("[").removesuffix("]") if value.startswith("[") else value
        if value != "*" and not re.fullmatch(r"[\w.-]+|[\da-fA-F]*:[\da-fA-F]*:[\da-fA-F:]*", name):
            raise ValidationError("must be host names such as api.example.com, without http:// and port, or *")


def listening_host(value: str) -> None:
    """Accept an IP address, with or without brackets, or a name such as localhost.

    :raises ValidationError: it is something else
    """
    try:
        ip_address(value.removeprefix("[").removesuffix("]"))
    except ValueError:
        if not re.fullmatch(r"[A-Za-z0-9_]([\w.-]*[A-Za-z0-9_])?\.?", value) or value.replace(".", "").isdecimal():
            wrong = (
                "must be an IP address such as 127.0.0.1 or ::1, or a name such as localhost, without http:// and port"
            )
            raise ValidationError(wrong) from None


def database_url(value: str) -> None:
    """Accept an address of a database that we have a driver for.

    :raises ValidationError: it is something else. The message does not repeat it, because it may have a password
    """
    scheme, separator, rest = value.partition("://")
    host = re.split("[/?]", rest)[0].rpartition("@")[2]
    port = host.rpartition("]")[2].partition(":")[2]
    if scheme.partition("+")[0] not in DATABASES or not separator or not re.fullmatch(r"\d*", port):
        raise ValidationError(
            "must be an address such as sqlite:////srv/data.sqlite3, postgresql://user:password@host/name or"
            " mysql://user:password@host/name"
        )
    charset = re.search("[?&]charset=([^&]*)", rest)
    if charset and charset[1].lower() != "utf8mb4":
        raise ValidationError(f"has charset={charset[1]}, which lacks characters that users write: leave it out")


def limits_storage(value: str) -> None:
    """Accept an address at which the counters of requests can be kept.

    :raises ValidationError: it is neither memory:// nor the address of a Redis
    """
    wrong = "must be memory:// or an address such as redis://127.0.0.1:6379/0"
    if split_address(value, wrong).scheme not in ("memory", "redis", "rediss"):
        raise ValidationError(wrong)


@dataclass(frozen=True, kw_only=True)
class Config:
    """The settings in force; `Config.load()` reads them."""

    DIFY_BASE_URL: str = setting("", "Dify's address, without `/v1`; empty: the embedded sandbox", check=dify_address)
    DIFY_DATASET_API_KEY: str = setting("", "a dataset key of Dify's knowledge API (`dataset-…`)", secret=True)
    DIFY_APP_API_KEY: str = setting("", "the key of the Dify chat app that answers (`app-…`)", secret=True)
    DIFY_APPS: dict[str, str] = setting({}, "more chat apps, as `model name=app key`, comma-separated", secret=True)
    DIFY_APP_IDS: dict[str, str] = setting(
        {},
        "Dify's ids of apps, as `model name=app id`, comma-separated, `default` for the app of `DIFY_APP_API_KEY`; only"
        " if `flask dify check` cannot find an app because Dify masks its keys",
    )
    DIFY_CONSOLE_EMAIL: str = setting(
        "", "e-mail of a Dify admin, for what Dify's service API cannot do (README, “What needs a login”)"
    )
    DIFY_CONSOLE_PASSWORD: str = setting("", "the password of that admin", secret=True)
    DIFY_NAME: str = setting(
        "Dify",
        "what errors, warnings and other messages call Dify; `make serve` with the sandbox: `Sandbox`",
        check=validate.Regexp(r"\w[\w .-]{0,39}\Z", error="must be a name of 1 to 40 letters, such as Dify."),
    )
    DIFY_FILES_URL: str = setting(
        "", "Dify's own setting `FILES_URL`, if Dify serves files at another address", check=dify_address
    )
    DIFY_CONNECT_TIMEOUT: float = setting(
        5.0, "seconds to wait for a connection to Dify", check=validate.Range(min=0.1)
    )
    DIFY_READ_TIMEOUT: float = setting(30.0, "seconds to wait for Dify's answer", check=validate.Range(min=0.1))
    DIFY_CHAT_TIMEOUT: float = setting(
        300.0,
        "seconds that a whole blocking answer may take, and for which a stream may have nothing but Dify's pings",
        check=validate.Range(min=11),
    )
    DIFY_EVENT_TIMEOUT: float = setting(
        60.0,
        "seconds to wait for the next event of an answer. Dify sends a ping every 10 seconds, but none for a chatflow"
        " that waits for a worker",
        check=validate.Range(min=11),
    )
    DIFY_UPLOAD_TIMEOUT: float = setting(
        300.0, "seconds to wait for the answer to an upload", check=validate.Range(min=1)
    )
    DIFY_MAX_CALLS: int = setting(
        1800,
        "calls to Dify, streams among them, that a worker may run at the same time; with `gthread` at most nine tenths"
        " of `THREADS`",
        check=validate.Range(1, 10_000),
    )
    DIFY_MAX_ANSWER_MB: int = setting(
        32, "largest answer of Dify, in megabytes; files and streams may be larger", check=validate.Range(1, 1024)
    )
    DIFY_EMBEDDING_MODEL: str = setting("", "embedding model of new knowledge bases; empty: Dify's default model")
    DIFY_EMBEDDING_PROVIDER: str = setting("", "the provider of that model, for example `langgenius/ollama/ollama`")
    DATABASE_URL: str = setting(
        DEFAULT_DATABASE_URL, "SQLite, PostgreSQL or MySQL/MariaDB", secret=True, check=database_url
    )
    AUTH: str = setting(
        "",
        "`open`: anybody who reaches the port may do everything; `required`: service keys and logged-in users;"
        " empty: `open` for `make serve` with the sandbox on loopback, else `required`",
        check=validate.OneOf(["open", "required"]),
    )
    API_KEYS: list[str] = setting(
        [],
        "service keys of backends, comma-separated; list the old and the new key while you replace one",
        secret=True,
        check=long_keys,
    )
    SECRET_KEY: str = setting("", "signs the tokens of logged-in users; any long random text", secret=True, check=long)
    LOGIN_LIFETIME: int = setting(
        86400, "seconds until a user must log in again", check=validate.Range(60, 365 * 86400)
    )
    REGISTRATION: str = setting(
        "closed",
        "who may register users: `closed`: service keys and the operator; `open`: everybody, for themselves",
        check=validate.OneOf(["closed", "open"]),
    )
    PROXIES: int = setting(
        0,
        "number of proxies in front of the gateway whose `X-Forwarded-For` is trusted; 1 behind nginx",
        check=validate.Range(0, 10),
    )
    RATE_LIMIT: int = setting(
        1200,
        "requests per minute of one user, or of one address without a login; `0`: no limit",
        check=validate.Range(0),
    )
    RATE_LIMIT_SERVICE: int = setting(
        60000, "requests per minute of one service key; `0`: no limit", check=validate.Range(0)
    )
    LIMITS_STORAGE: str = setting(
        "memory://",
        "where requests are counted, and where it is noted that Dify is away: `memory://`: in each process separately;"
        " `redis://host:6379/0`: for all processes together",
        secret=True,
        check=limits_storage,
    )
    TURNS_PER_USER: int = setting(
        10, "answers that may be in progress for one user at the same time; `0`: no limit", check=validate.Range(0)
    )
    UPLOADS_PER_CALLER: int = setting(
        8, "uploads that one caller may run at the same time; `0`: no limit", check=validate.Range(0)
    )
    MAX_UPLOAD_MB: int = setting(600, "largest upload request, in megabytes", check=validate.Range(1))
    WRITE_TIMEOUT: float = setting(
        30.0, "seconds for which a caller may read nothing of an answer", check=validate.Range(min=1)
    )
    MAX_JSON_MB: int = setting(4, "largest body of any other request, in megabytes", check=validate.Range(1, 100))
    MAX_PAGE_SIZE: int = setting(1000, "largest page of a list, in rows", check=validate.Range(1, 1000))
    MAX_QUESTION_LENGTH: int = setting(100_000, "longest question, in characters", check=validate.Range(1, 100_000))
    UNKNOWN_PARAMETERS: str = setting(
        "warn",
        "what happens to parameters that an endpoint does not have: `warn`: the answer names them in `warnings`;"
        " `refuse`: 400; `ignore`: nothing",
        check=validate.OneOf(["warn", "refuse", "ignore"]),
    )
    CONSOLE: str = setting(
        "on", "`on`: the console page at `/`; `off`: no page, 404", check=validate.OneOf(["on", "off"])
    )
    DOWNLOAD_ROOT: Path = setting(PROJECT_DIR / "var" / "downloads", "the only folder that `document/get` writes to")
    DEAD_LETTERS_DIR: Path = setting(
        PROJECT_DIR / "var" / "dead_letters", "the folder for answers that the database refuses to store"
    )
    PROMPTS_FILE: Path = setting(
        PROJECT_DIR / "prompts.toml", "the file with the prompt templates; `prompt_name` selects one of them"
    )
    CORS_ORIGINS: list[str] = setting(
        [], "origins whose web pages may call the API, comma-separated; `*`: any origin", check=cors_origins
    )
    ALLOWED_HOSTS: list[str] = setting(
        [],
        "with `AUTH=open`: names of this gateway in the header `Host`, beside those of loopback and `HOST`,"
        " comma-separated; `*`: any name",
        check=host_names,
    )
    ERROR_HTTP_STATUS: int = setting(
        0, "`200`: failures keep HTTP 200, for clients that look at `code` alone", check=validate.OneOf([0, 200])
    )
    DEFAULT_LANGUAGE: str = setting(
        "en",
        "the language of messages for callers whose header `Accept-Language` names neither English nor Chinese: `en` or"
        " `zh`",
        check=validate.OneOf(["en", "zh"]),
    )
    LOG_LEVEL: str = setting(
        "INFO", "lowest level that is logged", check=validate.OneOf(["DEBUG", "INFO", "WARNING", "ERROR"])
    )
    LOG_FORMAT: str = setting(
        "",
        "format of the log: `json` or `text`; empty: `text` for `make serve` at a terminal, else `json`",
        check=validate.OneOf(["json", "text"]),
    )
    OTEL_EXPORTER_OTLP_ENDPOINT: str = setting(
        "",
        "address of an OpenTelemetry collector (OTLP over HTTP), for example `http://127.0.0.1:4318`; empty: no traces",
        check=collector_address,
    )
    HOST: str = setting(
        "127.0.0.1",
        "the IP address or name to listen on; `0.0.0.0` in a container; `::`: all addresses, IPv6 and IPv4",
        check=listening_host,
    )
    PORT: int = setting(8000, "the port to listen on", check=validate.Range(min=1, max=65535))
    WORKERS: int = setting(2, "number of gunicorn worker processes", check=validate.Range(min=1, max=64))
    WORKER_CLASS: str = setting(
        "gevent",
        "how a worker runs requests: `gevent`: in greenlets; `gthread`: in threads (see docs/deployment.md)",
        check=validate.OneOf(["gevent", "gthread"]),
    )
    THREADS: int = setting(
        500,
        "number of threads of a `gthread` worker; each running request and open stream takes one",
        check=validate.Range(min=1, max=1000),
    )
    STOP_GRACE: int = setting(
        30,
        "seconds until a gateway that is told to stop has ended; running answers are ended 3 to 4 seconds before that",
        check=validate.Range(min=1, max=3600),
    )
    SANDBOX_PORT: int = setting(
        0, "port of the sandbox on 127.0.0.1; `0`: any free port", check=validate.Range(0, 65535)
    )
    SANDBOX_VERSION: str = setting(
        "1.12.1", "the version of Dify that the sandbox follows", check=validate.OneOf(["1.12.1", "1.16.1"])
    )
    SANDBOX_DATA_DIR: Path = setting(PROJECT_DIR / "var" / "sandbox", "the folder for the sandbox's files and database")
    SANDBOX_LLM_URL: str = setting("", "an OpenAI-compatible server that writes the sandbox's answers (`…/v1`)")
    SANDBOX_LLM_MODEL: str = setting("", "the name of the model to use on that server")
    SANDBOX_EMBEDDING_URL: str = setting(
        "", "an OpenAI-compatible server that makes the vectors for the sandbox's search (`…/v1`)"
    )
    SANDBOX_EMBEDDING_MODEL: str = setting(
        "",
        "the name of the model on that server; without a server: `multilingual-e5-small` (a package brings it),"
        " `sandbox-bm25` (words alone), empty: the first that is installed",
    )
    SANDBOX_EMBEDDING_KEY: str = setting("", "the API key of that server", secret=True)

    @classmethod
    def load(cls, **overrides: Any) -> "Config":
        """Read the settings.

        :param overrides: values that replace the environment; `.env` is then not read. For tests
        :raises ConfigError: at least one setting is wrong; the text names all of them. Or `.env` cannot be read
        """
        env = Env(eager=False)
        env.add_parser("pairs", pairs)
        if not overrides:
            _read_env_file(env, PROJECT_DIR / ".env")
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
        if "HOST" in values:  # All code has an IPv6 address without its brackets.
            values["HOST"] = values["HOST"].removeprefix("[").removesuffix("]")
        config = cls(**values)
        config._check_together()
        return config

    def _check_together(self) -> None:
        problems = []
        if too_long := [name for name in self.DIFY_APPS if len(name) > LONGEST_APP_NAME]:
            problems.append(f"DIFY_APPS: {too_long[0]} is longer than {LONGEST_APP_NAME} characters.")
        if unknown := sorted(self.DIFY_APP_IDS.keys() - self.DIFY_APPS.keys() - {"default"}):
            problems.append(
                f"DIFY_APP_IDS: {unknown[0]} is not in DIFY_APPS; `default` is the app of DIFY_APP_API_KEY."
            )
        if wrong := [each for each in self.DIFY_APP_IDS.values() if not APP_ID.fullmatch(each)]:
            problems.append(f"DIFY_APP_IDS: '{wrong[0]}' is no id of an app; the address of the app's page has it.")
        if bool(self.DIFY_EMBEDDING_MODEL) != bool(self.DIFY_EMBEDDING_PROVIDER):
            problems.append("DIFY_EMBEDDING_MODEL and DIFY_EMBEDDING_PROVIDER go together: set both or neither.")
        if self.SANDBOX_EMBEDDING_URL and not self.SANDBOX_EMBEDDING_MODEL:
            problems.append("SANDBOX_EMBEDDING_URL needs the name of a model in SANDBOX_EMBEDDING_MODEL.")
        if problems:
            raise ConfigError("\n".join(problems))

    def missing_to_serve(self) -> list[str]:
        """Find the settings that are missing to serve requests.

        The commands of `flask` run without them, because `flask dify provision` writes them.

        :returns: one sentence for each missing setting; empty if the gateway can serve
        """
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

    def address_to_listen_on(self) -> str:
        """The IP address of `HOST`; if it is a name with several addresses, an IPv4 address.

        :raises OSError: no such name is known
        """
        found = socket.getaddrinfo(self.HOST, None, type=socket.SOCK_STREAM)
        found.sort(key=lambda entry: entry[0] != socket.AF_INET)
        return str(found[0][4][0])

    @property
    def max_dify_calls(self) -> int:
        """`DIFY_MAX_CALLS`. With `gthread` a tenth of the threads is kept free of calls to Dify, so that health checks,
        logins and lists of conversations find a thread while Dify is silent."""
        if self.WORKER_CLASS == "gthread":
            return max(1, min(self.DIFY_MAX_CALLS, self.THREADS - -(-self.THREADS // 10)))
        return self.DIFY_MAX_CALLS

    @property
    def database_uri(self) -> str:
        """`DATABASE_URL` with the driver: psycopg 3 for PostgreSQL, PyMySQL for MySQL and MariaDB."""
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


def read_env_text(path: Path) -> str:
    """Read a `.env` file: a text in UTF-8, with or without a byte order mark, which Windows' editors write.

    :returns: the text with line ends of `\\n`; empty if there is no file
    :raises ConfigError: it is no file, or no text in UTF-8
    :raises OSError: it cannot be read
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder. It must be a file.")
    try:
        text = path.read_text(encoding="utf-8-sig") if path.exists() else ""
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # UTF-16 without a byte order mark has a NUL in each ASCII character.
        raise ConfigError(f"{path} is not a text in UTF-8. Save it again with this encoding.")
    return text


def _read_env_file(env: Env, path: Path) -> None:
    """Read the settings of a file, if there is one. They do not go into `os.environ`: there they would stay when the
    file has changed and gunicorn reloads it.

    Relies on: environs takes from `Env._environ` what `os.environ` lacks. Its `read_env` cannot read a byte order mark.

    :raises ConfigError: the file cannot be read
    """
    try:
        values = dotenv_values(stream=StringIO(read_env_text(path)))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}. It must belong to the user who starts Route API."
        ) from None
    env._environ.update({name: value for name, value in values.items() if value is not None})


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
