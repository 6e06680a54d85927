"""Reads e-mails: the head and the text, of which an e-mail often has two forms."""

from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

from .html_text import html_text
from .plain_text import decode_text

FIELDS = ("Subject", "From", "To", "Cc", "Date")


def extract(path: Path, _extension: str) -> str:
    """Return the head, the plain text or else the HTML text, and the names of the attachments."""
    with path.open("rb") as file:
        mail = BytesParser(EmailMessage, policy=policy.default).parse(file)
    head = "\n".join(f"{field}: {mail[field]}" for field in FIELDS if mail[field])
    body = mail.get_body(("plain", "html"))
    text = ""
    if body is not None:
        content = body.get_payload(decode=True)
        text = _decode(content if isinstance(content, bytes) else b"", body.get_content_charset())
        text = html_text(text) if body.get_content_type() == "text/html" else text.strip()
    attached = [name for part in mail.iter_attachments() if (name := part.get_filename())]
    return "\n\n".join(part for part in (head, text, "\n".join(attached)) if part)


def _decode(content: bytes, charset: str | None) -> str:
    try:
        return content.decode(charset or "")
    except (LookupError, UnicodeDecodeError):
        return decode_text(content)
