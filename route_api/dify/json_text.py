"""Decodes the JSON that Dify sends, without the characters that no database can hold.

These are U+0000, which PostgreSQL refuses, and the lone surrogates U+D800 to U+DFFF, which are no characters and cannot
be encoded as UTF-8. A model or an extracted file may contain them. Each becomes U+FFFD, the replacement character.
"""

import re
from typing import Any

import orjson

NUL_ESCAPE = b"\\u0000"
"""How JSON writes U+0000. There is no other spelling."""

_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a surrogate pair, which is one character
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})"  # a lone surrogate
    rb"|.)",
    re.DOTALL,
)


def decode(body: bytes) -> Any:
    """Decode JSON. A text without such characters takes one search for NUL_ESCAPE more than orjson alone.

    :raises orjson.JSONDecodeError: the body is no JSON
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        # orjson refuses lone surrogates, the byte 0 in a text, and bytes that are not UTF-8.
        value = orjson.loads(_mend(body))
    return _clean(value) if NUL_ESCAPE in body else value


def _mend(body: bytes) -> bytes:
    text = body.replace(b"\0", b"\xef\xbf\xbd").decode(errors="replace").encode()
    return _ESCAPES.sub(lambda found: b"\\ufffd" if found[1] else found[0], text)


def _clean(value: Any) -> Any:
    """Replace U+0000 in every text of decoded JSON."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, list):
        return [_clean(each) for each in value]
    if isinstance(value, dict):
        return {_clean(name): _clean(each) for name, each in value.items()}
    return value
