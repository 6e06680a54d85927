"""Reads a multipart form piece by piece, as clients frame it, and refuses in words what cannot be read.

This is not werkzeug's decoder, because that one (3.1.9) adds a CR to the end of a file if a read ends within the
boundary behind it, drops a CR from the end of a file in a form with LF, and does not say why it cannot read a form.
Other libraries refuse a form with LF. What the headers say is read by `part_headers.py`.
"""

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, a2b_qp
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

from werkzeug.exceptions import RequestEntityTooLarge

from ..errors import ValidationFailed
from ..languages import Sentence
from .part_headers import PartHeaders, read_part_headers

READ_SIZE = 64 * 1024
"""Bytes that are read at a time."""

MAX_HEADER_BYTES = 16 * 1024
"""The most bytes that the headers of a part may have."""

BOUNDARY = re.compile(r';\s*boundary\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^";\s][^;]*))', re.IGNORECASE)
"""Unlike HTTP's grammar, it allows blanks around `=`. Without quotes it also allows `=`, `/` and so on, which are
in the boundaries of JavaMail."""

MAX_BOUNDARY_LENGTH = 200
"""Characters. RFC 2046 allows 70."""

MAX_QUOTED_LINE_BYTES = 64 * 1024
"""The longest line of quoted-printable. Lines should have at most 76 characters."""

MAX_PADDING = 1024
"""The most blanks that may follow a boundary."""

BLANK_LINE = re.compile(rb"(?:\A|\r?\n)(\r?\n)")
AFTER_BOUNDARY = re.compile(rb"(--)|[ \t]*\r?\n")
"""`--` behind the last boundary; behind any other the end of the line."""

CUT_AFTER_BOUNDARY = re.compile(rb"-?|[ \t]*\r?")
"""What is no AFTER_BOUNDARY, but may become one when more of the body comes."""


@dataclass(frozen=True, slots=True)
class Part:
    """The beginning of a part. Its content follows."""

    headers: PartHeaders


@dataclass(frozen=True, slots=True)
class Content:
    """A piece of the content of the last part, without its transfer encoding.

    :param is_last: whether the part ends here; `data` may be empty then
    """

    data: bytes
    is_last: bool


def boundary_of(content_type: str) -> str:
    """The boundary that the header Content-Type of a form names.

    :raises ValidationFailed: it names none, or an impossible one
    """
    found = BOUNDARY.search(content_type)
    boundary = (re.sub(r"\\(.)", r"\1", found[1]) if found[1] is not None else found[2]).strip() if found else ""
    if not boundary:
        raise ValidationFailed(
            Sentence(
                "The header Content-Type is multipart/form-data without a boundary. Do not set this header"
                " yourself: the HTTP client that builds the form sets it, with the boundary that it has used."
            )
        )
    if len(boundary) > MAX_BOUNDARY_LENGTH or "\r" in boundary or "\n" in boundary:
        raise ValidationFailed(
            Sentence(
                "The boundary of the form must have at most {max_boundary_length} characters.",
                max_boundary_length=MAX_BOUNDARY_LENGTH,
            )
        )
    return boundary


def read_parts(
    stream: IO[bytes],
    content_type: str,
    *,
    content_length: int | None = None,
    max_length: int | None = None,
    max_parts: int | None = None,
) -> Iterator[Part | Content]:
    """Read a form. After the last part, the rest of the body is read to its end.

    :param content_type: the header of the request
    :param content_length: how many bytes the request has announced; None if it has not
    :param max_length: the size at which `stream` is cut off; None if it is not
    :raises ValidationFailed: the form cannot be read, or is not complete
    :raises RequestEntityTooLarge: the form exceeds one of the limits
    """
    decoder = PartDecoder(boundary_of(content_type), max_parts)
    received = 0
    while piece := stream.read(READ_SIZE):
        received += len(piece)
        yield from decoder.decode(piece)
    if content_length is not None and received < content_length:
        raise ValidationFailed(
            Sentence(
                "The body ended after {received:,} bytes, before the {content_length:,} bytes that Content-Length"
                " gives.",
                received=received,
                content_length=content_length,
            )
        )
    if decoder.is_incomplete:
        if max_length is not None and received >= max_length:
            raise RequestEntityTooLarge
        raise ValidationFailed(decoder.why_incomplete())


Events = tuple[Part | Content, ...]


@dataclass(frozen=True, slots=True)
class Boundary:
    """A boundary in the buffer.

    :param start: its first byte
    :param line_end: the first byte behind its line; -1 if its line is not complete yet
    :param is_last: whether it ends the form
    """

    start: int
    line_end: int
    is_last: bool


class PartDecoder:
    """Splits a body into parts. It holds no more than the last piece, and the headers of a part."""

    def __init__(self, boundary: str, max_parts: int | None) -> None:
        """
        :param max_parts: of the form; None: any number
        """
        self._shown = f"--{boundary}"
        self._boundary = self._shown.encode("latin-1", "replace")
        self._max_parts = max_parts
        self._buffer = bytearray()
        self._number_of_parts = 0
        self._searched = 0
        self._step: Callable[[], Events | None] = self._skip_preamble
        self._line_end = b""
        self._has_content = False
        self._decode: Callable[[bytes, bool], bytes] = _as_it_is

    def decode(self, piece: bytes) -> Iterator[Part | Content]:
        """Take the next piece of the body.

        :raises ValidationFailed: the form cannot be read
        :raises RequestEntityTooLarge: it has too many parts
        """
        self._buffer += piece
        while (events := self._step()) is not None:
            yield from events

    @property
    def is_incomplete(self) -> bool:
        """Whether the last boundary has not come yet."""
        return self._step != self._skip_epilogue

    def why_incomplete(self) -> Sentence:
        """A sentence for a body that has ended before the form has."""
        if self._step == self._skip_preamble:
            return Sentence(
                "The body has no part: the line {shown}, which Content-Type announces, is not in it.", shown=self._shown
            )
        return Sentence(
            "The form ends without its last line, {shown}--, so the last file may be incomplete. Nothing was"
            " uploaded from this form.",
            shown=self._shown,
        )

    def _skip_preamble(self) -> Events | None:
        found = self._find_boundary()
        if found is None:
            del self._buffer[: -len(self._boundary)]
            return None
        return None if found.line_end < 0 else self._begin_next(found)

    def _read_headers(self) -> Events | None:
        end = BLANK_LINE.search(self._buffer, self._searched, MAX_HEADER_BYTES)
        if end is None:
            self._searched = max(0, len(self._buffer) - len(b"\r\n\r"))
            if len(self._buffer) >= MAX_HEADER_BYTES:
                raise ValidationFailed(
                    Sentence(
                        "The headers of a part of the form have more than {max_header_bytes:,} bytes.",
                        max_header_bytes=MAX_HEADER_BYTES,
                    )
                )
            return None
        self._number_of_parts += 1
        if self._max_parts is not None and self._number_of_parts > self._max_parts:
            raise RequestEntityTooLarge
        headers = read_part_headers(bytes(self._buffer[: end.start()]))
        self._decode = _transfer_decoder(headers)
        self._line_end = end[1]
        self._has_content = False
        self._searched = 0
        self._step = self._read_content
        del self._buffer[: end.end()]
        return (Part(headers),)

    def _read_content(self) -> Events | None:
        found = self._find_boundary(begins_line=True)
        if found is not None and found.line_end >= 0:
            content = self._decode(bytes(self._buffer[: self._end_of_content(found.start)]), True)
            return (Content(content, True), *self._begin_next(found))
        # What is left may be a line end and the beginning of a boundary.
        length = (found.start if found else len(self._buffer) - len(self._boundary) + 1) - len(b"\r\n")
        if length <= 0:
            return None
        content = self._decode(bytes(self._buffer[:length]), False)
        del self._buffer[:length]
        self._has_content = True
        return (Content(content, False),)

    def _end_of_content(self, boundary: int) -> int:
        """Where the content ends. The line end before the boundary does not belong to it. In a form with LF, a CR
        before the LF does: the program that wrote the headers also wrote the boundary."""
        if boundary == 0:
            return 0
        is_crlf = self._line_end == b"\r\n" and self._buffer[boundary - 2 : boundary] == b"\r\n"
        return boundary - (2 if is_crlf else 1)

    def _begin_next(self, found: Boundary) -> Events:
        """Begin the next part, or the epilogue."""
        del self._buffer[: found.line_end]
        self._step = self._skip_epilogue if found.is_last else self._read_headers
        return ()

    def _skip_epilogue(self) -> Events | None:
        """Skip what follows the last boundary.

        :raises ValidationFailed: another part follows. Some programs end each part with the last boundary, and all
            parts but the first would be lost
        """
        found = self._find_boundary()
        if found is None:
            del self._buffer[: -len(self._boundary)]
        if found is None or found.line_end < 0:
            return None
        if not found.is_last:
            raise ValidationFailed(
                Sentence(
                    "The form has parts after its last line, {shown}--. This line must stand only once, at the end;"
                    " between parts the line is {shown}. Nothing was uploaded from this form.",
                    shown=self._shown,
                )
            )
        return self._begin_next(found)

    def _find_boundary(self, *, begins_line: bool = False) -> Boundary | None:
        """Find the next boundary in the buffer.

        :param begins_line: whether it must stand at the beginning of a line, or directly behind the headers
        """
        at = -1
        while (at := self._buffer.find(self._boundary, at + 1)) >= 0:
            if begins_line and not (self._buffer[at - 1 : at] == b"\n" if at else not self._has_content):
                continue
            end = at + len(self._boundary)
            if after := AFTER_BOUNDARY.match(self._buffer, end):
                return Boundary(at, after.end(), bool(after[1]))
            if len(self._buffer) - end < MAX_PADDING and CUT_AFTER_BOUNDARY.fullmatch(self._buffer, end):
                return Boundary(at, -1, False)
        return None


def _as_it_is(data: bytes, is_last: bool) -> bytes:
    return data


def _transfer_decoder(headers: PartHeaders) -> Callable[[bytes, bool], bytes]:
    """A function that decodes the pieces of a part's content.

    :raises ValidationFailed: the encoding is not known, or the part contains further parts
    """
    if headers.filename is None and (headers.content_type or "").lower().startswith("multipart/"):
        raise ValidationFailed(
            Sentence(
                "The part {name} has the type {content_type} and so contains further parts. Send each file as a"
                " part of its own, all of them with the name {name}.",
                name=headers.name,
                content_type=headers.content_type,
            )
        )
    encoding = headers.transfer_encoding
    if encoding in ("", "7bit", "8bit", "binary"):
        return _as_it_is
    if encoding == "base64":
        return Base64Decoder(headers.name).decode
    if encoding == "quoted-printable":
        return QuotedPrintableDecoder(headers.name).decode
    raise ValidationFailed(
        Sentence(
            "The part {name} has the header Content-Transfer-Encoding: {encoding}, which is not known; it may be"
            " binary, base64 or quoted-printable.",
            name=headers.name,
            encoding=encoding,
        )
    )


class Base64Decoder:
    """Decodes base64 that comes in pieces, with line ends and blanks anywhere."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rest = b""

    def decode(self, data: bytes, is_last: bool) -> bytes:
        """
        :raises ValidationFailed: the content is no base64
        """
        data = self._rest + b"".join(data.split())
        whole = len(data) if is_last else len(data) // 4 * 4
        # A group with padding must be the last one, and only the last call knows which one is.
        whole = whole if is_last else max(0, whole - 4)
        self._rest = data[whole:]
        try:
            return a2b_base64(data[:whole], strict_mode=True) if whole else b""
        except Base64Error as error:
            raise ValidationFailed(
                Sentence(
                    "The part {name} has the header Content-Transfer-Encoding: base64, but its content is no"
                    " base64: {error}.",
                    name=self._name,
                    error=error,
                )
            ) from None


class QuotedPrintableDecoder:
    """Decodes quoted-printable that comes in pieces."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rest = b""

    def decode(self, data: bytes, is_last: bool) -> bytes:
        """
        :raises ValidationFailed: a line is longer than MAX_QUOTED_LINE_BYTES
        """
        data = self._rest + data
        whole = len(data) if is_last else data.rfind(b"\n") + 1
        self._rest = data[whole:]
        if len(self._rest) > MAX_QUOTED_LINE_BYTES:
            raise ValidationFailed(
                Sentence(
                    "The part {name} has the header Content-Transfer-Encoding: quoted-printable, but its lines are"
                    " too long for that.",
                    name=self._name,
                )
            )
        return a2b_qp(data[:whole])
