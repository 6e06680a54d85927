"""Multipart forms as clients frame them: each is read, or refused for what it is. No file loses a byte."""

import base64
import random
from binascii import b2a_qp
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from werkzeug.exceptions import RequestEntityTooLarge

from route_api.errors import ValidationFailed
from route_api.forms import multipart
from route_api.forms.multipart import Content, Part, boundary_of, read_parts

TYPE = "multipart/form-data; boundary=b"
CONTENT = bytes(range(256)) * 3 + b"\r\n--a\r\n--\r\nend"


def part(name: str = "file", content: bytes = b"x", *headers: str, filename: str | None = "a.txt") -> bytes:
    shown = "" if filename is None else f'; filename="{filename}"'
    lines = [f'Content-Disposition: form-data; name="{name}"{shown}', *headers]
    return b"--b\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + content + b"\r\n"


def read(body: bytes, content_type: str = TYPE, **limits: Any) -> list[tuple[str, str | None, bytes]]:
    parts: list[tuple[str, str | None, bytes]] = []
    is_open = False
    for event in read_parts(BytesIO(body), content_type, **limits):
        if isinstance(event, Part):
            assert not is_open
            parts.append((event.headers.name, event.headers.filename, b""))
            is_open = True
        else:
            assert isinstance(event, Content) and is_open
            parts[-1] = (*parts[-1][:2], parts[-1][2] + event.data)
            is_open = not event.is_last
    assert not is_open
    return parts


@pytest.fixture(params=[1, 2, 7, 64 * 1024], autouse=True)
def read_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test runs with bodies that arrive byte by byte, and in larger pieces."""
    monkeypatch.setattr(multipart, "READ_SIZE", request.param)
    yield


def test_fields_and_files_come_in_their_order_with_every_byte() -> None:
    body = (
        part("kb_id", b"1", filename=None) + part("file", CONTENT) + part("file", b"", filename="b.txt") + b"--b--\r\n"
    )
    assert read(body, content_length=len(body)) == [
        ("kb_id", None, b"1"),
        ("file", "a.txt", CONTENT),
        ("file", "b.txt", b""),
    ]


@pytest.mark.parametrize(
    "end", [b"--b--", b"--b--\r\n", b"--b--  \r\n", b"--b--\r\nepilogue\r\n", b"--b--\r\n--b--\r\n"]
)
@pytest.mark.parametrize("begin", [b"", b"\r\n", b"This is a message in MIME format.\r\n"])
def test_preamble_and_epilogue_are_no_content(begin: bytes, end: bytes) -> None:
    assert read(begin + part() + end) == [("file", "a.txt", b"x")]


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"x\n", b"x\r", b"x\r\n", b"\n", b"\r", b"\r\n\r\n", b"x--b", b"\n--bc", b"-\r\n-\r\n--c\r\n"],
)
@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
def test_a_file_keeps_its_own_line_ends_also_in_a_form_with_bare_lf(line_end: bytes, content: bytes) -> None:
    lines = [b"--b", b'Content-Disposition: form-data; name="file"; filename="a.txt"', b"", content, b"--b--", b""]
    assert read(line_end.join(lines)) == [("file", "a.txt", content)]


@pytest.mark.parametrize(
    ("boundary", "sent"),
    [
        ("----=_Part_5_1234.5678", 'boundary="----=_Part_5_1234.5678"'),  # JavaMail
        ("----=_Part_5_1234.5678", "boundary=----=_Part_5_1234.5678"),
        ("a b", 'Boundary = "a b"'),
        ("x/y:z", "charset=utf-8; boundary=x/y:z ; x=1"),
        ('q"q', r'boundary="q\"q"'),
        ("----WebKitFormBoundary7MA", "boundary=----WebKitFormBoundary7MA"),
    ],
)
def test_a_boundary_is_read_in_quotes_or_not(boundary: str, sent: str) -> None:
    body = part().replace(b"--b", f"--{boundary}  ".encode()) + f"--{boundary}--".encode()
    assert boundary_of(f"multipart/form-data; {sent}") == boundary
    assert read(body, f"multipart/form-data; {sent}") == [("file", "a.txt", b"x")]


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("binary", CONTENT),
        ("8BIT", CONTENT),
        ("base64", base64.encodebytes(CONTENT)),
        ("Base64", base64.b64encode(CONTENT)),
        ("base64", b"\r\n".join(base64.b64encode(CONTENT + b"ab")[at : at + 3] for at in range(0, 9999, 3))),
        ("quoted-printable", b2a_qp(CONTENT, istext=False)),
        ("quoted-printable", b2a_qp(CONTENT, istext=False).replace(b"\n", b"\r\n")),
    ],
)
def test_content_is_decoded_as_its_header_says(encoding: str, content: bytes) -> None:
    body = part("file", content, f"Content-Transfer-Encoding: {encoding}") + b"--b--"
    ((_, _, decoded),) = read(body)
    assert decoded.removesuffix(b"ab") == CONTENT


HALF = part("file", b"half a fi")
MIXED = part("file", b"--i\r\n", "Content-Type: multipart/mixed; boundary=i", filename=None)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "The body has no part"),
        (b"hello", "The body has no part: the line --b"),
        (part().replace(b"--b", b"--c") + b"--c--", "The body has no part: the line --b"),
        (HALF, "ends without its last line, --b--"),
        (HALF.removesuffix(b"\r\n"), "ends without its last line, --b--"),
        (HALF + b"--b", "ends without its last line, --b--"),
        (HALF + b"--b-", "ends without its last line, --b--"),
        (HALF + b"--b\r\n", "ends without its last line, --b--"),
        (HALF + b"--b\r\nContent-Disposition: form-data; name=x\r\n", "ends without its last line, --b--"),
        (part() + b"--b--\r\n" + part() + b"--b--\r\n", "parts after its last line, --b--"),
        (part("file", b"x", "Content-Transfer-Encoding: uuencode") + b"--b--", "uuencode, which is not known"),
        (part("file", b"@@", "Content-Transfer-Encoding: base64") + b"--b--", "its content is no base64"),
        (part("file", b"QQ=\r\nQUJD", "Content-Transfer-Encoding: base64") + b"--b--", "its content is no base64"),
        (MIXED + b"--b--", "Send each file as a part of its own, all of them with the name file"),
        (b"--b\r\n\r\nx\r\n--b--", "no header Content-Disposition"),
        (part("file", b"x", "x" * 17_000) + b"--b--", "more than 16,384 bytes"),
    ],
)
def test_what_cannot_be_read_is_refused_for_what_it_is(body: bytes, words: str) -> None:
    with pytest.raises(ValidationFailed, match=words):
        read(body)


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=", 'm; boundary=""'])
def test_a_content_type_without_a_boundary_is_told(content_type: str) -> None:
    with pytest.raises(ValidationFailed, match="without a boundary"):
        read(part(), content_type)


def test_a_body_that_is_shorter_than_announced_is_no_form() -> None:
    body = part() + b"--b--\r\n"
    with pytest.raises(ValidationFailed, match=f"ended after {len(body)} bytes, before the {len(body) + 9} bytes"):
        read(body, content_length=len(body) + 9)


def test_a_body_that_was_cut_off_at_the_limit_is_too_large() -> None:
    body = part("file", b"x" * 500)
    with pytest.raises(RequestEntityTooLarge):
        read(body, max_length=len(body))


def test_no_cut_of_a_form_is_taken_for_a_whole_one() -> None:
    body = part("kb_id", b"1", filename=None) + part("file", CONTENT[:40]) + b"--b--"
    for length in range(len(body)):
        with pytest.raises(ValidationFailed):
            read(body[:length])


def test_random_contents_survive() -> None:
    source = random.Random(7)
    for _ in range(100):
        content = bytes(source.choices(b"\r\n-b", k=source.randint(0, 30)))
        if b"\n--b" not in content:
            assert read(part("file", content) + b"--b--") == [("file", "a.txt", content)]
