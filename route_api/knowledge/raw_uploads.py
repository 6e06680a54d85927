"""Forwarding an upload that is already in Dify's own form. `uploads.py` handles uploads in our form.

The form is read and written anew while it arrives, because Dify reads fewer forms than clients send, and because the
file's name must be known and claimed before Dify gets the file.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from uuid import uuid4

from flask import Request
from urllib3.fields import RequestField
from werkzeug.exceptions import RequestEntityTooLarge

from ..dify import RawAnswer
from ..errors import ValidationFailed
from ..extensions import dify
from ..forms.multipart import Content, Part, read_parts
from ..forms.part_headers import PartHeaders
from .document_names import stored_name
from .name_claims import name_claims

FILE_FIELD = "file"
"""The name of the part in which Dify expects the file."""

Event = Part | Content


def forward_upload(kb_id: str, upload: Request) -> RawAnswer:
    """Send a form to Dify's create-by-file while it arrives.

    The name of the file is claimed first. Dify replaces a document of this name, so the upload waits until no other
    upload of this name runs.

    Queries: one to claim the name, and one to release it.

    :returns: Dify's own answer
    :raises ValidationFailed: the body is not multipart/form-data, cannot be read, or is not complete. Dify gets no
        complete form then, and so stores nothing
    :raises DocumentUploadRunning: another upload of the name does not end
    """
    if upload.mimetype != "multipart/form-data":
        raise ValidationFailed("The body must be multipart/form-data with the parts data and file.")
    events = read_parts(
        upload.stream,
        upload.headers["Content-Type"],
        content_length=upload.content_length,
        max_length=upload.max_content_length,
        max_parts=upload.max_form_parts,
    )
    form = DifyForm()
    beginning, name = _read_up_to_file(form, events, upload.max_form_memory_size)
    with ExitStack() as claim:
        if name is not None:
            claim.enter_context(name_claims.held(kb_id, name))
        rest = (form.write(event) for event in events)
        body = filter(None, chain([beginning], rest, form.end()))
        return dify.knowledge.create_document_raw(kb_id, form.content_type, body)


def _read_up_to_file(form: "DifyForm", events: Iterator[Event], max_bytes: int | None) -> tuple[bytes, str | None]:
    """Read the form up to the headers of the file.

    :param max_bytes: of the fields before the file, which are held in memory
    :returns: what of the form goes to Dify so far, and the name of the file; None if the form has no file
    :raises ValidationFailed: the part `file` is no file
    :raises RequestEntityTooLarge: the fields before the file are too large
    """
    written = bytearray()
    for event in events:
        written += form.write(event)
        if max_bytes is not None and len(written) > max_bytes:
            raise RequestEntityTooLarge(f"The fields before the file have more than {max_bytes:,} bytes.")
        if isinstance(event, Part) and event.headers.name == FILE_FIELD:
            return bytes(written), form.file_name
    return bytes(written), None


class DifyForm:
    """Writes a form that Dify can read: with CRLF, names in UTF-8, and no transfer encodings.

    :ivar content_type: the header of the request to Dify
    :ivar file_name: the name of the last file
    """

    def __init__(self) -> None:
        boundary = uuid4().hex
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self.file_name: str | None = None
        self._line = f"--{boundary}".encode()

    def write(self, event: Event) -> bytes:
        """What Dify gets for an event. A file gets the name under which it is stored.

        :raises ValidationFailed: the part `file` has no file name
        """
        if isinstance(event, Content):
            return event.data + b"\r\n" if event.is_last else event.data
        return self._line + b"\r\n" + self._headers(event.headers).encode()

    def end(self) -> Iterator[bytes]:
        """The last line. It is written when the whole form has been read and is complete."""
        yield self._line + b"--\r\n"

    def _headers(self, part: PartHeaders) -> str:
        if part.filename is not None:
            self.file_name = stored_name(part.filename)
        elif part.name == FILE_FIELD:
            raise ValidationFailed(
                "The part file has no filename, so it is a text field and no file. It needs a header such as"
                ' Content-Disposition: form-data; name="file"; filename="report.pdf".'
            )
        field = RequestField(part.name, b"", None if part.filename is None else self.file_name)
        field.make_multipart(content_type=part.content_type)
        return field.render_headers()
