"""Documents that Dify refuses to switch until some time. Dify tells of it only by refusing, so that is remembered.

The table is `models.DocumentLock`.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import BindParameter, Engine, bindparam, delete, insert, select

from .database import transaction
from .models import DocumentLock, utc_now

IDS: BindParameter[list[str]] = bindparam("ids", expanding=True)

DELETE_LOCKS = delete(DocumentLock).where(DocumentLock.document_id.in_(IDS))
DELETE_ENDED = delete(DocumentLock).where(DocumentLock.locked_until <= bindparam("now"))
INSERT_LOCK = insert(DocumentLock).values(
    {name: bindparam(f"c_{name}") for name in ("document_id", "kb_id", "locked_until")}
)
SELECT_LOCKS = select(DocumentLock.document_id, DocumentLock.locked_until).where(
    DocumentLock.kb_id == bindparam("of_kb"), DocumentLock.locked_until > bindparam("now")
)


def remember_lock(engine: Engine, kb_id: str, document_id: str, locked_until: datetime) -> None:
    """Remember until when Dify refuses to switch a document, in one transaction. Rows whose time is over are deleted.

    :param locked_until: in UTC
    """
    row = {"c_document_id": document_id, "c_kb_id": kb_id, "c_locked_until": locked_until}
    with transaction(engine) as connection:
        connection.execute(DELETE_ENDED, {"now": utc_now()})
        connection.execute(DELETE_LOCKS, {"ids": [document_id]})
        connection.execute(INSERT_LOCK, row)


def forget_locks(engine: Engine, document_ids: Iterable[str]) -> None:
    """Forget the locks of documents that Dify has switched."""
    with engine.connect() as connection:
        connection.execute(DELETE_LOCKS, {"ids": list(document_ids)})


def locks_of(engine: Engine, kb_id: str) -> dict[str, int]:
    """Until when Dify refuses to switch documents of a kb.

    :returns: seconds since 1970 by the ids of the documents
    """
    with engine.connect() as connection:
        rows = connection.execute(SELECT_LOCKS, {"of_kb": kb_id, "now": utc_now()})
        return {document_id: int(until.replace(tzinfo=UTC).timestamp()) for document_id, until in rows}
