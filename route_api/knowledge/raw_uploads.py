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
from ..dify.file_names import REFUSAL
from ..errors import DifyRejected, ValidationFailed
from ..extensions import dify
from ..forms.multipart import Content, Part, read_parts
from ..languages import Sentence
from .document_names import await_replaceable, claimed_name, delete_replaced, has_lost_letters, stored_name
from .name_claims import name_claims
from .not_found import kb_must_exist

FILE_FIELD = "file"
"""The name of the part in which Dify expects the file."""

Event = Part | Content


def forward_upload(kb_id: str, upload: Request) -> RawAnswer:
    """Send a form to Dify's create-by-file while it arrives.

    The name of the file is claimed first. Dify replaces a document of this name, so the upload waits until no other
    upload of this name runs. A name with question marks in place of letters replaces no document.

    The file passes through once, so it cannot be sent again under another name: a character that not every version of
    Dify takes becomes `_`, unless this Dify is known to take it.

    Queries: one to claim the name, and one to release it.

    Upstream calls: two, because the document that the file replaces must be indexed; more while it is not; one more if
    it is disabled, or if the kb has a name with question marks.

    :returns: Dify's own answer
    :raises KbNotFound: there is no such kb
    :raises DocumentBusy: Dify does not get to the end of the document that is to be replaced
    :raises DocumentArchived: the document that is to be replaced is archived
    :raises ValidationFailed: the body is not multipart/form-data, cannot be read, or is not complete. Dify gets no
        complete form then, and so stores nothing
    :raises DocumentUploadRunning: another upload of the name does not end
    """
    if upload.mimetype != "multipart/form-data":
        raise ValidationFailed(Sentence("The body must be multipart/form-data with the parts data and file."))
    events = read_parts(
        upload.stream,
        upload.headers["Content-Type"],
        content_length=upload.content_length,
        max_length=upload.max_content_length,
        max_parts=upload.max_form_parts,
    )
    form = DifyForm()
    body, file = _read_up_to_file(form, events, upload.max_form_memory_size)
    with ExitStack() as claim:
        name: str | None = None
        replaced: list[str] = []
        if file is not None:
            sent = file.headers.filename or ""
            name = _name_for_dify(sent)
            with kb_must_exist(kb_id):
                if has_lost_letters(sent):
                    name = claim.enter_context(claimed_name(kb_id, name, "replace", is_uncertain=True))
                else:
                    claim.enter_context(name_claims.held(kb_id, name))
                    replaced = await_replaceable(kb_id, name)
            body += form.write(file, name)
        rest = (form.write(event) for event in events)
        pieces = filter(None, chain([body], rest, form.end()))
        try:
            answer = dify.knowledge.create_document_raw(kb_id, name, form.content_type, pieces)
        except DifyRejected as error:
            if error.message == REFUSAL:
                raise ValidationFailed(
                    Sentence(
                        "Dify does not take a character of the file name '{name}', and has stored nothing. Send the"
                        " upload again: from now on the gateway sends _ for such characters.",
                        name=name,
                    )
                ) from error
            raise
        if answer.status < 300:
            delete_replaced(kb_id, replaced)
        return answer


def _name_for_dify(filename: str) -> str:
    """The name under which a file is stored."""
    return stored_name(filename, takes_special=lambda: bool(dify.knowledge.takes_special_names()))


def _read_up_to_file(form: "DifyForm", events: Iterator[Event], max_bytes: int | None) -> tuple[bytes, Part | None]:
    """Read the form up to the headers of the file.

    :param max_bytes: of the fields before the file, which are held in memory
    :returns: what of the form goes to Dify so far, and the beginning of the file; None if the form has no file
    :raises ValidationFailed: the part `file` is no file
    :raises RequestEntityTooLarge: the fields before the file are too large
    """
    written = bytearray()
    for event in events:
        if isinstance(event, Part) and event.headers.name == FILE_FIELD:
            if event.headers.filename is None:
                raise ValidationFailed(
                    Sentence(
                        "The part file has no filename, so it is a text field and no file. It needs a header such"
                        ' as Content-Disposition: form-data; name="file"; filename="report.pdf".'
                    )
                )
            return bytes(written), event
        written += form.write(event)
        if max_bytes is not None and len(written) > max_bytes:
            raise RequestEntityTooLarge(
                Sentence("The fields before the file have more than {max_bytes:,} bytes.", max_bytes=max_bytes)
            )
    return bytes(written), None


class DifyForm:
    """Writes a form that Dify can read: with CRLF, names in UTF-8, and no transfer encodings.

    :ivar content_type: the header of the request to Dify
    """

    def __init__(self) -> None:
        boundary = uuid4().hex
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._line = f"--{boundary}".encode()
        self._has_file = False

    def write(self, event: Event, name: str | None = None) -> bytes:
        """What Dify gets for an event.

        :param name: of the file that begins; None: the name under which it would be stored
        :raises ValidationFailed: it is a second file. Dify stores the first one alone, and answers as if it had both
        """
        if isinstance(event, Content):
            return event.data + b"\r\n" if event.is_last else event.data
        part = event.headers
        if part.filename is not None:
            if self._has_file:
                raise ValidationFailed(
                    Sentence(
                        "The form has a second file. This path takes one file; /v1/document/upload takes several."
                        " Nothing was uploaded from this form."
                    )
                )
            self._has_file = True
            name = name or _name_for_dify(part.filename)
        field = RequestField(part.name, b"", name)
        field.make_multipart(content_type=part.content_type)
        return self._line + b"\r\n" + field.render_headers().encode()

    def end(self) -> Iterator[bytes]:
        """The last line. It is written when the whole form has been read and is complete."""
        yield self._line + b"--\r\n"
