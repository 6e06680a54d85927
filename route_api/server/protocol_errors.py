"""gunicorn's own answers, in the envelope: to a request that is no HTTP or too large, and after a worker's failure."""

import logging
from functools import partial
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from gunicorn import util

from ..access.cross_origin import headers_for_any_caller
from ..envelope import HTTP_ERROR_CODES, JSON_TYPE, SERVER_ERROR_WORDS, envelope, internal_error, json_bytes

log = logging.getLogger(__name__)


def patch_write_error(cors_origins: list[str], language: str) -> None:
    """Let gunicorn answer with :func:`write_error`. Its own function writes HTML that repeats what the caller sent.

    :param cors_origins: the setting CORS_ORIGINS
    :param language: the setting DEFAULT_LANGUAGE. The header Accept-Language was often not read
    """
    util.write_error = partial(write_error, headers_for_any_caller(cors_origins), language)


def write_error(
    cors_headers: list[tuple[str, str]], language: str, connection: Any, status: int, reason: str, detail: str
) -> None:
    """Answer a request that reached no view. gunicorn closes the connection afterwards.

    :param cors_headers: the headers with which a web page of another origin may read the answer
    :param language: of the answer's sentence
    :param reason: gunicorn's name of the status
    :param detail: what gunicorn found wrong; it goes into the log, not into the answer
    """
    request_id = uuid4().hex
    log.info("request %s got %d, because it reached no endpoint: %s", request_id, status, detail or reason)
    code = HTTP_ERROR_CODES.get(status, internal_error().code)
    message = SERVER_ERROR_WORDS.get(status, internal_error().message)
    body = json_bytes(envelope(-1, None, message.in_language(language), error=code, request_id=request_id))
    head = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Connection: close",
        f"Content-Type: {JSON_TYPE}",
        f"Content-Language: {language}",
        f"Content-Length: {len(body)}",
        f"X-Request-Id: {request_id}",
        *(f"{name}: {value}" for name, value in cors_headers),
        "\r\n",
    ]
    util.write_nonblock(connection, "\r\n".join(head).encode() + body)
