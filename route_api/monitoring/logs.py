"""The log: one line for each request when it ends, in JSON or as text, and the id that ties an answer to its lines.

Two things hold for every line, whoever wrote it: no text of a caller's can begin another line or steer a terminal, and
no secret of ours is in it.
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
from flask import Flask, Response, g, request
from pythonjsonlogger.orjson import OrjsonFormatter

from config import Config

from . import metrics, tracing
from .tracing import Trace

access_log = logging.getLogger("route_api.access")

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
JSON_FIELDS = ("time", "levelname", "name", "request_id", "message")
JSON_NAMES = {"levelname": "level", "name": "logger", "exc_info": "exception", "stack_info": "stack"}
COSTS = ("caller", "route", "status", "ms", "dify_ms", "own_ms", "dify_calls", "error")
"""What the line of a request has besides; in JSON keys of their own."""

REQUEST_ID_HEADER = "X-Request-Id"
USABLE_REQUEST_ID = pattern(r"[A-Za-z0-9._-]{1,64}").fullmatch
ANONYMOUS = "anonymous"

BLANK = "***"
SHORTEST_SECRET = 4
"""Characters. To blank a shorter one wherever it turns up would take every line apart."""

BEARER = pattern(r"(?i)\b(bearer|basic) [\w.~+/=-]+")


# -------------------------------------------------------------- what may be in a line


def secrets_of(config: Config) -> set[str]:
    """The values of the secret settings; of an address in which a password stands, the password as well."""
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
    """A secret as it may stand in a line: itself, in a repr, in a URL, in base64 (as Dify 1.12.1 wants passwords), and
    each of these in JSON."""
    encoded = b64encode(secret.encode()).decode()
    plain = {secret, repr(secret)[1:-1], quote(secret, safe=""), quote_plus(secret), encoded}
    return plain | {json.dumps(text, ensure_ascii=False)[1:-1] for text in plain}


class Cleaner:
    """Makes a line fit to be written."""

    def __init__(self, secrets: Iterable[str]) -> None:
        every = {spelling for secret in secrets for spelling in spellings(secret)}
        self._secrets = sorted(every, key=len, reverse=True)  # An address before the password that is a part of it.

    def blank(self, line: str) -> str:
        """The line without secrets."""
        for secret in self._secrets:
            if secret in line:
                line = line.replace(secret, BLANK)
        if "earer " in line or "asic " in line:
            line = BEARER.sub(rf"\1 {BLANK}", line)
        return line


def printable(text: str) -> str:
    """The text with all that ends a line, steers a terminal or turns the reading direction escaped as in JSON."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else json.dumps(character)[1:-1] for character in text)


class JsonFormatter(OrjsonFormatter):
    """A record as one JSON object in one line."""

    def __init__(self, cleaner: Cleaner) -> None:
        super().__init__(JSON_FIELDS, rename_fields=JSON_NAMES, timestamp="time")
        self._cleaner = cleaner

    def format(self, record: logging.LogRecord) -> str:
        # What JSON itself leaves as it is stands within strings, where an escape means the same.
        return self._cleaner.blank(printable(super().format(record)))

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        try:
            return super().jsonify_log_record(log_data)
        except orjson.JSONEncodeError:  # Half a surrogate pair, as in the name of a broken file.
            return json.dumps(log_data, default=str)


class TextFormatter(logging.Formatter):
    """A record as a line for people; a traceback follows in indented lines, which cannot be taken for new ones."""

    def __init__(self, cleaner: Cleaner) -> None:
        super().__init__(TEXT_FORMAT)
        self._cleaner = cleaner

    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None  # Another formatter's, kept by logging.
        return self._cleaner.blank(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:
        costs = [f" {name}={record.__dict__[name]}" for name in COSTS if record.__dict__.get(name) is not None]
        return printable(super().formatMessage(record) + "".join(costs))

    def formatException(self, ei: Any) -> str:
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        return _indented(super().formatStack(stack_info))


def _indented(text: str) -> str:
    return "\n".join("    " + printable(line) for line in text.split("\n"))


class RequestIdFilter(logging.Filter):
    """Gives every log record the id of the request that it belongs to, `-` outside of one."""

    def filter(self, record: logging.LogRecord) -> bool:
        if "request_id" not in record.__dict__:
            record.request_id = tracing.current().request_id or "-"
        return True


# -------------------------------------------------------------- the requests


def init_app(app: Flask, config: Config) -> None:
    """Send the log to stderr, and give every request its id and its line."""
    # In no line of ours, and not free: for the name of its thread each greenlet would be given a thread object.
    logging.logThreads = logging.logMultiprocessing = False
    cleaner = Cleaner(secrets_of(config))
    handler = logging.StreamHandler()
    logger = logging.getLogger("route_api")
    logger.handlers[:] = [handler]
    logger.setLevel(config.LOG_LEVEL)
    logger.propagate = False
    logging.lastResort = handler  # What libraries warn of, which would have no form at all.
    for each in (handler, *logging.getLogger("gunicorn.error").handlers):
        each.addFilter(RequestIdFilter())
        each.setFormatter(TextFormatter(cleaner) if config.LOG_FORMAT == "text" else JsonFormatter(cleaner))
    app.before_request(_start_request)
    app.after_request(_name_request)


def _start_request() -> None:
    given = request.headers.get(REQUEST_ID_HEADER, "")
    tracing.begin(given if USABLE_REQUEST_ID(given) else token_hex(16))


def _name_request(response: Response) -> Response:
    """Name the request in its answer, and have its line written when the answer's last byte has left."""
    # Every access through one of Flask's proxies takes extra time.
    trace, asked = tracing.current(), request._get_current_object()  # type: ignore[attr-defined]
    response.headers[REQUEST_ID_HEADER] = trace.request_id
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
    if access_log.isEnabledFor(logging.INFO):
        # As `access_log.info` would, but without looking for the line of code that calls it.
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
