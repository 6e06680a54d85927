"""Decoding of Dify's JSON: characters that no database can hold become U+FFFD, all others stay."""

import orjson
import pytest

from route_api.dify.json_text import decode

BAD = {
    rb'"a\u0000b"': "a\ufffdb",
    b'"a\x00b"': "a\ufffdb",
    rb'"a\ud800b"': "a\ufffdb",
    rb'"a\uDfFFb"': "a\ufffdb",
    rb'"\ud800\ud83d\ude00"': "\ufffd😀",
    rb'"\ude00\ud83d"': "\ufffd\ufffd",
    b'"a\xffb"': "a\ufffdb",
    rb'{"a\u0000": ["\u0000", {"b": "\ud800"}]}': {"a\ufffd": ["\ufffd", {"b": "\ufffd"}]},
    b'{"nul": "\\u0000", "raw": "\x00", "lone": "\\ud800", "bytes": "\xed\xa0\x80"}': {
        "nul": "\ufffd",
        "raw": "\ufffd",
        "lone": "\ufffd",
        "bytes": "\ufffd\ufffd\ufffd",
    },
}


@pytest.mark.parametrize("body", BAD)
def test_what_no_database_can_hold_is_replaced(body: bytes) -> None:
    assert decode(body) == BAD[body]


@pytest.mark.parametrize(
    "text", ["葫芦庙 😀", "\\u0000", "\\\\u0000", "\\ud800", "C:\\users", "\t\r\n\b\f/", "\x7f\x80\ufffd\uffff", '"']
)
@pytest.mark.parametrize("beside", ["", "\0"])
def test_other_characters_stay(text: str, beside: str) -> None:
    """Also beside one that is replaced, and also if the text is what JSON would write for such a character."""
    assert decode(orjson.dumps(text + beside)) == text + beside.replace("\0", "\ufffd")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{", b'"\\u00"', b'"\\ud8"', b'"\\x"', b"NaN", b"1e999", b"[" * 5000, b"\\u0000", b"\0"]
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        decode(body)


def test_deep_json_with_a_nul_is_decoded_without_recursion() -> None:
    decoded = decode(b"[" * 900 + rb'"\u0000"' + b"]" * 900)
    for _ in range(900):
        (decoded,) = decoded
    assert decoded == "\ufffd"
