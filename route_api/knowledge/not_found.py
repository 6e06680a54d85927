"""Errors for an id that Dify does not know, and for a name that it has already.

Dify says only in the message of its answer which id is wrong. The context managers of this module replace Dify's error
by the error of our API that names the id.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ApiError, DifyNotFound, DifyRejected, DocumentNotFound, KbNameTaken, KbNotFound


@contextmanager
def report_missing_as(error: ApiError, *, kb_id: str) -> Iterator[None]:
    """Replace Dify's 404 by `kb_not_found` if the dataset is missing, and by `error` if something else is."""
    try:
        yield
    except DifyNotFound as answer:
        raise (KbNotFound(kb_id) if answer.message.startswith("Dataset") else error) from answer


@contextmanager
def kb_must_exist(kb_id: str) -> Iterator[None]:
    """Replace Dify's 404 by `kb_not_found`."""
    with report_missing_as(KbNotFound(kb_id), kb_id=kb_id):
        yield


@contextmanager
def document_must_exist(kb_id: str, document_id: str) -> Iterator[None]:
    """Replace Dify's 404 by `kb_not_found` or `document_not_found`, whichever of the two is missing."""
    with report_missing_as(DocumentNotFound(document_id), kb_id=kb_id):
        yield


@contextmanager
def kb_name_must_be_unused(name: str) -> Iterator[None]:
    """Replace Dify's refusal of a used name by `kb_name_taken`.

    Dify answers 409 when a dataset is created and 400 when it is changed (tests/contract/DIFFERENCES.md, 25).
    """
    try:
        yield
    except DifyRejected as answer:
        if answer.dify_status == 409 or answer.message.startswith("Dataset name already exists"):
            raise KbNameTaken(name) from answer
        raise
