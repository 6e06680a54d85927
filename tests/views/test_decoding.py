"""Bodies and query strings in every charset: they are read, or a sentence tells what is wrong. Nothing is garbled."""

from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from flask import g

from config import Config
from route_api.access.callers import OPEN_ACCESS
from route_api.app import create_app
from route_api.errors import ValidationFailed
from route_api.schemas.conversation import ConversationName
from route_api.views.brackets import unfold
from route_api.views.parameters import PARSER

from ..support.settings import OPEN

APP = create_app(Config.load(**OPEN, DATABASE_URL="sqlite://"))
SCHEMA = ConversationName()
ID = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"
NAME = "水厂蝎子镕"
"""In GBK, 蝎 has the letter D as its second half, which forms do not escape. 镕 is in GBK but not in GB 2312."""

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
TEXT = '{"user_id": "alice", "conversation_id": "%s", "name": "%s"}' % (ID, NAME)


def name_of(**request: Any) -> Any:
    """The name that a request is loaded with, or the sentence with which it is refused."""
    with APP.test_request_context("/", method="POST", **request):
        g.caller = OPEN_ACCESS
        try:
            return PARSER.parse(SCHEMA, location="json")["name"]
        except ValidationFailed as error:
            return error.message


def form(charset: str, *, escaped: bool = True) -> bytes:
    encoded = NAME.encode(charset)
    name = quote_from_bytes(encoded).encode() if escaped else encoded
    return b"user_id=alice&conversation_id=" + ID.encode() + b"&name=" + name


def in_query(pairs: bytes) -> dict[str, Any]:
    return {"environ_overrides": {"QUERY_STRING": pairs.decode("latin-1")}}


@pytest.mark.parametrize("charset", ["GBK", "gb2312", "GB18030", "cp936", "utf-8", "UTF8", '"GBK"', "big5hkscs"])
def test_a_body_is_read_in_the_charset_that_it_names(charset: str) -> None:
    codec = {"gb2312": "gbk", '"GBK"': "gbk"}.get(charset, charset)
    name = NAME.replace("厂", "廠").replace("镕", "鎔") if charset == "big5hkscs" else NAME
    body = TEXT.replace(NAME, name).encode(codec)
    assert name_of(data=body, content_type=f"{JSON};charset={charset}") == name


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("charset", ["GBK", "gb2312", "GB18030", "utf-8"])
def test_a_form_is_read_in_the_charset_that_it_names(charset: str, escaped: bool) -> None:
    body = form("gbk" if charset == "gb2312" else charset, escaped=escaped)
    assert name_of(data=body, content_type=f"{FORM}; charset={charset}") == NAME


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("named", ["", ";charset=utf-8", ";charset=GBK"])
def test_a_bom_and_utf_16_are_recognised(codec: str, named: str) -> None:
    assert name_of(data=TEXT.encode(codec), content_type=JSON + named) == NAME


@pytest.mark.parametrize("charset", ["ISO-8859-1", "us-ascii", "windows-1252"])
def test_utf_8_under_the_name_of_a_western_charset_is_utf_8(charset: str) -> None:
    assert name_of(data=TEXT.encode(), content_type=f"{JSON};charset={charset}") == NAME
    assert name_of(data=form("utf-8"), content_type=f"{FORM};charset={charset}") == NAME


def test_what_is_really_in_a_western_charset_is_read_in_it() -> None:
    body = TEXT.replace(NAME, "café").encode("latin-1")
    assert name_of(data=body, content_type=f"{JSON};charset=ISO-8859-1") == "café"
    body = form("utf-8").partition(b"&name=")[0] + b"&name=caf%E9"
    assert name_of(data=body, content_type=f"{FORM};charset=ISO-8859-1") == "café"


HOW = "Send it in UTF-8, or name its charset in the Content-Type, such as application/"


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"data": TEXT.encode("gbk"), "content_type": JSON}, f"The body is not UTF-8. {HOW}json;charset=GBK."),
        ({"data": TEXT.encode("gbk"), "content_type": f"{JSON};charset=utf-8"}, "The body is not UTF-8."),
        ({"data": form("gbk"), "content_type": FORM}, f"name in the form is not UTF-8. {HOW}x-www-form-urlencoded"),
        ({"data": form("gbk", escaped=False), "content_type": FORM}, "name in the form is not UTF-8."),
        (in_query(form("gbk")), "name in the query string is not UTF-8. Write it in UTF-8, such as %E4%B8%AD"),
        (in_query(form("gbk", escaped=False)), "name in the query string is not UTF-8."),
        (in_query(b"%C3%FB=1"), "%C3%FB in the query string is not UTF-8."),
        ({"data": b'{"name": "\xff"}', "content_type": f"{JSON};charset=GBK"}, "The body is not gb18030"),
        ({"data": b"name=%FF", "content_type": f"{FORM};charset=GBK"}, "name in the form is not gb18030"),
        (
            {"data": b"{}", "content_type": f"{JSON};charset=klingon"},
            "The charset 'klingon' of the Content-Type is not",
        ),
        ({"data": b"{}", "content_type": f"{JSON};charset=base64"}, "The charset 'base64' of the Content-Type is not"),
        ({"data": b"a=1", "content_type": f"{FORM};charset=idna"}, "The charset 'idna' of the Content-Type is not"),
        ({"data": b"a=1", "content_type": f"{FORM};charset=utf-16"}, "A form cannot be read in the charset utf-16."),
    ],
)
def test_what_cannot_be_decoded_is_told_in_words(request_: dict[str, Any], words: str) -> None:
    assert name_of(**request_).startswith(words)


def multipart(name: bytes, part_type: str = "", charset: str = "") -> dict[str, Any]:
    content_type = f"Content-Type: {part_type}\r\n".encode() if part_type else b""
    fields = {b"user_id": b"alice", b"conversation_id": ID.encode()}
    parts = [b'Content-Disposition: form-data; name="%b"\r\n\r\n%b' % field for field in fields.items()]
    parts.append(b'Content-Disposition: form-data; name="name"\r\n%b\r\n%b' % (content_type, name))
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
    return {"data": body, "content_type": f"multipart/form-data; boundary=b{charset}"}


@pytest.mark.parametrize(
    ("codec", "part_type", "charset"),
    [
        ("utf-8", "", ""),
        ("gbk", "text/plain;charset=GBK", ""),
        ("gbk", "text/plain; charset=GB2312", ";charset=UTF-8"),
        ("gbk", "", ";charset=GBK"),
        ("utf-8", "", ";charset=GBK"),  # what Spring sends: its charset is that of the files' names
        ("utf-8", "", ";charset=klingon"),
        ("utf-8", "text/plain;charset=ISO-8859-1", ""),
        ("utf-16", "text/plain;charset=UTF-16", ""),
    ],
)
def test_a_field_of_a_multipart_form_is_read_in_the_charset_that_it_names(
    codec: str, part_type: str, charset: str
) -> None:
    assert name_of(**multipart(NAME.encode(codec), part_type, charset)) == NAME


def test_a_field_that_is_really_in_a_western_charset_is_read_in_it() -> None:
    assert name_of(**multipart("café".encode("latin-1"), "text/plain;charset=ISO-8859-1")) == "café"


def test_a_replacement_character_in_a_field_is_a_character() -> None:
    assert name_of(**multipart("a\ufffdb".encode())) == "a\ufffdb"


@pytest.mark.parametrize(
    ("name", "part_type", "words"),
    [
        (NAME.encode("gbk"), "", "name in the form is not utf-8. Send it in UTF-8, or name its charset"),
        (NAME.encode("gbk"), "text/plain;charset=UTF-8", "name in the form is not utf-8."),
        (b"\xff", "text/plain;charset=GBK", "name in the form is not gb18030."),
        (b"x", "text/plain;charset=klingon", "The charset 'klingon' of the Content-Type is not known."),
    ],
)
def test_a_field_of_a_multipart_form_that_cannot_be_decoded_is_told_in_words(
    name: bytes, part_type: str, words: str
) -> None:
    assert name_of(**multipart(name, part_type)).startswith(words)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"a": NaN}', "NaN is not JSON: leave the parameter out, or send null (line 1, column 7)"),
        ('{"a": -Infinity}', "Infinity is not JSON: leave the parameter out, or send null"),
        ('{"a": undefined}', "undefined is not JSON: leave the parameter out, or send null"),
        ('{"a": None}', "None is not JSON: leave the parameter out, or send null"),
        ('{"a": True}', "True is not JSON: write true in small letters"),
        ('{"中": "中",\n "a": 1,\n}', "the comma after the last entry is too many (line 2, column 8)"),
        ('{"a": [1,]}', "the comma after the last entry is too many"),
        ("{'a': 1}", "names and texts must stand in double quotes"),
        ("{a: 1}", "every name must stand in double quotes"),
        ('{"a": "x\ny"}', r"a line break or a tab within a text must be written as \n or \t"),
        ('{"a": 1} // no', "JSON has no comments"),
        ('// yes\n{"a": 1}', "JSON has no comments"),
        ('{"a": "b', "it ends too early"),
        ("   ", "it ends too early"),
        ("a=1&b=2", "it looks like a form, whose Content-Type is application/x-www-form-urlencoded"),
        ('{"a": "\\ud83d"}', r"a character of which only one half is there, such as \ud83d"),
        ('{"a": ' + 2000 * "[", "it is nested too deeply"),
    ],
)
def test_a_mistake_in_json_is_told_in_words(body: str, words: str) -> None:
    message = name_of(data=body.encode(), content_type=JSON)
    assert message.startswith(f"The body is not valid JSON: {words}") and len(message) < 200
    assert "(line " in message


@pytest.mark.parametrize(
    "body",
    [
        '{"name": "a", "name": "b"}',
        '{"name": "a", "user_id": "name", "name": "a"}',
        '{"history": ' + 900 * "[" + 900 * "]" + ', "name": 1, "name": 2}',
        "{" + "".join(f'"n{number}": 1, ' for number in range(19_000)) + '"name": 1, "name": 2}',
        '{"name": 1, "name": 2, "x": "' + 70_000_000 * "x" + '"}',
    ],
)
def test_a_name_that_is_there_twice_is_refused(body: str) -> None:
    wide = create_app(Config.load(**OPEN, DATABASE_URL="sqlite://", MAX_JSON_MB=100))
    with wide.test_request_context("/", method="POST", data=body, content_type=JSON):
        g.caller = OPEN_ACCESS
        with pytest.raises(ValidationFailed, match="The body has the name 'name' twice. Send it once."):
            PARSER.parse(SCHEMA, location="json")


def test_a_name_that_is_also_a_value_is_there_once() -> None:
    body = TEXT.replace("alice", "name").replace(NAME, '\\"name\\" user_id')
    assert name_of(data=body, content_type=JSON) == '"name" user_id'


def test_json_of_too_many_names_is_refused() -> None:
    body = "{" + ",".join(f'"n{number}":1' for number in range(20_001)) + "}"
    assert name_of(data=body, content_type=JSON) == "The body has 20,001 names. 20,000 are the most."


@pytest.mark.parametrize(
    ("given", "unfolded"),
    [
        ({"a": "1"}, {"a": "1"}),
        ({"a[]": "1"}, {"a": ["1"]}),
        ({"a[]": ["1", "2"], "a": "0"}, {"a": ["0", "1", "2"]}),
        ({"a[0]": "x", "a[1]": "y"}, {"a": {"0": "x", "1": "y"}}),
        ({"a[b][c]": "x", "a[b].d": "y"}, {"a": {"b": {"c": "x", "d": "y"}}}),
        ({"a[b][]": "x"}, {"a": {"b": ["x"]}}),
        ({"a": "1", "a[b]": "2"}, {"a": {"0": "1", "b": "2"}}),
        (
            {"a[][b]": "x", "[a]": 1, "a[": 2, "a]": 3, "a[b]c": 4},
            {"a[][b]": "x", "[a]": 1, "a[": 2, "a]": 3, "a[b]c": 4},
        ),
        ({"a" + 6 * "[b]": 1}, {"a" + 6 * "[b]": 1}),
    ],
)
def test_names_with_brackets_become_lists_and_objects(given: dict[str, Any], unfolded: dict[str, Any]) -> None:
    assert unfold(given) == unfolded
