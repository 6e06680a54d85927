"""Turns the bytes of a query string and of a body into parameters, whatever their charset.

What cannot be read is told in words: a garbled text is never stored in silence.
"""

import codecs
import json
import re
from collections import Counter
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
from flask import Request
from werkzeug.datastructures import MultiDict

from ..errors import ValidationFailed
from ..schemas.unused import shown

Json = dict[str, Any]

UTF_8 = "utf-8"
CHINESE = ("gb2312", "gbk")
"""Clients that name one of these also send characters that only GB18030 has, which contains both."""

WESTERN = ("ascii", "iso8859-1", "cp1252")
"""What some clients name as the charset of a body that they send in UTF-8. Almost no text in one of these charsets is
valid UTF-8 by chance."""

CHARSETS = re.compile(
    r"utf-(8|8-sig|16|16-le|16-be|32|32-le|32-be)|gb.*|big5.*|euc_.*|shift_jis.*|cp\d+|iso8859-\d+|koi8.*|ascii"
)
"""Python's names of the charsets that we read. Python also knows codecs that are no charsets."""

UNICODE_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

MAX_NAMES = 20_000
"""The maximum number of names in a JSON object. A body of 4 MB could have 300,000, and would keep all other requests of
the process waiting for half a second."""

MAX_SCANNED_BYTES = 200_000_000
"""How much is searched for repeated names: less than 100 milliseconds. Beyond it, Python's JSON parser is faster."""

NAME_BYTES = 60
"""How much of a name an error message shows."""

PYTHONS_AND_JAVASCRIPTS = {
    "NaN": "leave the parameter out, or send null",
    "Infinity": "leave the parameter out, or send null",
    "undefined": "leave the parameter out, or send null",
    "None": "leave the parameter out, or send null",
    "True": "write true in small letters",
    "False": "write false in small letters",
}
FOREIGN_WORD = re.compile("|".join(PYTHONS_AND_JAVASCRIPTS))


def charset_of(req: Request) -> str:
    """Python's name of the charset that the Content-Type names; UTF-8 if it names none.

    :raises ValidationFailed: nobody knows this charset
    """
    named = req.mimetype_params.get("charset")
    if not named or named.lower() == UTF_8:
        return UTF_8
    try:
        found = codecs.lookup(named).name
    except (LookupError, ValueError):
        found = ""
    if not CHARSETS.fullmatch(found):
        raise ValidationFailed(
            f"The charset {ascii(named[:NAME_BYTES])} of the Content-Type is not known. Send the body in UTF-8."
        )
    return "gb18030" if found in CHINESE else found


def read_query(query: bytes) -> Json:
    """The parameters of a query string, as :func:`read_form` gives them.

    :raises ValidationFailed: it is not UTF-8
    """
    return _read_pairs(
        query,
        UTF_8,
        "{name} in the query string is not UTF-8. Write it in UTF-8, such as %E4%B8%AD for 中; or send it in a body,"
        " whose Content-Type can name another charset.",
    )


def read_form(form: bytes, charset: str) -> Json:
    """The parameters of an urlencoded form: a text for each name; a list of texts for a name that is repeated.

    :param charset: what :func:`charset_of` has found
    :raises ValidationFailed: the form is not in this charset
    """
    if charset.startswith(("utf-16", "utf-32")):
        raise ValidationFailed(f"A form cannot be read in the charset {charset}. Send it in UTF-8.")
    unreadable = "{name} in the form is not " + _advice(charset, "x-www-form-urlencoded")
    if charset in WESTERN:
        try:
            return _read_pairs(form, UTF_8, unreadable)
        except ValidationFailed:
            pass  # It is what its Content-Type says.
    return _read_pairs(form, charset, unreadable)


def read_fields(form: MultiDict[str, str]) -> Json:
    """The parameters of a multipart form, as :func:`read_form` gives them. Fields without a name are left out.

    :raises ValidationFailed: a field is not UTF-8
    """
    given: Json = {}
    for name, texts in form.lists():
        if name is None:  # This is werkzeug's name for a part that has none.
            continue
        for text in texts:
            if "\ufffd" in text:  # werkzeug has put this in place of what it could not read.
                raise ValidationFailed(f"{shown(name)} in the form is not UTF-8. Send the form in UTF-8.")
            _add(given, name, _unix_lines(text))
    return given


def _read_pairs(data: bytes, charset: str, unreadable: str) -> Json:
    given: Json = {}
    for pair in data.split(b"&"):
        if not pair:
            continue
        name, _, text = pair.partition(b"=")
        try:
            _add(given, _decode(name, charset), _unix_lines(_decode(text, charset)))
        except UnicodeDecodeError:
            as_sent = shown(name[:NAME_BYTES].decode("ascii", "backslashreplace"))
            raise ValidationFailed(unreadable.format(name=as_sent)) from None
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
        raise ValidationFailed('The body must be a JSON object, such as {"kb_id": "…"}.')
    if len(given) > MAX_NAMES:
        raise ValidationFailed(f"The body has {len(given):,} names. {MAX_NAMES:,} are the most.")
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
        raise ValidationFailed("The body is not " + _advice(charset, "json")) from None


def _is_utf_8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _advice(charset: str, kind: str) -> str:
    """The end of a sentence about a text that is not in its charset."""
    if charset == UTF_8:
        return (
            f"UTF-8. Send it in UTF-8, or name its charset in the Content-Type, such as application/{kind};charset=GBK."
        )
    return f"{charset}, which its first bytes or its Content-Type name as its charset. Send it in UTF-8."


def _refuse_repeated_names(body: bytes) -> None:
    """
    :raises ValidationFailed: this valid JSON object has a name twice, so one of its two values would be lost
    """
    try:
        pairs = json.loads(body, object_pairs_hook=list)  # No function of ours for each object: there may be many.
    except RecursionError:
        raise ValidationFailed("The body is nested too deeply.") from None
    ((name, times),) = Counter(name for name, _ in pairs).most_common(1)
    if times > 1:
        raise ValidationFailed(f"The body has the name '{shown(name)}' twice. Send it once.")


def _json_problem(body: bytes, error: orjson.JSONDecodeError) -> str:
    """A sentence about JSON that is not valid. orjson's own words do not tell what would be right."""
    if not _is_utf_8(body):
        return "The body is not " + _advice(UTF_8, "json")
    position = max(0, error.pos - 1) if "after sign" in error.msg else error.pos
    rest = error.doc[position : position + NAME_BYTES].lstrip("-")
    if word := FOREIGN_WORD.match(rest):
        problem = f"{word[0]} is not JSON: {PYTHONS_AND_JAVASCRIPTS[word[0]]}"
    elif "trailing comma" in error.msg:
        problem = "the comma after the last entry is too many"
    elif "surrogate" in error.msg:
        problem = r"a character of which only one half is there, such as \ud83d"
    elif "depth" in error.msg:
        problem = "it is nested too deeply"
    elif rest.startswith("'"):
        problem = 'names and texts must stand in double quotes, as in {"kb_id": "…"}'
    elif "string key" in error.msg:
        problem = 'every name must stand in double quotes, as in {"kb_id": "…"}'
    elif rest.startswith(("//", "/*", "#")):
        problem = "JSON has no comments"
    elif position >= len(error.doc.rstrip()):
        problem = "it ends too early"
    elif "control character" in error.msg:
        problem = r"a line break or a tab within a text must be written as \n or \t"
    elif re.match(r"[\w\[\].]+=", error.doc):
        problem = "it looks like a form, whose Content-Type is application/x-www-form-urlencoded"
    else:
        problem = error.msg
    return f"The body is not valid JSON: {problem} (line {error.lineno}, column {error.colno})."
