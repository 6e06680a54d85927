"""From an answer in which Dify refuses or fails to one of our errors, with a text that anybody may see.

Dify's own texts are useful ("Dataset name already exists") or dangerous: SQL, pydantic dumps that quote the
request, HTML pages, addresses, tails that list its routes (contract README, "Surprises" 1 to 3). Only
harmless ones pass.
"""

import re
from collections.abc import Iterator
from typing import Any

import orjson

from ..errors import DifyAuthFailed, DifyError, DifyFailed, DifyForbidden, DifyNotFound, DifyRejected, DifyTooBusy

STILL_INDEXING = "Dify is still indexing this document; please try again in a few seconds."
EMPTY_ANSWER = "The model gave an empty answer."
NO_INDEX = "This knowledge base has no index for this kind of search: nothing in it has been indexed that way yet."

# Refusals that Dify words badly, recognised in its raw text, and our words for them.
_KNOWN_REFUSALS = (
    (re.compile(r"(being indexed|is indexing), please try again later"), STILL_INDEXING),
    (re.compile(r'relation "embedding_vector_index\w*" does not exist'), NO_INDEX),
    (re.compile(r"validation error for Data\nanswer\n"), EMPTY_ANSWER),
)

# flask-restx adds its guesses to a 404: "... You have requested this URI [/v1/x] but did you mean /v1/y ?"
_TAIL = re.compile(r"\s*You have requested this URI.*", re.DOTALL)

# "<field>\n  <what is wrong> [type=..., input_value=...": of a pydantic text, what quotes nobody's data.
_PYDANTIC_FIELD = re.compile(r"^(\S+)\n  (?:Value error, )?([^\n]+?) \[type=", re.MULTILINE)

_LONGEST_TEXT = 300

_DANGEROUS = re.compile(
    r"[<>{}\n\r]|http|://|/v1/|/api/"  # markup, dumps, addresses
    r"|(?-i:\b(SELECT|INSERT|UPDATE|DELETE|LINE \d))|psycopg|pymysql|sqlalchemy|relation \""  # SQL
    r"|validation error|pydantic|Traceback|File \"|\.py\b"  # the insides of Python
    r"|\b\d{1,3}(\.\d{1,3}){3}\b|localhost|host=|port[ =]\d"  # hosts
    r"|\b(sk|app|dataset)-\w{4}|Bearer",  # keys
    re.IGNORECASE,
)

_TEXT_OF_STATUS = {
    400: "Dify found the request invalid and did not say why; with a file, its type may be"
    " unsupported or its size over Dify's limit.",
    403: "Dify does not allow this.",
    404: "Dify does not know what was asked for.",
    409: "This conflicts with what Dify already has.",
    413: "This is larger than Dify accepts.",
    415: "Dify does not accept this type of content.",
    429: "Dify is getting too many requests; please try again later.",
}


def refusal(status: int, body: bytes, setting: str) -> DifyError:
    """The error for an answer of Dify that is no success.

    :param status: the HTTP status, which alone gives the verdict.
    :param body: the body as it came: JSON in any of Dify's five shapes, or HTML.
    :param setting: name of the setting that holds the credential the request was made with.
    """
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = None
    code = said.get("code") if isinstance(said, dict) else None
    facts: dict[str, Any] = {
        "dify_status": status,
        "dify_code": code if isinstance(code, str) else None,
        "unexplained": not _text_in(said),
    }
    if status == 401:
        text = f"Dify refused the gateway's own credentials. The operator should check {setting}."
        return DifyAuthFailed(text, **facts)
    if status < 400:
        text = "Dify answered with a redirect. The operator should check http or https in DIFY_BASE_URL."
        return DifyFailed(text, **facts)
    if status >= 500:
        return DifyFailed(f"Dify failed with HTTP status {status}.", **facts)
    text = refusal_text(status, said)
    if status == 403:
        return DifyForbidden(text, **facts)
    if status == 429:
        return DifyTooBusy(text, **facts)
    # 1.8.1 calls an unknown dataset a 400 on create-by-file and document DELETE (DIFFERENCES 14).
    if status == 404 or text == "Dataset does not exist.":
        return DifyNotFound(text, **facts)
    return DifyRejected(text, **facts)


def may_be_shown(status: int, body: bytes) -> bool:
    """Whether an answer of Dify may go on to anybody as it came: a success, or a refusal in harmless words; in JSON."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    if 200 <= status < 300:
        return True
    texts = (_TAIL.sub("", text) for text in _texts_in(said))  # Those who call this path know Dify's routes.
    return 400 <= status < 500 and status != 401 and not any(map(_DANGEROUS.search, texts))


def _texts_in(said: Any) -> Iterator[str]:
    """Every text in decoded JSON."""
    if isinstance(said, str):
        yield said
    elif isinstance(said, (dict, list)):
        for inner in said.values() if isinstance(said, dict) else said:
            yield from _texts_in(inner)


def refusal_text(status: int, said: Any) -> str:
    """A sentence for a person about a refusal.

    :param status: HTTP status of the answer, or `status` of an `error` event in a stream.
    :param said: the decoded JSON of the answer, or the event; None where there was no JSON.
    """
    text = _TAIL.sub("", _text_in(said)).strip()
    for pattern, sentence in _KNOWN_REFUSALS:
        if pattern.search(text):
            return sentence
    fields = _PYDANTIC_FIELD.findall(text)
    if fields:
        text = "; ".join(f"{field}: {wrong}" for field, wrong in fields)
    if text and len(text) <= _LONGEST_TEXT and not _DANGEROUS.search(text):
        return text
    return _TEXT_OF_STATUS.get(status, f"Dify refused the request with HTTP status {status}.")


def _text_in(said: Any) -> str:
    """Dify's own words, wherever this shape of answer keeps them (contract README, "Surprises" 1)."""
    if not isinstance(said, dict):
        return ""
    errors = said.get("errors")
    if isinstance(errors, dict):  # 1.8.1 validation
        return "; ".join(f"{field}: {text}" for field, text in errors.items())
    for key in ("message", "error", "data"):
        text = said.get(key)
        if isinstance(text, dict):  # /setup of 1.12.1
            text = text.get("message")
        if isinstance(text, str):
            return text
    return ""
