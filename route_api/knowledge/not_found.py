"""Telling a caller which of its ids or names Dify refused: Dify says it only in words."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ApiError, DifyNotFound, DifyRejected, DocumentNotFound, KbNameTaken, KbNotFound


@contextmanager
def missing_is(otherwise: ApiError, *, kb_id: str) -> Iterator[None]:
    """Raise `kb_not_found` where Dify says that the dataset is missing, and `otherwise` where something else is."""
    try:
        yield
    except DifyNotFound as error:
        raise (KbNotFound(kb_id) if error.message.startswith("Dataset") else otherwise) from error


@contextmanager
def kb_must_exist(kb_id: str) -> Iterator[None]:
    """Raise `kb_not_found` where Dify does not know the dataset."""
    with missing_is(KbNotFound(kb_id), kb_id=kb_id):
        yield


@contextmanager
def document_must_exist(kb_id: str, document_id: str) -> Iterator[None]:
    """Raise `kb_not_found` or `document_not_found`, whichever of the two Dify does not know."""
    with missing_is(DocumentNotFound(document_id), kb_id=kb_id):
        yield


@contextmanager
def kb_name_must_be_free(name: str) -> Iterator[None]:
    """Raise `kb_name_taken` where Dify minds the name: 409 at creation, 400 at a PATCH (DIFFERENCES 25)."""
    try:
        yield
    except DifyRejected as error:
        if error.dify_status == 409 or error.message.startswith("Dataset name already exists"):
            raise KbNameTaken(name) from error
        raise
