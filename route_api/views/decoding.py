"""Turns the bytes of a query string and of a body into parameters, whatever their charset.

What cannot be read is told in words: a garbled text is never stored in silence.
"""

import codecs
import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
from flask import Request
from werkzeug.datastructures import MultiDict

from ..errors import ValidationFailed
from ..forms.charsets import UTF_8, WESTERN, charset_named
from ..languages import Sentence, quoted, shown

Json = dict[str, Any]

UNICODE_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

MAX_NAMES = 20_000
"""The maximum number of names in a JSON object. A body of 4 MB could have 300,000, and would keep all other requests of
the process waiting for half a second."""

MAX_SCANNED_BYTES = 200_000_000
"""How much is searched for repeated names: less than 100 milliseconds. Beyond it, Python's JSON parser is faster."""

NAME_BYTES = 60
"""How much of a name an error message shows."""

PYTHONS_AND_JAVASCRIPTS = {
    "NaN": Sentence("leave the parameter out, or send null"),
    "Infinity": Sentence("leave the parameter out, or send null"),
    "undefined": Sentence("leave the parameter out, or send null"),
    "None": Sentence("leave the parameter out, or send null"),
    "True": Sentence("write true in small letters"),
    "False": Sentence("write false in small letters"),
}
ORJSONS_WORDS: dict[str, Sentence] = {
    sentence: sentence
    for sentence in (
        Sentence("invalid escaped sequence in string"),
        Sentence("number is infinity when parsed as double"),
        Sentence("number with leading zero is not allowed"),
        Sentence("no digit after sign"),
        Sentence("unexpected character, expected ',' or ']'"),
        Sentence("unexpected character, expected ',' or '}'"),
        Sentence("unexpected character, expected ':' after key"),
        Sentence("unexpected character, expected a JSON value"),
        Sentence("unexpected content after document"),
    )
}
"""What orjson says of mistakes for which :func:`_json_problem` has no better words. Others come in English."""

FOREIGN_WORD = re.compile("|".join(PYTHONS_AND_JAVASCRIPTS))


def charset_of(req: Request) -> str:
    """Python's name of the charset that the Content-Type names; UTF-8 if it names none.

    :raises ValidationFailed: nobody knows this charset
    """
    return charset_named(req.mimetype_params.get("charset"))


def read_query(query: bytes) -> Json:
    """The parameters of a query string, as :func:`read_form` gives them.

    :raises ValidationFailed: it is not UTF-8
    """
    return _read_pairs(
        query,
        UTF_8,
        lambda name: Sentence(
            "{name} in the query string is not UTF-8. Write it in UTF-8, such as %E4%B8%AD for 中; or send it in a body,"
            " whose Content-Type can name another charset.",
            name=name,
        ),
    )


def read_form(form: bytes, charset: str) -> Json:
    """The parameters of an urlencoded form: a text for each name; a list of texts for a name that is repeated.

    :param charset: what :func:`charset_of` has found
    :raises ValidationFailed: the form is not in this charset
    """
    if charset.startswith(("utf-16", "utf-32")):
        raise ValidationFailed(
            Sentence("A form cannot be read in the charset {charset}. Send it in UTF-8.", charset=charset)
        )
    advice = _advice(charset, "x-www-form-urlencoded")

    def unreadable(name: str) -> Sentence:
        return Sentence("{name} in the form is not {advice}", name=name, advice=advice)

    if charset in WESTERN:
        try:
            return _read_pairs(form, UTF_8, unreadable)
        except ValidationFailed:
            pass  # It is what its Content-Type says.
    return _read_pairs(form, charset, unreadable)


def read_fields(form: MultiDict[str, str]) -> Json:
    """The parameters of a multipart form, as :func:`read_form` gives them. Fields without a name are left out."""
    given: Json = {}
    for name, texts in form.lists():
        if name is None:  # This is werkzeug's name for a part that has none.
            continue
        for text in texts:
            _add(given, name, _unix_lines(text))
    return given


def _read_pairs(data: bytes, charset: str, unreadable: Callable[[str], Sentence]) -> Json:
    given: Json = {}
    for pair in data.split(b"&"):
        if not pair:
            continue
        name, _, text = pair.partition(b"=")
        try:
            _add(given, _decode(name, charset), _unix_lines(_decode(text, charset)))
        except UnicodeDecodeError:
            as_sent = shown(name[:NAME_BYTES].decode("ascii", "backslashreplace"))
            raise ValidationFailed(unreadable(as_sent)) from None
    return given


def _decode(text: bytes, charset: str) -> str:
    # Not urllib's parse_qsl: it decodes each run of escapes alone, but half of a character in GBK can be a letter.
    text = text.replace(b"+", b" ")
    return (unquote_to_bytes(text) if b"%" in text else text).decode(charset)


def _unix_lines(text: str) -> str:
    """Browsers turn every line break in a form into CRLF, also the one in a separator that a page has set to LF."""
    return text.replace("\r\n", "\n") if "\r" in text else text


def _add(given: Json, name: str, text: str) -> None:
    before = given.get(name)
    if before is None or before == "":
        given[name] = text
    elif text == "":
        return
    elif isinstance(before, list):
        before.append(text)
    else:
        given[name] = [before, text]


def read_json(body: bytes, charset: str) -> Json:
    """The parameters of a JSON object.

    :param charset: what :func:`charset_of` has found
    :raises ValidationFailed: the body cannot be decoded, is not valid JSON, is not an object, or has a name twice
    """
    body = _in_utf_8(body, charset)
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ValidationFailed(_json_problem(body, error)) from None
    if not isinstance(given, dict):
        raise ValidationFailed(Sentence('The body must be a JSON object, such as {"kb_id": "…"}.'))
    if len(given) > MAX_NAMES:
        raise ValidationFailed(
            Sentence("The body has {count:,} names. {max_names:,} are the most.", count=len(given), max_names=MAX_NAMES)
        )
    # orjson takes the last of two values without a word. A name that stands there twice may once be a value.
    if len(given) * len(body) > MAX_SCANNED_BYTES or any(body.count(b'"%b"' % name.encode()) > 1 for name in given):
        _refuse_repeated_names(body)
    return given


def _in_utf_8(body: bytes, charset: str) -> bytes:
    if body.startswith(UNICODE_MARKS) or b"\0" in body[:4]:
        charset = json.detect_encoding(body)
    elif charset == UTF_8 or charset in WESTERN and _is_utf_8(body):
        return body
    try:
        return body.decode(charset).encode()
    except UnicodeError:
        raise ValidationFailed(_not_in_charset(charset)) from None


def _is_utf_8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _not_in_charset(charset: str) -> Sentence:
    return Sentence("The body is not {advice}", advice=_advice(charset, "json"))


def _advice(charset: str, kind: str) -> Sentence:
    """The end of a sentence about a text that is not in its charset."""
    if charset == UTF_8:
        return Sentence(
            "UTF-8. Send it in UTF-8, or name its charset in the Content-Type, such as application/{kind};charset=GBK.",
            kind=kind,
        )
    return Sentence(
        "{charset}, which its first bytes or its Content-Type name as its charset. Send it in UTF-8.", charset=charset
    )


def _refuse_repeated_names(body: bytes) -> None:
    """
    :raises ValidationFailed: this valid JSON object has a name twice, so one of its two values would be lost
    """
    try:
        pairs = json.loads(body, object_pairs_hook=list)  # No function of ours for each object: there may be many.
    except RecursionError:
        raise ValidationFailed(Sentence("The body is nested too deeply.")) from None
    ((name, times),) = Counter(name for name, _ in pairs).most_common(1)
    if times > 1:
        raise ValidationFailed(Sentence("The body has the name '{name}' twice. Send it once.", name=shown(name)))


def _json_problem(body: bytes, error: orjson.JSONDecodeError) -> Sentence:
    """A sentence about JSON that is not valid. orjson's own words do not tell what would be right."""
    if not _is_utf_8(body):
        return _not_in_charset(UTF_8)
    position = max(0, error.pos - 1) if "after sign" in error.msg else error.pos
    rest = error.doc[position : position + NAME_BYTES].lstrip("-")
    if word := FOREIGN_WORD.match(rest):
        problem = Sentence("{word} is not JSON: {advice}", word=word[0], advice=PYTHONS_AND_JAVASCRIPTS[word[0]])
    elif "trailing comma" in error.msg:
        problem = Sentence("the comma after the last entry is too many")
    elif "surrogate" in error.msg:
        problem = Sentence(r"a character of which only one half is there, such as \ud83d")
    elif "depth" in error.msg:
        problem = Sentence("it is nested too deeply")
    elif rest.startswith("'"):
        problem = Sentence('names and texts must stand in double quotes, as in {"kb_id": "…"}')
    elif "string key" in error.msg:
        problem = Sentence('every name must stand in double quotes, as in {"kb_id": "…"}')
    elif rest.startswith(("//", "/*", "#")):
        problem = Sentence("JSON has no comments")
    elif position >= len(error.doc.rstrip()):
        problem = Sentence("it ends too early")
    elif "control character" in error.msg:
        problem = Sentence(r"a line break or a tab within a text must be written as \n or \t")
    elif re.match(r"[\w\[\].]+=", error.doc):
        problem = Sentence("it looks like a form, whose Content-Type is application/x-www-form-urlencoded")
    else:
        problem = ORJSONS_WORDS.get(error.msg, quoted(error.msg))
    return Sentence(
        "The body is not valid JSON: {problem} (line {line}, column {column}).",
        problem=problem,
        line=error.lineno,
        column=error.colno,
    )
