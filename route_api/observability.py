"""The log, and the id that ties an answer to a line in it."""

import logging
import re
from time import perf_counter
from uuid import uuid4

from flask import Flask, Response, g, has_request_context, request

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
REQUEST_ID_HEADER = "X-Request-Id"
USABLE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch


class RequestIdFilter(logging.Filter):
    """Gives every log record the id of the request that it belongs to, `-` outside of one."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = g.get("request_id", "-") if has_request_context() else "-"
        return True


def init_app(app: Flask) -> None:
    """Send the log to stderr, and number every request."""
    handler = logging.StreamHandler()
    handler.addFilter(RequestIdFilter())
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    logger = logging.getLogger("route_api")
    logger.handlers[:] = [handler]
    logger.setLevel(app.config["LOG_LEVEL"])
    logger.propagate = False
    app.before_request(_start_request)
    app.after_request(_name_request)


def _start_request() -> None:
    g.started_at = perf_counter()
    given = request.headers.get(REQUEST_ID_HEADER, "")
    g.request_id = given if USABLE_REQUEST_ID(given) else uuid4().hex


def _name_request(response: Response) -> Response:
    response.headers[REQUEST_ID_HEADER] = g.request_id
    return response
