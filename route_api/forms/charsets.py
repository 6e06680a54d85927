"""Which charset a header names."""

import codecs
import re

from ..errors import ValidationFailed
from ..languages import Sentence

UTF_8 = "utf-8"
CHINESE = ("gb2312", "gbk")
"""Clients that name one of these also send characters that only GB18030 has, which contains both."""

WESTERN = ("ascii", "iso8859-1", "cp1252")
"""What some clients name as the charset of a text that they send in UTF-8. Almost no text in one of these charsets is
valid UTF-8 by chance."""

CHARSETS = re.compile(
    r"utf-(8|8-sig|16|16-le|16-be|32|32-le|32-be)|gb.*|big5.*|euc_.*|shift_jis.*|cp\d+|iso8859-\d+|koi8.*|ascii"
)
"""Python's names of the charsets that we read. Python also knows codecs that are no charsets."""

SHOWN_CHARACTERS = 60
"""How much of a name an error message shows."""


def charset_named(name: str | None) -> str:
    """Python's name of the charset that a Content-Type names; UTF-8 if it names none.

    :raises ValidationFailed: nobody knows this charset
    """
    if not name or name.lower() == UTF_8:
        return UTF_8
    try:
        found = codecs.lookup(name).name
    except (LookupError, ValueError):
        found = ""
    if not CHARSETS.fullmatch(found):
        raise ValidationFailed(
            Sentence(
                "The charset {name} of the Content-Type is not known. Send the body in UTF-8.",
                name=ascii(name[:SHOWN_CHARACTERS]),
            )
        )
    return "gb18030" if found in CHINESE else found
