"""Turns an error answer of Dify into one of our errors, with a text that is safe to show to anybody.

Some of Dify's texts help the caller ("Dataset name already exists"). Others must not be shown: SQL, pydantic texts that
quote the request, HTML pages, addresses, lists of Dify's routes (tests/contract/README.md, 1 to 3).

The texts come from outside. So a text is cut before a pattern sees it, and no pattern may need more than linear time:
100,000 blanks once held a worker for 16 seconds. `tests/test_patterns.py` measures all patterns of the code.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import ceil
from typing import Any

import orjson

from ..errors import DifyAuthFailed, DifyError, DifyFailed, DifyForbidden, DifyNotFound, DifyRejected, DifyTooBusy
from ..languages import Sentence, quoted
from .json_text import decode

STILL_INDEXING = Sentence("Dify is still indexing this document; please try again in a few seconds.")
EMPTY_ANSWER = Sentence("The model gave an empty answer.")
NO_INDEX = Sentence(
    "This knowledge base has no index for this kind of search: nothing in it has been indexed that way yet."
)

TOO_MANY = Sentence(
    "The Dify app answers as many questions at the same time as its limit allows; please try again later."
)
NO_LICENCE = Sentence("Dify's licence is missing or does not allow this. The operator should check it in Dify.")

# Errors whose text is hard to understand or not safe: a pattern for Dify's text, and our text.
_KNOWN_ERRORS = (
    (re.compile(r"(being indexed|is indexing), please try again later"), STILL_INDEXING),
    (re.compile(r'relation "embedding_vector_index\w*" does not exist'), NO_INDEX),
    (re.compile(r"validation error for Data\nanswer\n"), EMPTY_ANSWER),
    # A chat app's limit (max_active_requests) is a 400, and an agent's is a 429. The text has the id of the app.
    (re.compile(r"maximum concurrent requests allowed"), TOO_MANY),
    (
        re.compile(r"Cannot create more than (\d{1,4}) API keys"),
        Sentence("Dify allows no more keys of this kind. The operator should delete one in Dify that nobody uses."),
    ),
)

_TEXT_OF_CODE = {
    "rate_limit_error": Sentence("The provider of the model gets too many requests; please try again later."),
    "plugin_runtime_error": Sentence(
        "A plugin of Dify failed, usually the one of the model's provider. The operator should look at Dify's"
        " plugin daemon."
    ),
    "message_feedback_rating_required": Sentence("There is no rating that could be withdrawn."),
}
"""Codes of Dify 1.17 and later whose own text is missing or technical. They were read in Dify's code, not recorded."""

SCOPED_KEY = Sentence(
    "Dify does not allow this with the gateway's key. Since version 1.17 a dataset key may be for one knowledge"
    " base only. The operator should check DIFY_DATASET_API_KEY."
)
_LICENCE = re.compile(r"\blicen[sc]e\b", re.IGNORECASE)
_FORBIDDEN_KEY = re.compile(
    r"permission to access the requested resource|\b(key|token|scope)\b|^Forbidden\.?$", re.IGNORECASE
)

_RESTX_GUESS = "You have requested this URI"
"""flask-restx adds a guess to the text of a 404: "... You have requested this URI [/v1/x] but did you mean /v1/y ?\""""

# A pydantic text is "<field>\n  <reason> [type=..., input_value=...". The groups leave out the caller's data.
_PYDANTIC_FIELD = re.compile(r"^(\S+)\n  (?:Value error, )?([^\n]+?) \[type=", re.MULTILINE)

_MAX_TEXT_READ = 4096
"""Characters of Dify's text that the patterns see. The first lines of an SQL or pydantic text say what it is."""

_MAX_TEXT_LENGTH = 300

MAX_RETRY_AFTER = 3600
"""In seconds: the longest wait that we pass on."""

_UNSAFE = re.compile(
    r"[<>{}\n\r]|http|://|/v1/|/api/"  # markup, dumps, addresses
    r"|(?-i:\b(SELECT|INSERT|UPDATE|DELETE|LINE \d))|psycopg|pymysql|sqlalchemy|relation \""  # SQL
    r"|validation error|pydantic|Traceback|File \"|\.py\b"  # the insides of Python
    r"|\b\d{1,3}(\.\d{1,3}){3}\b|localhost|host=|port[ =]\d"  # hosts
    r"|\b(sk|app|dataset)-\w{4}|Bearer"  # keys
    r"|\b[\da-f]{8}-[\da-f]{4}-",  # ids
    re.IGNORECASE,
)

_TEXT_OF_STATUS = {
    400: Sentence("Dify found the request invalid and did not say why."),
    403: Sentence("Dify does not allow this."),
    404: Sentence("Dify does not know what was asked for."),
    409: Sentence("This conflicts with what Dify already has."),
    413: Sentence("This is larger than Dify accepts."),
    415: Sentence("Dify does not accept this type of content."),
    429: Sentence("Dify is getting too many requests; please try again later."),
}


def error_from_response(status: int, body: bytes, setting: str, retry_after: str | None = None) -> DifyError:
    """The error for an answer of Dify that is no success.

    :param status: the HTTP status, which decides on the class of the error.
    :param body: the raw body: JSON in any of Dify's five shapes, or HTML.
    :param setting: name of the setting that holds the credential of the request.
    :param retry_after: the header Retry-After of the answer.
    """
    try:
        answer = decode(body)
    except orjson.JSONDecodeError:
        answer = None
    code = _code_in(answer)
    details: dict[str, Any] = {
        "dify_status": status,
        "dify_code": code,
        "unexplained": not _text_in(answer),
        "retry_after": _seconds_until_retry(retry_after) if status in (429, 503) else None,
    }
    text = error_text(status, answer)
    if status in (401, 403) and _LICENCE.search(_text_in(answer)[:_MAX_TEXT_READ]):
        return DifyForbidden(NO_LICENCE, **details)  # Another login would not help.
    if text == TOO_MANY:
        return DifyTooBusy(text, **details)
    if status == 401:
        text = Sentence(
            "Dify refused the gateway's own credentials. The operator should check {setting}.", setting=setting
        )
        return DifyAuthFailed(text, **details)
    if status < 400:
        text = Sentence("Dify answered with a redirect. The operator should check http or https in DIFY_BASE_URL.")
        return DifyFailed(text, **details)
    if status >= 500:
        return DifyFailed(
            _TEXT_OF_CODE.get(code or "", Sentence("Dify failed with HTTP status {status}.", status=status)),
            **details,
        )
    if status == 403:
        if setting == "DIFY_DATASET_API_KEY" and _FORBIDDEN_KEY.search(_text_in(answer)[:_MAX_TEXT_READ]):
            text = SCOPED_KEY
        return DifyForbidden(text, **details)
    if status == 429:
        return DifyTooBusy(text, **details)
    # 1.8.1 answers create-by-file and document DELETE with 400 for an unknown dataset
    # (tests/contract/DIFFERENCES.md, 14).
    if status == 404 or text == "Dataset does not exist.":
        return DifyNotFound(text, **details)
    return DifyRejected(text, **details)


def is_safe_to_show(status: int, body: bytes) -> bool:
    """Whether an answer of Dify may be sent to anybody unchanged: it is JSON, a success or an error with safe texts."""
    try:
        answer = orjson.loads(body)  # The caller gets these bytes, so they must be JSON as they are.
    except orjson.JSONDecodeError:
        return False
    if 200 <= status < 300:
        return True
    return 400 <= status < 500 and status != 401 and not any(map(_is_unsafe, _texts_in(answer)))


def _is_unsafe(text: str) -> bool:
    # The callers of the raw upload use Dify's path, so a guess about routes tells them nothing new.
    text = text.partition(_RESTX_GUESS)[0]
    return len(text) > _MAX_TEXT_READ or _UNSAFE.search(text) is not None


def _texts_in(answer: Any) -> Iterator[str]:
    """Every text in decoded JSON. JSON may be nested deeper than Python's functions may call each other."""
    left = [answer]
    while left:
        inner = left.pop()
        if isinstance(inner, str):
            yield inner
        elif isinstance(inner, (dict, list)):
            left.extend(inner.values() if isinstance(inner, dict) else inner)


def _seconds_until_retry(header: str | None) -> int | None:
    """Read a Retry-After, which is a number of seconds or a date (RFC 9110, 10.2.3).

    :returns: 1 to MAX_RETRY_AFTER; None if there is no such header, or if it is neither
    """
    text = (header or "").strip()[:64]
    try:
        if text.isdecimal():
            seconds = float(text)
        else:
            date = parsedate_to_datetime(text)
            seconds = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(ceil(seconds), 1), MAX_RETRY_AFTER)


def error_text(status: int, answer: Any) -> Sentence:
    """A sentence about an error, for a person.

    :param status: HTTP status of the answer, or `status` of an `error` event in a stream.
    :param answer: the decoded JSON of the answer, or the event; None where there was no JSON.
    """
    text = _text_in(answer)[:_MAX_TEXT_READ].partition(_RESTX_GUESS)[0].strip()
    for pattern, sentence in _KNOWN_ERRORS:
        if pattern.search(text):
            return sentence
    fields = _PYDANTIC_FIELD.findall(text)
    if fields:
        text = "; ".join(f"{field}: {wrong}" for field, wrong in fields)
    code = _code_in(answer) or ""
    repeats_code = text.rstrip(".").replace(" ", "_").lower() == code  # "Rate Limit Error" explains nothing.
    if text and len(text) <= _MAX_TEXT_LENGTH and not _UNSAFE.search(text) and not repeats_code:
        return quoted(text)
    return _TEXT_OF_CODE.get(code) or _TEXT_OF_STATUS.get(
        status, Sentence("Dify refused the request with HTTP status {status}.", status=status)
    )


def _code_in(answer: Any) -> str | None:
    code = answer.get("code") if isinstance(answer, dict) else None
    return code if isinstance(code, str) else None


def _text_in(answer: Any) -> str:
    """Dify's own text, in whichever of its shapes the error comes (tests/contract/README.md, 1)."""
    if not isinstance(answer, dict):
        return ""
    errors = answer.get("errors")
    if isinstance(errors, dict):  # 1.8.1 validation
        return "; ".join(f"{field}: {text}" for field, text in errors.items())
    for key in ("message", "error", "data"):
        text = answer.get(key)
        if isinstance(text, dict):  # /setup of 1.12.1
            text = text.get("message")
        if isinstance(text, str):
            return text
    return ""
