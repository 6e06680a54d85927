"""Reads the headers of a part of a multipart form: the name of the field, and the name of the file.

RFC 7578 wants raw UTF-8 in quotes. Clients also send RFC 2231 and 5987 (`filename*=UTF-8''…`), RFC 2047
(`=?UTF-8?B?…?=`; JavaMail, Spring), GBK or Latin-1 (web pages in these encodings), a whole name in percent-encoding
(`%E6%B0%B4.txt`; aiohttp, and web pages that call `encodeURIComponent`), `%22` (browsers) or a backslash and a quote
(curl) for a quote, and values without quotes. All of them are read here; Dify reads only the first two.
"""

import re
import unicodedata
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header
from urllib.parse import unquote_to_bytes

from ..errors import ValidationFailed
from ..languages import Sentence, shown
from ..monitoring import tracing

SHOWN = 100
"""Characters of a header or a name that an error or a warning shows."""

CONTINUATION = re.compile(rb"(?:\r\n|\n|\r)[ \t]+")
LINE_END = re.compile(rb"\r\n|\n|\r")
PARAMETER = re.compile(
    r""";\s*
    ([^\s=;"]+) \s*=\s*                            # the name
    (?: "( (?: \\. | [^"\\] | "(?!\s*(?:;|$)) )* )"  # in quotes; a quote that does not end the value belongs to it
      | ([^";][^;]*)? )                             # without quotes, up to the next semicolon
    \s*(?=;|$)""",
    re.VERBOSE | re.DOTALL,
)
SECTION = re.compile(r"(.+?)(?:\*(\d+))?(\*)?", re.DOTALL)
"""The name of a parameter as RFC 2231 marks it: `filename*` is percent-encoded, `filename*0` is the first section."""

EXTENDED = re.compile(r"([^']*)'[^']*'(.*)", re.DOTALL)
PERCENT_ENCODED = re.compile(r"(?:%[0-9a-f]{2}|[\w.!~*'()-])+", re.ASCII | re.IGNORECASE)
"""A text of which every character is encoded that `encodeURIComponent` encodes, and Python's `quote` too."""

CHARACTER_REFERENCE = re.compile(r"&#(\d{3,7});")
CHINESE_PAIR = re.compile(rb"[\xb0-\xf7][\xa1-\xfe]")
"""A character of GB2312, the oldest part of GBK, which has the common Chinese characters."""


@dataclass(frozen=True, slots=True)
class PartHeaders:
    """What the headers of a part say.

    :param name: of the field
    :param filename: None if the part is no file; empty if a browser's file input was left empty
    :param content_type: as sent; None if the part has none
    :param transfer_encoding: in lower case; empty if the part has none
    """

    name: str
    filename: str | None
    content_type: str | None
    transfer_encoding: str


def read_part_headers(data: bytes) -> PartHeaders:
    """Read the lines above a part's content.

    :raises ValidationFailed: the part has no header Content-Disposition that can be read
    """
    lines = LINE_END.split(CONTINUATION.sub(b" ", data))
    headers: dict[bytes, bytes] = {}
    for line in filter(None, (line.strip() for line in lines)):
        name, colon, value = line.partition(b":")
        if not colon:
            raise ValidationFailed(
                Sentence("A part of the form has a line that is no header: {line}.", line=shown(_decoded(line), SHOWN))
            )
        headers.setdefault(name.strip().lower(), value.strip())
    if (disposition := headers.get(b"content-disposition")) is None:
        raise ValidationFailed(
            Sentence(
                "A part of the form has no header Content-Disposition, such as Content-Disposition: form-data;"
                ' name="file"; filename="report.pdf".'
            )
        )
    field, filename = _read_disposition(_decoded(disposition))
    content_type = headers.get(b"content-type")
    return PartHeaders(
        field,
        filename,
        None if content_type is None else content_type.decode("latin-1"),
        headers.get(b"content-transfer-encoding", b"").decode("latin-1").lower(),
    )


def _read_disposition(text: str) -> tuple[str, str | None]:
    """Read the value of Content-Disposition.

    :returns: the name of the field, and the name of the file or None
    :raises ValidationFailed: it cannot be read, or has no `name`
    """
    parameters = _parameters(text)
    if not parameters.get("name"):
        raise ValidationFailed(
            Sentence(
                "A part of the form has the header Content-Disposition: {text}. It must name the field, such as"
                ' form-data; name="file"; filename="report.pdf".',
                text=shown(text, SHOWN),
            )
        )
    filename = parameters.get("filename")
    return parameters["name"], None if filename is None else unicodedata.normalize("NFC", filename)


def _parameters(text: str) -> dict[str, str]:
    """The parameters of a header's value by name, decoded. One in the form of RFC 2231 is preferred, as RFC 6266 says.

    :raises ValidationFailed: they cannot be read
    """
    plain: dict[str, str] = {}
    sections: dict[str, dict[int, bytes]] = {}
    charsets: dict[str, str] = {}
    position = len(text.partition(";")[0])
    while position < len(text):
        if text[position:].strip() in ("", ";"):
            break
        found = PARAMETER.match(text, position)
        if found is None:
            raise ValidationFailed(
                Sentence(
                    "A part of the form has a header Content-Disposition that cannot be read: {text}.",
                    text=shown(text, SHOWN),
                )
            )
        position = found.end()
        is_quoted = found[2] is not None
        value = re.sub(r'\\([\\"])', r"\1", found[2]) if is_quoted else (found[3] or "").strip()
        marked = SECTION.fullmatch(found[1].lower())
        assert marked  # The pattern matches every name.
        name, number, is_extended = marked[1], marked[2], bool(marked[3])
        if not number and not is_extended:
            plain.setdefault(name, _decode_plain(value))
            continue
        if is_extended and not int(number or 0) and (with_charset := EXTENDED.fullmatch(value)):
            charsets[name], value = with_charset[1], with_charset[2]
        raw = unquote_to_bytes(value) if is_extended else value.encode()
        sections.setdefault(name, {})[int(number or 0)] = raw
    for name, parts in sections.items():
        raw = b"".join(parts[number] for number in sorted(parts))
        try:
            plain[name] = raw.decode(charsets.get(name) or "utf-8")
        except (LookupError, UnicodeDecodeError):
            if name not in plain:
                plain[name] = _decoded(raw)
    return plain


def _decode_plain(value: str) -> str:
    """Decode what clients write into a value in quotes."""
    if "=?" in value:
        value = _decode_words(value)
    if (decoded := _percent_decoded(value)) is not None:
        return decoded
    for written, character in (("%22", '"'), ("%0D", "\r"), ("%0A", "\n")):  # The HTML standard, multipart/form-data.
        value = value.replace(written, character)
    # A page in another encoding than UTF-8 sends what its encoding does not have as `&#27700;`.
    return CHARACTER_REFERENCE.sub(lambda found: _character(int(found[1])) or found[0], value)


def _percent_decoded(value: str) -> str | None:
    """A name that is percent-encoded as a whole, decoded; None for any other. A name in ASCII is taken as it is: `%25`
    and `%20` are also in the names of files that a browser has saved."""
    if "%" not in value or not PERCENT_ENCODED.fullmatch(value):
        return None
    try:
        decoded = unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        return None
    return None if decoded.isascii() else decoded


def _character(number: int) -> str:
    return chr(number) if 127 < number < 0x110000 and not 0xD800 <= number < 0xE000 else ""


def _decode_words(value: str) -> str:
    """Decode the encoded words of RFC 2047. If one cannot be decoded, all stay as they are."""
    try:
        parts = decode_header(value)
        decoded = [part if isinstance(part, str) else part.decode(_codec(charset)) for part, charset in parts]
    except (HeaderParseError, LookupError, UnicodeDecodeError):
        return value
    return "".join(decoded) if all(decoded) else value


def _codec(charset: str | None) -> str:
    """The codec for a part that `decode_header` returns. Without a charset, the part was no encoded word. Senders write
    GB2312 also for characters that only GBK has."""
    return {None: "raw-unicode-escape", "gb2312": "gb18030", "gbk": "gb18030"}.get(charset, charset or "")


def _decoded(data: bytes) -> str:
    """Decode a header that is UTF-8, GBK or Latin-1.

    Many names in Latin-1 are valid GBK, too: `ü` and `l` of `Müller` are one rare Chinese character. So a name is read
    as GBK only if it has a common Chinese character, or is no readable Latin-1. Browsers mean Windows-1252 by Latin-1.
    """
    try:
        return data.decode()
    except UnicodeDecodeError:
        encoding, text = _guess(data)
    tracing.current().warn(
        Sentence(
            "A part of the form has a header that is not UTF-8; it was read as {encoding}: {text}. Send UTF-8.",
            encoding=encoding,
            text=shown(text, SHOWN),
        )
    )
    return text


def _guess(data: bytes) -> tuple[str, str]:
    for encoding, name in (("gb18030", "GBK"), ("cp1252", "Latin-1")):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding == "cp1252" or CHINESE_PAIR.search(data) or not _is_latin(data):
            return name, text
    return "Latin-1", data.decode("latin-1")


def _is_latin(data: bytes) -> bool:
    """Whether all bytes above 127 are letters or signs of Latin-1, and not control characters."""
    return all(byte < 0x80 or byte >= 0xA0 for byte in data)
