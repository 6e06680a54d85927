"""Reads plain text of unknown encoding."""

import codecs
import re
from pathlib import Path

from charset_normalizer import from_bytes

from .extraction import ExtractionError

SAMPLE_CHARACTERS, COMMON_SHARE = 20_000, 0.8
GB2312_COMMON_ROWS = range(0xB0, 0xD8)
"""First bytes of the 3,755 common characters of GB 2312."""
MAX_BAD_SHARE = 0.02
"""A text in UTF-8 or GB18030 may have this share of bytes that are none. With more, it is in another encoding."""
_META_CHARSET = re.compile(
    rb"<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*[\"']?\s*([\w-]{2,20})", re.IGNORECASE
)
_NO_TEXT = re.compile("[\x01-\x08\x0e-\x1a\x1c-\x1f]")
"""Control characters that no text has. Some programs write zero bytes, and terminals write the escape character."""
MAX_CONTROL_SHARE = 0.02
_CUE_TIMES = re.compile(r"^(?:.*\n)?[\d:.]+ --> [\d:.]+.*$", re.MULTILINE)


def extract(path: Path, extension: str) -> str:
    """Read a text. Subtitles lose their times and numbers, and keep the speakers' names.

    :raises ExtractionError: if it is no text, such as a picture or a document with another name
    """
    text = decode_text(path.read_bytes())
    if len(_NO_TEXT.findall(text)) > MAX_CONTROL_SHARE * len(text):
        raise ExtractionError(f"The {extension.upper()} file cannot be read: it is no text, but a file of another kind")
    if extension == "vtt":
        text = _CUE_TIMES.sub("", text.replace("\r\n", "\n")).removeprefix("WEBVTT")
        text = re.sub(r"</?[^<>\n]{1,100}>", "", re.sub(r"<v\S* ([^<>\n]{1,100})>", r"\1: ", text))
    return text


def decode_text(content: bytes) -> str:
    """Decode text of unknown encoding. Each sequence of bytes that cannot be decoded becomes one U+FFFD.

    It tries a byte order mark, UTF-8, the encoding that HTML or XML declares, UTF-16, GB18030, UTF-8 and GB18030
    with a few bad bytes, and takes charset-normalizer's guess otherwise. A file that was cut in the middle of a
    character, or has a bad byte, is so read in its own encoding; charset-normalizer would take it for an encoding in
    which each byte is a letter.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    for encoding in ("utf-8-sig", _declared_encoding(content), _utf_16_by_zeros(content)):
        text = _decode(content, encoding) if encoding else None
        if text is not None:
            return text
    return (
        _chinese(content, "strict")
        or _mostly_utf_8(content)
        or _chinese(content, "replace")
        or str(from_bytes(content).best() or content.decode("latin-1"))
    )


def _decode(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def _declared_encoding(content: bytes) -> str | None:
    found = _META_CHARSET.search(content[:2048])
    # Web pages that say GB2312 are in its superset, as browsers read them.
    return {"gb2312": "gb18030", "gbk": "gb18030"}.get(name := found[1].decode().lower(), name) if found else None


def _utf_16_by_zeros(content: bytes) -> str | None:
    """Return the encoding of a text in UTF-16 without a byte order mark: every other byte of Latin text is 0."""
    if len(content) % 2 or b"\0" not in content[:200]:
        return None
    sample = content[:2000]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    return "utf-16-le" if odd > 0.4 * len(sample) / 2 > even else "utf-16-be" if even > 0.4 * len(sample) / 2 else None


def _mostly_utf_8(content: bytes) -> str | None:
    """Decode UTF-8 with a few bad bytes. Return None if other characters than ASCII are mostly bad ones.

    A text in another encoding has hardly a sequence that is valid in UTF-8.
    """
    text = content.decode("utf-8-sig", errors="replace")
    bad = text.count("\ufffd")
    good = len(re.sub("[\0-\x7f\ufffd]", "", text))
    return text if bad <= MAX_BAD_SHARE * len(text) + 1 and good > 2 * bad else None


def _chinese(content: bytes, errors: str) -> str | None:
    """Decode GB18030, of which GBK and GB2312 are parts. Return None if few of the characters are common ones.

    charset-normalizer takes a short Chinese text for Korean, because its statistics need more than a sentence. Text in
    Big5 or Shift-JIS that is decoded as GB18030 consists of rare characters and private ones.
    """
    try:
        text = content.decode("gb18030", errors)
    except UnicodeDecodeError:
        return None
    if re.search("[\ue000-\uf8ff]", text) or text.count("\ufffd") > MAX_BAD_SHARE * len(text) + 1:
        return None
    hanzi = re.findall("[\u4e00-\u9fff]", text[:SAMPLE_CHARACTERS])
    common = sum(character.encode("gb18030")[0] in GB2312_COMMON_ROWS for character in hanzi if _is_gb2312(character))
    return text if hanzi and common >= COMMON_SHARE * len(hanzi) else None


def _is_gb2312(character: str) -> bool:
    return character.encode("gb2312", errors="ignore") != b""
