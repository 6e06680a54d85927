"""The background thread that turns uploaded files into segments.

The queue is the table `document`: the unfinished documents, oldest first. So the indexing continues after a restart,
and a deleted document is no longer in the queue. Each step writes in a short transaction, so that requests wait
little. Each transaction first checks that the document was not deleted, replaced or paused in the meantime.
"""

import json
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from sqlite3 import Connection, Row

from flask import current_app

from ..store import Store
from ..text.extraction import ExtractionError, extract_text
from ..text.search_tokens import index_words, keywords_of
from ..text.splitting import Chunk, SplittingError, split_document
from .document_table import segment_seqs
from .passage_search import unindex_segments
from .segment_table import complete_segments, insert_segments
from .uploaded_files import file_path

BATCH_SEGMENTS = 200
"""The number of segments that one transaction writes."""
_UNFINISHED_SQL = "indexing_status IN ('waiting', 'parsing', 'splitting', 'indexing')"

logger = logging.getLogger(__name__)


class _Superseded(Exception):
    """The document was deleted, replaced or paused, or the indexer is stopping: give this attempt up."""


class Indexer:
    """Indexes one document after the other, in one thread, until `stop` is called."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._work = threading.Event()
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="sandbox-indexer", daemon=True)

    def wake(self) -> None:
        """Make the thread look for documents. The first call starts the thread."""
        self._work.set()
        with self._starting:
            if not self._thread.is_alive() and not self._stopping.is_set():
                self._thread.start()

    def stop(self) -> None:
        """End the thread after its current transaction. The remaining documents wait for the next start."""
        self._stopping.set()
        self._work.set()
        with self._starting:
            if self._thread.is_alive():
                self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._work.wait()
            self._work.clear()
            while not self._stopping.is_set() and (document := self._next()) is not None:
                self._index(document)

    def _next(self) -> Row | None:
        sql = f"SELECT * FROM document WHERE {_UNFINISHED_SQL} ORDER BY queued_at LIMIT 1"
        return self._store.connection().execute(sql).fetchone()

    def _index(self, document: Row) -> None:
        try:
            self._index_steps(document)
        except _Superseded:
            logger.info("document %s was deleted, replaced or paused while it was being indexed", document["id"])
        except (ExtractionError, SplittingError) as error:
            self._fail(document, str(error))
        except FileNotFoundError:
            self._fail(document, "The uploaded file is gone.")
        except Exception:
            logger.exception("document %s cannot be indexed", document["id"])
            self._fail(document, "The document could not be indexed because of an internal error.")

    def _index_steps(self, document: Row) -> None:
        began = time.monotonic()
        self._delete_segments(document)
        self._step(document, "parsing", "processing_started_at")
        extension = (
            self._store.connection()
            .execute("SELECT extension FROM upload_file WHERE id = ?", (document["file_id"],))
            .fetchone()
        )
        if extension is None:
            raise _Superseded
        text = extract_text(file_path(self._store, document["file_id"]), extension["extension"])
        self._step(document, "splitting", "parsing_completed_at")
        rules = json.loads(document["process_rules"])
        chunks = split_document(text, document["doc_form"], document["process_mode"], rules)
        if self._is_economy(document):
            chunks = [replace(chunk, keywords=keywords_of(chunk.content)) for chunk in chunks]
        seqs = self._write_segments(document, chunks)
        self._step(document, "indexing", "cleaning_completed_at", "splitting_completed_at")
        self._complete_segments(document, chunks, seqs)
        self._finish(document, time.monotonic() - began)

    def _delete_segments(self, document: Row) -> None:
        """Delete the segments of an interrupted attempt."""
        seqs = segment_seqs(self._store.connection(), document["id"])
        for start in range(0, len(seqs), BATCH_SEGMENTS):
            batch = seqs[start : start + BATCH_SEGMENTS]
            with self._store.transaction() as connection:
                unindex_segments(connection, batch)
                connection.executemany("DELETE FROM segment WHERE seq = ?", ((seq,) for seq in batch))

    def _step(self, document: Row, status: str, *finished: str) -> None:
        """Set the document's status.

        :param finished: the columns of the steps that have ended now
        """
        clear = ""
        if status == "parsing":
            clear = (
                ", parsing_completed_at = NULL, cleaning_completed_at = NULL, splitting_completed_at = NULL,"
                " completed_at = NULL, paused_at = NULL, stopped_at = NULL, error = NULL, tokens = NULL,"
                " word_count = NULL, indexing_latency = NULL"
            )
        with self._store.transaction() as connection:
            self._require_current(connection, document)
            times = "".join(f", {column} = :now" for column in finished)
            connection.execute(
                f"UPDATE document SET indexing_status = :status{times}{clear} WHERE id = :id",
                {"status": status, "now": time.time(), "id": document["id"]},
            )

    def _require_current(self, connection: Connection, document: Row) -> None:
        """Check that the document is still in the queue with the same upload, and that the indexer is not stopping.

        :raises _Superseded: if not
        """
        row = connection.execute(
            f"SELECT 1 FROM document WHERE id = ? AND batch = ? AND {_UNFINISHED_SQL}",
            (document["id"], document["batch"]),
        ).fetchone()
        if row is None or self._stopping.is_set():
            raise _Superseded

    def _write_segments(self, document: Row, chunks: Sequence[Chunk]) -> list[int]:
        seqs: list[int] = []
        for start in range(0, len(chunks), BATCH_SEGMENTS):
            with self._store.transaction() as connection:
                self._require_current(connection, document)
                batch = chunks[start : start + BATCH_SEGMENTS]
                seqs.extend(insert_segments(connection, document, batch, start + 1))
        words = sum(len(chunk.content) + len(chunk.answer or "") for chunk in chunks)
        with self._store.transaction() as connection:
            self._require_current(connection, document)
            connection.execute("UPDATE document SET word_count = ? WHERE id = ?", (words, document["id"]))
        return seqs

    def _is_economy(self, document: Row) -> bool:
        sql = "SELECT 1 FROM dataset WHERE id = ? AND indexing_technique = 'economy'"
        return self._store.connection().execute(sql, (document["dataset_id"],)).fetchone() is not None

    def _complete_segments(self, document: Row, chunks: Sequence[Chunk], seqs: Sequence[int]) -> None:
        for start in range(0, len(seqs), BATCH_SEGMENTS):
            part = slice(start, start + BATCH_SEGMENTS)
            words = [(seq, index_words(chunk.text)) for seq, chunk in zip(seqs[part], chunks[part], strict=True)]
            with self._store.transaction() as connection:
                self._require_current(connection, document)
                complete_segments(connection, document["dataset_id"], words)

    def _finish(self, document: Row, seconds: float) -> None:
        with self._store.transaction() as connection:
            self._require_current(connection, document)
            connection.execute(
                "UPDATE document SET indexing_status = 'completed', completed_at = :now, updated_at = :now,"
                " indexing_latency = :seconds,"
                " tokens = (SELECT coalesce(sum(tokens), 0) FROM segment WHERE document_id = :id)"
                " WHERE id = :id",
                {"now": time.time(), "seconds": seconds, "id": document["id"]},
            )

    def _fail(self, document: Row, reason: str) -> None:
        self._store.connection().execute(
            "UPDATE document SET indexing_status = 'error', error = ?, stopped_at = ?"
            f" WHERE id = ? AND batch = ? AND {_UNFINISHED_SQL}",
            (reason, time.time(), document["id"], document["batch"]),
        )


def current_indexer() -> Indexer:
    """Return the indexer of the current application."""
    return current_app.extensions["sandbox_indexer"]
