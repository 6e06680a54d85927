"""Forwarding an upload that is already in Dify's own form. `uploads.py` handles uploads in our form."""

from flask import Request

from ..dify import RawAnswer
from ..errors import ValidationFailed
from ..extensions import dify


def forward_upload(kb_id: str, upload: Request) -> RawAnswer:
    """Send the body of a request to Dify's create-by-file while it arrives.

    :returns: Dify's own answer
    :raises ValidationFailed: the body is not multipart/form-data, or ended early
    """
    if upload.mimetype != "multipart/form-data":
        raise ValidationFailed("The body must be multipart/form-data with the parts data and file.")
    try:
        return dify.knowledge.create_document_raw(
            kb_id, upload.headers["Content-Type"], upload.stream, upload.content_length
        )
    except EOFError:
        raise ValidationFailed("The body ended before the length that Content-Length gives.") from None
