"""The log, in JSON or as text. Each request writes one line when it ends.

The answer to a request has the request's id in a header, and so has every log line of this request.

All lines are safe, also those of libraries: text from a caller cannot begin a new line or control a terminal, and the
gateway's secrets are masked.
"""

import json
import logging
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import fields
from functools import partial
from re import compile as pattern
from secrets import token_hex
from time import perf_counter
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

import orjson
from flask import Flask, Response, current_app, g, request
from pythonjsonlogger.orjson import OrjsonFormatter

from config import Config

from ..languages import preferred_language
from . import metrics, spans, tracing
from .tracing import Trace

access_log = logging.getLogger("route_api.access")

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
JSON_FIELDS = ("time", "levelname", "name", "request_id", "message")
JSON_NAMES = {"levelname": "level", "name": "logger", "exc_info": "exception", "stack_info": "stack"}
REQUEST_FIELDS = ("caller", "route", "status", "ms", "dify_ms", "own_ms", "dify_calls", "error")
"""Further fields of the line that a request writes when it ends. In JSON each has its own key."""

REQUEST_ID_HEADER = "X-Request-Id"
USABLE_REQUEST_ID = pattern(r"[A-Za-z0-9._-]{1,64}").fullmatch
ANONYMOUS = "anonymous"

MASK = "***"
SHORTEST_SECRET = 4
"""Characters. Shorter secrets are not masked: they also occur inside ordinary words, which would be destroyed."""

BEARER = pattern(r"(?i)\b(bearer|basic) [\w.~+/=-]+")


# -------------------------------------------------------------- secrets and control characters


def secrets_of(config: Config) -> set[str]:
    """The values of the secret settings.

    :returns: the values that are long enough to be masked; for a URL with a password, the URL and the password
    """
    found: set[str] = set()
    for entry in fields(config):
        if entry.metadata["secret"]:
            value = getattr(config, entry.name)
            values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
            for text in values:
                found.update(_secret_parts(text))
    return {text for text in found if len(text) >= SHORTEST_SECRET}


def _secret_parts(value: str) -> Iterator[str]:
    if "://" not in value:
        yield value
    elif password := urlsplit(value).password:
        yield from (value, password, unquote(password))


def spellings(secret: str) -> set[str]:
    """The forms in which a secret may appear in a line: as it is, in a repr, in a URL, in base64 (Dify 1.12.1 gets
    passwords so), and each of these in JSON."""
    encoded = b64encode(secret.encode()).decode()
    plain = {secret, repr(secret)[1:-1], quote(secret, safe=""), quote_plus(secret), encoded}
    return plain | {json.dumps(text, ensure_ascii=False)[1:-1] for text in plain}


class SecretMasker:
    """Replaces secrets in log lines."""

    def __init__(self, secrets: Iterable[str]) -> None:
        every = {spelling for secret in secrets for spelling in spellings(secret)}
        self._secrets = sorted(every, key=len, reverse=True)  # A URL goes before the password inside it.

    def mask(self, line: str) -> str:
        """Replace each secret, and each bearer token or basic credential, with `***`."""
        for secret in self._secrets:
            if secret in line:
                line = line.replace(secret, MASK)
        if "earer " in line or "asic " in line:
            line = BEARER.sub(rf"\1 {MASK}", line)
        return line


def printable(text: str) -> str:
    """Escape, as JSON does, all characters that end a line, control a terminal or change the reading direction."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else json.dumps(character)[1:-1] for character in text)


class JsonFormatter(OrjsonFormatter):
    """Formats a record as one JSON object in one line."""

    def __init__(self, masker: SecretMasker) -> None:
        super().__init__(JSON_FIELDS, rename_fields=JSON_NAMES, timestamp="time")
        self._masker = masker

    def format(self, record: logging.LogRecord) -> str:
        # `printable` changes only characters inside JSON strings, where an escape means the same character.
        return self._masker.mask(printable(super().format(record)))

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        try:
            return super().jsonify_log_record(log_data)
        except orjson.JSONEncodeError:  # A lone surrogate, for example from a file name that is not UTF-8.
            return json.dumps(log_data, default=str)


class TextFormatter(logging.Formatter):
    """Formats a record as a line for people.

    A traceback follows in indented lines, so that no line of it looks like a new record.
    """

    def __init__(self, masker: SecretMasker) -> None:
        super().__init__(TEXT_FORMAT)
        self._masker = masker

    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None  # logging keeps the text of another formatter here, which may not be indented.
        return self._masker.mask(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:
        present = [name for name in REQUEST_FIELDS if record.__dict__.get(name) is not None]
        fields_text = "".join(f" {name}={record.__dict__[name]}" for name in present)
        return printable(super().formatMessage(record) + fields_text)

    def formatException(self, ei: Any) -> str:
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        return _indented(super().formatStack(stack_info))


def _indented(text: str) -> str:
    return "\n".join("    " + printable(line) for line in text.split("\n"))


class RequestIdFilter(logging.Filter):
    """Gives every log record the id of its request, or `-` outside of a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        if "request_id" not in record.__dict__:
            record.request_id = tracing.current().request_id or "-"
        return True


# -------------------------------------------------------------- the requests


def init_app(app: Flask, config: Config) -> None:
    """Send the log to stderr, give every request an id, and log every request when it ends."""
    # No line has these fields. Their cost is real: gevent would make a thread object for each greenlet to get its name.
    logging.logThreads = logging.logMultiprocessing = False
    masker = SecretMasker(secrets_of(config))
    handler = logging.StreamHandler()
    logger = logging.getLogger("route_api")
    logger.handlers[:] = [handler]
    logger.setLevel(config.LOG_LEVEL)
    logger.propagate = False
    logging.lastResort = handler  # Warnings of libraries; Python would write them without any format.
    for each in (handler, *logging.getLogger("gunicorn.error").handlers):
        each.addFilter(RequestIdFilter())
        each.setFormatter(TextFormatter(masker) if config.LOG_FORMAT == "text" else JsonFormatter(masker))
    app.before_request(_start_request)
    app.after_request(_name_request)


def _start_request() -> None:
    given = request.headers.get(REQUEST_ID_HEADER, "")
    trace = tracing.begin(given if USABLE_REQUEST_ID(given) else token_hex(16))
    trace.language = preferred_language(request.headers.get("Accept-Language"), current_app.config["DEFAULT_LANGUAGE"])
    route = request.url_rule.rule if request.url_rule is not None else None
    trace.span = spans.begin_request(request.method, route, trace.request_id, request.headers)


def _name_request(response: Response) -> Response:
    """Put the request's id into the answer, and log the request after the last byte of the answer was sent."""
    # `request` is a proxy, and each access through it takes time.
    trace, asked = tracing.current(), request._get_current_object()  # type: ignore[attr-defined]
    response.headers[REQUEST_ID_HEADER] = trace.request_id
    if trace.has_sentences:
        response.headers["Content-Language"] = trace.language
        response.headers.add("Vary", "Accept-Language")
    route = asked.url_rule.rule if asked.url_rule is not None else None
    caller = g.get("caller")
    label = caller.label if caller is not None else ANONYMOUS
    path = asked.root_path + asked.path
    end = partial(_end_request, trace, asked.method, path, route, response.status_code, label)
    response.call_on_close(end)
    return response


def _end_request(trace: Trace, method: str, path: str, route: str | None, status: int, caller: str) -> None:
    seconds = perf_counter() - trace.started_at
    status = trace.status or status
    metrics.count_request(route, method, status, seconds)
    spans.end(trace.span, status, trace.error, is_failure=status >= 500)
    if access_log.isEnabledFor(logging.INFO):
        # `access_log.info` would also search the stack for the calling line, which takes time and is not logged.
        record = logging.makeLogRecord(
            {
                "name": access_log.name,
                "levelno": logging.INFO,
                "levelname": "INFO",
                "msg": f"{method} {path}",
                "request_id": trace.request_id,
                "caller": caller,
                "method": method,
                "route": route,
                "path": path,
                "status": status,
                "ms": round(seconds * 1000, 1),
                "dify_ms": round(trace.dify_s * 1000, 1),
                "own_ms": round(max(seconds - trace.dify_s, 0) * 1000, 1),
                "dify_calls": trace.dify_calls,
                "error": trace.error,
            }
        )
        access_log.handle(record)
    tracing.end()
